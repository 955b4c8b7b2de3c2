"""Whether a measured score reproduces a reported one: the one rule for every table.

Two trainings of one setting usually differ by less than 0.2 points (mmdetection#3624), and a
printed score stands for all that round to it. With an interval it must reach the printed score.
"""

from __future__ import annotations

import pandas as pd

from analysis.tables import NOT_RUN

REPRODUCED, DIFFERS = "reproduced", "differs"
NOT_COMPARABLE = "not comparable"
USUAL_SPREAD = 0.2
"""Points between two trainings of one setting, in percent."""
ROUNDING = 0.05
"""How far a score is from what is printed of it."""


def verdict(
    paper: float,
    measured: float,
    comparable: bool = True,
    low: float | None = None,
    high: float | None = None,
) -> str:
    """The verdict on scores in percent, NaN where there is none.

    ``comparable``: whether both are of the same images and input. ``low`` and ``high`` are the ends
    of the measured score's interval, where one is known.
    """
    if pd.isna(measured):
        return NOT_RUN
    if pd.isna(paper) or not comparable:
        return NOT_COMPARABLE
    if low is None or pd.isna(low):
        low, high = measured - USUAL_SPREAD, measured + USUAL_SPREAD
    within = low - ROUNDING - 1e-9 <= paper <= high + ROUNDING + 1e-9
    return REPRODUCED if within else DIFFERS
