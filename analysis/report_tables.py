"""Tables of the report: their HTML, their numbers as CSV, and the runs behind each row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import tables
from analysis.results import INTERVALS, SCORES
from pose.support.errors import PoseError
from pose.support.files import read_text

PAGE = re.compile(
    r"<body>\n<p><b>(?P<title>.*?)\.</b> (?P<note>.*?)</p>\n"
    r'<div class="scroll"><table>\n(?P<head>.*?)<tbody>\n(?P<body>.*?)</tbody>\n</table></div>\n'
    r"(?P<notes>.*?)</body>",
    re.DOTALL,
)
"""What :func:`analysis.tables.to_html` writes."""
SHARED = ("run", "model", "seed", "boxes", "dataset", "input", "protocol", "val_set", "checkpoint")
"""Columns of a table that say which rows of load_results it is made from."""
LABELS = ("results", "where")
"""Columns that say it by :func:`label`."""
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?( (±|\().*)?")
DESCRIBING = {"seed", "images", "persons", "batch", "epochs", "order", "val_share", "code_train"}
DESCRIBING |= {"code_infer", "code_evaluate", "data", "commit", "identity"}
"""Columns that were not measured, even where they look like numbers."""
NAMING = ("model", "order", "dataset", "input", "val_set", "boxes", "seed")
MEASURED = ("AP", "AP_low", "AP_high", "AR", "PCKh@0.5", "PCKh@0.5_low", "PCKh@0.5_high", "params")
MEASURED += ("gmacs", "train_hours")
"""Columns of load_results that are seen at first: of the ``NAMING`` those that differ."""


@dataclass(frozen=True)
class Table:
    """A table of the report; all but ``name``, ``csv`` and ``hidden`` is HTML.

    ``csv`` has the numbers, unrounded where they are known. The columns ``hidden`` can be chosen.
    """

    name: str
    title: str
    note: str
    head: str
    body: str
    notes: str
    csv: str
    hidden: tuple[int, ...] = ()


def read_table(folder: Path, name: str, results: pd.DataFrame) -> Table | None:
    """A table that the workflow made; None where it is not there.

    ``results`` are those of load_results. Raises PoseError for a file that is none of ours.
    """
    page, csv = folder / f"{name}.html", folder / f"{name}.csv"
    if not (page.exists() and csv.exists()):
        return None
    return _table(name, read_text(page), read_text(csv), results, page)


def read_numbers(file: Path) -> pd.DataFrame:
    """The CSV of a table, all columns text; empty where it is not there."""
    return _numbers(read_text(file), file) if file.exists() else pd.DataFrame()


def results_table(results: pd.DataFrame) -> Table:
    """Every column of load_results that any run fills."""
    told = results.dropna(axis=1, how="all")
    first = [name for name in (*NAMING, *MEASURED) if name in told]
    told = told[[*first, *(name for name in told if name not in first)]]
    shared = [name for name in NAMING[1:] if name in told and told[name].nunique() == 1]
    said = "".join(f"; {name} {told[name].iloc[0]}" for name in shared if len(told) > 1)
    note = "Every run and source of boxes; scores in percent, with the 95 % interval over images."
    table = _own_table(
        "results", "Results", f"{note} All: {said[2:]}." if said else note, told, results
    )
    shown = {*MEASURED, *NAMING} - {*(shared if said else ())}
    hidden = tuple(number for number, name in enumerate(told) if name not in shown)
    return replace(table, hidden=hidden)


def costs_table(costs: pd.DataFrame, results: pd.DataFrame) -> Table:
    """Parameters and multiply-adds."""
    note = "Counted by fvcore: parameters, and multiply-adds in 1e9. No run is behind these."
    return _own_table("costs", "Parameters and multiply-adds", note, costs, results[:0])


def steps_table(folder: Path, results: pd.DataFrame) -> Table | None:
    """What the workflow's jobs took, by the files below ``benchmarks``; None where there are none.

    Raises PoseError for a file that is none of Snakemake's.
    """
    rows = []
    for file in sorted(folder.rglob("*.tsv")):
        try:
            (job,) = pd.read_csv(StringIO(read_text(file)), sep="\t", na_values="-").to_dict(
                "records"
            )
            row = {"jobs": 1, "seconds": job["s"], "CPU seconds": job["cpu_time"]}
            row["most memory (MB)"] = job["max_rss"]
        except (ValueError, KeyError, TypeError) as error:
            raise PoseError(f"{file}: not a benchmark of Snakemake ({error}); remove it") from None
        rows.append({"step": (file.relative_to(folder).parent.name or file.stem)} | row)
    if not rows:
        return None
    how = {"jobs": "sum", "seconds": "sum", "CPU seconds": "sum", "most memory (MB)": "max"}
    steps = pd.DataFrame(rows).groupby("step", as_index=False, sort=False).agg(how)
    return _own_table("steps", "Steps", "What the jobs of the workflow took.", steps, results[:0])


def label(row: Any) -> str:
    """Names one row of load_results, as the tables do."""
    boxes = f", {row['boxes']} boxes" if pd.notna(row["boxes"]) else ""
    seed = f", seed {row['seed']}" if pd.notna(row["seed"]) else ""
    return f"{row['run']}{seed}{boxes}"


def _own_table(
    name: str, title: str, note: str, frame: pd.DataFrame, results: pd.DataFrame
) -> Table:
    text = pd.DataFrame({column: frame[column].map(_text) for column in frame})
    scores = [column for column in frame if column in (*SCORES, *INTERVALS)]
    text = text.assign(**{column: frame[column].map("{:.1f}".format) for column in scores})
    page = tables.to_html(text.replace("nan", "-"), title, note)
    return _table(name, page, frame.to_csv(index=False), results, Path(name))


def _text(value: Any) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(name: str, page: str, csv: str, results: pd.DataFrame, file: Path) -> Table:
    """Its page with buttons on what was measured, which name the rows of ``results`` behind it."""
    found, numbers = PAGE.search(page), _numbers(csv, file)
    if not found:
        raise PoseError(f"{file}: not a page of this version; delete it and make it again")
    parts = found.groupdict()
    lines = re.findall(r"<tr>.*?</tr>", parts["body"], re.DOTALL)
    if len(lines) != len(numbers):
        raise PoseError(f"{file}: does not fit its CSV; delete both and make them again")
    texts = results.astype("string").assign(label=[label(row) for _, row in results.iterrows()])
    rows, boxes = numbers.to_dict("records"), texts["boxes"].fillna("").tolist()
    parts["body"] = "\n".join(
        _with_buttons(line, parts["head"], _behind(row, texts), boxes)
        for line, row in zip(lines, rows, strict=True)
    )
    return Table(name=name, csv=csv, **parts)


def _numbers(csv: str, file: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(StringIO(csv), dtype=str, keep_default_na=False)
    except ValueError as error:  # ParserError and EmptyDataError are ValueErrors
        raise PoseError(
            f"{file.with_suffix('.csv')}: not a table ({error}); make it again"
        ) from None


def _behind(row: dict[str, str], results: pd.DataFrame) -> list[int]:
    """The numbers of the rows of load_results that a row of a table is made from."""
    fits = results["label"].notna()
    if "claim" in row:
        if not row["measured"]:
            return []
        names = {*row["a"].split(), *row["b"].split()}
        at_input = results["model"] + "@" + results["input"]
        fits = results["order"].isin(names) | at_input.isin(names)
    elif "effect" in row:
        fits &= results["order"].notna()
    told = {key: row[key] for key in SHARED if row.get(key)}
    for key, value in told.items():
        fits &= results[key] == value
    labels = {row[key] for key in LABELS if key in row}
    if labels:
        fits &= results["label"].isin(labels)
    named = told or labels or "claim" in row
    return [int(number) for number in fits.fillna(False).to_numpy().nonzero()[0]] if named else []


def _with_buttons(line: str, head: str, behind: list[int], boxes: list[str]) -> str:
    """A row with a button on each measured number, or else on its first cell.

    ``behind`` has the numbers of its rows of load_results, of which ``boxes`` has the column.
    """
    names = re.findall(r"<th(?: class=\"\w+\")?>(.*?)</th>", head.rpartition("<tr>")[2])
    cells = re.findall(r"<td(.*?)>(.*?)</td>", line, re.DOTALL)
    shaded = [i for i, (css, _) in enumerate(cells) if "measured" in css or "recomputed" in css]
    plain = [i for i, name in enumerate(names) if name not in DESCRIBING]
    numbers = [i for i in shaded or plain if NUMBER.fullmatch(cells[i][1])]
    chosen = numbers or ([] if shaded else [0])
    shown = []
    for number, (css, text) in enumerate(cells):
        only = names[number].removesuffix(" boxes") if names[number].endswith(" boxes") else None
        runs = " ".join(str(run) for run in behind if only in (None, boxes[run]))
        button = f'<button data-runs="{runs}">{text}</button>'
        shown.append(f"<td{css}>{button if runs and number in chosen else text}</td>")
    return f"<tr>{''.join(shown)}</tr>"


def scores_of(row: Any) -> Iterator[str]:
    """The scores of one row of load_results, the main one with its interval."""
    for name in SCORES:
        if pd.notna(row[name]):
            low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
            between = f" ({low:.1f} to {high:.1f})" if pd.notna(low) else ""
            yield f"{name} {row[name]:.1f}{between}"
