"""Whether the results that meet in a table were made with one state of the code."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

MARK = "Mixed code: "
STEPS = {"train": "trained", "infer": "predicted"}
"""Step, whose code is the model's own -> what was done by it."""


def mixed_code(metrics: pd.DataFrame) -> str:
    """A sentence for the caption of a table of :func:`analysis.results.load_results`.

    It names the runs of one model that differ in the fingerprint of their training's or inference's
    code, those that went on with other code, those that the user kept beside later code, and
    whether all were scored by the same code. Empty where nothing is mixed.
    """
    found = list(dict.fromkeys(_mixes(metrics)))
    return f" {MARK}{'; '.join(found)}." if found else ""


def _mixes(metrics: pd.DataFrame) -> Iterator[str]:
    for step, done in STEPS.items():
        for model, own in metrics.groupby("model", sort=False)[f"code_{step}"]:
            if own.nunique() > 1:
                yield f"{model} was {done} with {_listed(own)}"
    for row in metrics[metrics["code_train"].str.contains("+", regex=False, na=False)].itertuples():
        yield f"{row.model} (seed {row.seed}) was trained with {row.code_train} in turn"
    for row in metrics[metrics["kept_code"].notna()].itertuples():
        yield f"{row.model} (seed {row.seed}) is of {row.kept_code}"
    if metrics["code_evaluate"].nunique() > 1:
        yield f"scores are by {_listed(metrics['code_evaluate'])}"


def _listed(fingerprints: pd.Series) -> str:
    return " and ".join(sorted(fingerprints.dropna().unique()))
