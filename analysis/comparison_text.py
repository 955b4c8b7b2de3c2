"""Tables 1 to 4 as text: what all measured rows share is said once, a row says what differs."""

from __future__ import annotations

import re

import pandas as pd

from analysis import reported
from analysis.ablation import absent
from analysis.tables import NOT_RUN
from analysis.verdict import ROUNDING, USUAL_SPREAD
from pose.config.model_sheet import Sheet, switches

REBUILT = "†"
MARKS = {"meme": "✓", "plain": "✗"}
CITED = "Li et al., Sensors 2022, 22, 632"
NAMES = {
    **{"val_set": "val set", "batch_norm": "batch normalisation over", "seeds": "seed"},
    "counted_input": "multiply-adds counted at",
}
"""Columns of :func:`analysis.comparison.compare` as they are called above and in a table."""
SHARED = [
    *("val_set", "input", "protocol", "batch", "precision", "batch_norm"),
    *("evaluator", "seeds", "counted_input"),
]
Text = dict[str | tuple[str, str], pd.Series]


def present(number: int, table: pd.DataFrame, sheet: Sheet) -> tuple[pd.DataFrame, str, list[str]]:
    """The table of text, what stands above it, and its footnotes."""
    shared, differing = _shared(table, ["input"] if number > 1 else [])
    columns = _who(number, table, sheet) | _costs(table) | _scores(table) | differing
    if number == 3:
        columns["submission"] = table["submission"].replace("", pd.NA).fillna(NOT_RUN)
    text = pd.DataFrame(columns)
    return text, _caption(number, table, shared), _footnotes(number, table, sheet)


def _who(number: int, table: pd.DataFrame, sheet: Sheet) -> Text:
    """What names a row."""
    if number == 1:
        own = switches(next(iter(sheet.values())))
        of_the_paper = {
            name for name in own if "meme" in {switches(r)[name] for r in sheet.values()}
        }
        groups = {name: "MEMe" if name in of_the_paper else "" for name in own}
        parts = {(group, name): table[name].replace(MARKS) for name, group in groups.items()}
        return {"order": table["order"], **parts}
    method = table["method"].fillna(table["model"])
    method += table["reconstruction"].map({True: f" {REBUILT}", False: ""})
    backbone = {"backbone": table["backbone"].fillna("-")} if "backbone" in table else {}
    return {"method": method, **backbone, "input": table["input"]}


def _costs(table: pd.DataFrame) -> Text:
    names = {
        ("params (M)", "paper"): ("params paper", "{:g}"),
        ("params (M)", "counted"): ("params", "{:.3f}"),
        ("multiply-adds (1e9)", "paper's GFLOPs"): ("gflops paper", "{:g}"),
        ("multiply-adds (1e9)", "fvcore"): ("gmacs", "{:.3f}"),
    }
    return {
        shown: table[column].map(form.format).where(table[column].notna(), "-")
        for shown, (column, form) in names.items()
        if column in table and table[column].notna().any()
    }


def _scores(table: pd.DataFrame) -> Text:
    """Of each score the paper's, and mean ± deviation in each kind of boxes.

    Of the main one also the differences and the verdict.
    """
    columns: Text = {}
    measured = [name.removesuffix(" mean") for name in table if name.endswith(" mean")]
    scores = [name.removesuffix(" paper") for name in table if name.endswith(" paper")]
    scores = [name for name in scores if name not in ("params", "gflops")]
    scores = list(dict.fromkeys([*scores, *(name.rsplit(" ", 1)[0] for name in measured)]))
    for score in scores:
        if f"{score} paper" in table:
            printed = table[f"{score} paper"].map(_printed)
            if "note" in table:
                printed += (
                    table["note"]
                    .str.contains("re-implemented", na=False)
                    .map({True: " *", False: ""})
                )
            columns[score, "paper"] = printed
        for name in [name for name in measured if name.rsplit(" ", 1)[0] == score]:
            boxes = name.rsplit(" ", 1)[1]
            absent = NOT_RUN if score == scores[0] else "-"
            columns[score, f"{boxes} boxes"] = table.apply(
                _mean_and_spread, axis=1, name=name, absent=absent
            )
        for boxes in ("gt", "det") if score == scores[0] else ():
            apart = table.get(f"{score} {boxes} difference", pd.Series(dtype=float))
            if apart.notna().any():
                shown = apart.map(lambda value: f"{round(value, 1) + 0.0:+.1f}")  # never -0.0
                columns[score, f"{boxes} - paper"] = shown.where(apart.notna(), "-")
        if score == scores[0]:
            columns[score, "verdict"] = table["verdict"]
    return columns


