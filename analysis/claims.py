"""The claims of the paper's sections 4 and 5: what its tables say of each, and what was measured.

``reported/claims.tsv`` has a row for each number or order that a sentence claims: the quoted
words, their place, and what they compare. ``a`` and ``b`` name rows of one of the paper's tables,
orders of Table 1 or MODEL@INPUT; several stand for as many comparisons, one by one where both are
lists. ``form`` is ``a``, ``a - b`` or ``a / b``, ``stated`` what it should be: ``= 2.1``, ``> 0``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pose.config.model_sheet import FILE
from pose.support import cli
from pose.support.errors import command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.claims", __doc__)
    parser.add_argument("places", type=Path, nargs="+", help="folders of results or single runs")
    parser.add_argument("--resamples", type=Path, required=True, help="of analysis.intervals")
    parser.add_argument("--models", type=Path, default=FILE, help="default: config/models.tsv")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    return parser


cli.answer_early(__name__, command_line)

import numpy as np
import pandas as pd

from analysis import reported, tables
from analysis.effects import EPOCHS, SCORES, epochs_to, resampled_score
from analysis.intervals import read_resamples
from analysis.results import load_curves, load_results
from analysis.statistics import interval
from analysis.tables import NOT_RUN
from analysis.verdict import ROUNDING

HOLDS, FAILS, OPEN = "holds", "fails", "no verdict"
AMOUNT = "holds, by another amount"
NO_CELL = "not in the table"
FORMS = {"a": lambda a, b: a, "a - b": lambda a, b: a - b, "a / b": lambda a, b: a / b}
COUNTED = {"params_m": ("params", 1e6), "gflops": ("gmacs", 1.0)}
"""Column of the paper's tables -> ours, and its unit."""


def read_claims() -> pd.DataFrame:
    """The claims, a row each, all columns text."""
    file = reported.FOLDER / "claims.tsv"
    return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)


def pairs(claim: Any) -> list[tuple[str, str]]:
    """The rows that are compared with each other; the second is empty for the form ``a``."""
    a, b = claim.a.split(), claim.b.split() or [""]
    if len(a) == 1:
        return [(a[0], other) for other in b]
    return list(zip(a, b, strict=True))


def reported_values(claim: Any) -> list[float]:
    """What the paper's table says of each pair; NaN where it has no such cell."""
    table = _paper(int(claim.table))
    if claim.score not in table:
        return [np.nan] * len(pairs(claim))
    cell = table[claim.score].to_dict()
    form = FORMS[claim.form]
    return [form(cell.get(a, np.nan), cell.get(b, np.nan)) for a, b in pairs(claim)]


@cache
def _paper(number: int) -> pd.DataFrame:
    """One of the paper's tables, indexed as claims name its rows."""
    if number == 1:
        return reported.ablation().rename(index=str)
    table = reported.comparison(number)
    return table.set_index(table["model"] + "@" + table["input"])


def paper_verdict(claim: Any, values: list[float]) -> str:
    """Whether all that the table says is as stated, up to the rounding of what is printed."""
    if np.isnan(values).any():
        return NO_CELL
    sign, number = claim.stated.split()
    wanted, slack = float(number), 1e-6
    if sign == "=":
        digits = len(number.partition(".")[2])
        slack += max(0.5 * 10**-digits, ROUNDING if claim.score in SCORES else 0)
        return HOLDS if all(abs(value - wanted) <= slack for value in values) else FAILS
    factor = 1 if sign == ">" else -1
    return HOLDS if all(factor * (value - wanted) > slack for value in values) else FAILS


class Measured:
    """The measured cells, each with its resamples where there are any."""

    def __init__(
        self, results: pd.DataFrame, curves: pd.DataFrame, resamples: pd.DataFrame
    ) -> None:
        """The frames of :mod:`analysis.results` and :mod:`analysis.intervals`."""
        self.results = results.dropna(subset="boxes")
        self.ablation = _first_setting(self.results[self.results["split"] == "val"])
        self.epochs, self.resamples = _first_setting(epochs_to(curves)), resamples

    def values(self, claim: Any) -> Iterator[tuple[float, float, float]]:
        """Of each pair the value and the ends of its interval over images.

        Counted numbers are sure: the ends are the value. NaN where no interval is known.
        """
        form = FORMS[claim.form]
        for names in pairs(claim):
            cells = [self._cell(claim, name) for name in names if name]
            if None in cells:
                yield (np.nan,) * 3
                continue
            scores, drawn = zip(*cells, strict=True)
            value = form(scores[0], scores[-1])
            sure = value if claim.score in COUNTED else np.nan
            known = all(one is not None for one in drawn)
            yield (value, *(interval(form(drawn[0], drawn[-1])) if known else (sure, sure)))

    def _cell(self, claim: Any, name: str) -> tuple[float, np.ndarray | None] | None:
        """A score over seeds, in a detector's boxes where it has them, and its resamples."""
        if claim.score == "epochs":
            own = self.epochs[self.epochs["order"] == name]
            return (own[EPOCHS].mean(), None) if len(own) else None
        rows = self._rows(int(claim.table), name)
        column, unit = COUNTED.get(claim.score, (claim.score, 1.0))
        rows = rows[rows[column].notna()]
        for boxes in ("det", "gt"):
            own = rows[rows["boxes"] == boxes]
            if len(own):
                mean = float(own[column].astype(float).mean() / unit)
                return mean, resampled_score(self.resamples, own, claim.score)
        return None

    def _rows(self, number: int, name: str) -> pd.DataFrame:
        """The results that a row of the paper's table stands for, where they are comparable.

        The ablation's orders may be of any one data set, the others must be of the table's.
        """
        found, dataset = self.results, {2: "coco", 3: "coco", 4: "mpii"}
        if number == 1:
            return self.ablation[self.ablation["order"] == name]
        model, _, size = name.partition("@")
        split = "test-dev" if number == 3 else "val"
        of_the_table = (found["dataset"] == dataset[number]) & (found["split"] == split)
        return found[of_the_table & (found["model"] == model) & (found["input"] == size)]