def _printed(value: float) -> str:
    """A number of the paper with the decimals that it prints, at least one."""
    if pd.isna(value):
        return "-"
    return f"{value:.1f}" if round(value, 1) == value else f"{value:g}"


def _mean_and_spread(row: pd.Series, name: str, absent: str) -> str:
    """``"57.5"``, ``"57.5 ± 0.4"`` over seeds, or ``absent``."""
    if pd.isna(row[f"{name} mean"]):
        return absent
    spread = f" ± {row[f'{name} sd']:.1f}" if row[f"{name} n"] > 1 else ""
    return f"{row[f'{name} mean']:.1f}{spread}"


def _shared(table: pd.DataFrame, named: list[str]) -> tuple[dict[str, str], Text]:
    """What all measured rows share, and columns of what differs; ``named`` stands there already."""
    shared: dict[str, str] = {}
    differing: Text = {}
    rows = table[table["val_set"].notna()]
    for column in [name for name in SHARED if name in table and name not in named]:
        known = rows[column].replace("", pd.NA).dropna().astype(str)
        name = NAMES.get(column, column)
        if column == "protocol" and known.nunique() > 1:
            common, rest = _split_protocols(known)
            if common:
                shared[name] = ", ".join(common)
            differing[name] = rest.reindex(table.index).fillna("-")
        elif known.nunique() > 1:
            differing[name] = known.reindex(table.index).fillna("-")
        elif len(known):
            shared[name] = known.iloc[0]
    return shared, differing


def _split_protocols(labels: pd.Series) -> tuple[list[str], pd.Series]:
    """The parts that all labels have, and what else each says.

    ``"released, hrnet recipe (epochs=3, lr=0.1)"`` has the parts ``released``, ``hrnet recipe``,
    ``epochs=3`` and ``lr=0.1``.
    """
    parts = labels.map(lambda text: re.split(r",\s+|\s+\(", text.removesuffix(")")))
    common = [part for part in parts.iloc[0] if all(part in own for own in parts)]
    rest = parts.map(lambda own: ", ".join(part for part in own if part not in common) or "-")
    return common, rest


def _caption(number: int, table: pd.DataFrame, shared: dict[str, str]) -> str:
    titles = {
        1: "Ablation of MEMe: the orders of EEffPose-P0",
        2: "Comparison on COCO val2017",
        3: "Comparison on COCO test-dev2017",
        4: "Comparison on MPII val",
    }
    place = " (COCO val2017, 256x192)" if number == 1 else ""
    text = f"{titles[number]}. Scores in percent. Paper: Table {number} of {CITED}{place}."
    if shared:
        text += f" All measured rows: {'; '.join(f'{k} {v}' for k, v in shared.items())}."
    if any(name.endswith(" n") and (table[name] > 1).any() for name in table):
        text += " Mean ± standard deviation over seeds."
    if (table["verdict"] == "not comparable").any():
        text += (
            " What was measured on other images or at another input than the paper's must not be"
            " compared with it, only with its like."
        )
    if table["verdict"].isin(["reproduced", "differs"]).any():
        text += (
            f" Reproduced: the printed score lies within the measured one's interval, or, where"
            f" none is known, within {USUAL_SPREAD} points of it, by which two trainings usually"
            f" differ, {ROUNDING:g} of rounding included; by the detector's boxes where there are"
            " any."
        )
    if number == 3:
        text += " test-dev is scored by COCO's server alone: measured scores are the server's."
    return text


def _footnotes(number: int, table: pd.DataFrame, sheet: Sheet) -> list[str]:
    """What marks mean, which orders are not there, and where the paper contradicts itself."""
    notes = []
    if number == 1:
        notes += filter(None, [absent(table["order"], sheet)])
    elif table["reconstruction"].any():
        notes.append(f"{REBUILT} A reconstruction: no public code determines this model.")
    if "note" in table and table["note"].str.contains("re-implemented", na=False).any():
        notes.append("* Re-implemented by the paper's authors, as they say.")
    for slip in reported.slips(number).itertuples():
        notes.append(f"The paper, {slip.place}: {slip.says} But: {slip.but}")
    return notes