def _first_setting(rows: pd.DataFrame) -> pd.DataFrame:
    """The ablation's rows on the first data set and input of any, as Table 1 has them."""
    keys, rows = ["dataset", "input"], rows.dropna(subset="order")
    return rows[(rows[keys] == rows[keys].head(1).squeeze()).all(axis=1)] if len(rows) else rows


def measured_verdict(claim: Any, values: list[tuple[float, float, float]]) -> str:
    """Of all pairs: one that fails decides, then one that was not run, then one that is open."""
    found = [_verdict(claim, *value) for value in values]
    return next((v for v in (FAILS, NOT_RUN, OPEN, AMOUNT) if v in found), HOLDS)


def _verdict(claim: Any, value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return NOT_RUN
    if np.isnan(low):
        return OPEN
    sign, number = claim.stated.split()
    wanted = float(number)
    if sign == "=":
        agrees = low - ROUNDING <= wanted <= high + ROUNDING
        if claim.form != "a - b":
            return HOLDS if agrees else AMOUNT
        if low <= 0 <= high:
            return OPEN
        return FAILS if high < 0 else HOLDS if agrees else AMOUNT
    if sign == "<":
        low, high, wanted = -high, -low, -wanted
    return HOLDS if low > wanted else FAILS if high < wanted or low == high else OPEN


def claims_table(claims: pd.DataFrame, measured: Measured) -> pd.DataFrame:
    """The claims with ``paper``, ``measured``, ``low`` and ``high``, and a verdict by each.

    Of several pairs the numbers are of the one that speaks most against the claim.
    """
    rows = []
    for claim in claims.itertuples():
        paper, found = reported_values(claim), list(measured.values(claim))
        low_is_bad = -1 if claim.stated.startswith("<") else 1
        weakest = min(found, key=lambda value: low_is_bad * np.nan_to_num(value[0], nan=np.inf))
        rows.append(
            {
                "paper": min(paper, key=lambda value: low_is_bad * value),
                "by the paper's tables": paper_verdict(claim, paper),
                **dict(zip(("measured", "low", "high"), weakest, strict=True)),
                "by measurement": measured_verdict(claim, found),
            }
        )
    return claims.join(pd.DataFrame(rows, index=claims.index))


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text."""

    rows = []
    for row in table.to_dict("records"):
        sign = "+" if row["form"] == "a - b" else ""
        digits = 1 if row["score"] in ("AP", "AR") and row["form"] != "a / b" else 2
        paper, measured, *ends = (
            f"{row[name]:{sign}.{digits}f}" for name in ("paper", "measured", "low", "high")
        )
        between = f" ({' to '.join(ends)})" if row["low"] < row["high"] else ""
        rows.append(
            {name: row[name] for name in ("place", "claim", "score", "stated")}
            | {"paper's tables": paper, "by them": row["by the paper's tables"]}
            | {"measured": measured + between, "by measurement": row["by measurement"]}
        )
    return pd.DataFrame(rows).replace(["nan", "+nan"], "-")


def note(ablation: pd.DataFrame) -> str:
    """What stands beside what; ``ablation`` has the rows of the orders."""
    sets = ", ".join(dict.fromkeys(ablation["val_set"] + " at " + ablation["input"]))
    return (
        "What the paper (Li et al., Sensors 2022, 22, 632) claims in sections 4 and 5, what its own"
        " tables say of it, and what was measured: in a detector's boxes where they were used, mean"
        " over seeds, with the 95 % interval over images in brackets. Of several comparisons in one"
        " claim, the numbers are of the one that speaks most against it."
        f" The ablation was measured on: {sets or 'nothing'}; an amount measured on anything but"
        " the whole of COCO val2017 must not be compared with the paper's, only its sign."
    )


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)
    results = load_results(*options.places, models=options.models)
    curves = load_curves(*options.places, models=options.models)
    measured = Measured(results, curves, read_resamples(options.resamples))
    table = claims_table(read_claims(), measured)
    tables.write_table(
        shown(table), options.output_dir, "claims", "Claims", note(measured.ablation)
    )
    tables.write_csv(table.round(4), options.output_dir / "claims.csv")


if __name__ == "__main__":
    main()
