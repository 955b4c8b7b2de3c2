"""Results as data frames: :func:`load_results`, :func:`load_persons` and :func:`load_curves`.

Each takes any number of places, whose results are merged: results folders (``results/demo``),
folders of single runs in them, or configs. All scores are in percent, in every frame.
docs/results.md describes the columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis import reported
from analysis.run_folder import (
    COMPLEXITY_COLUMNS,
    CURVE,
    FRACTIONS,
    LATENCY,
    LATENCY_COLUMNS,
    PARTS,
    PCKH,
    TEST_DEV,
    WEIGHTS,
    Row,
    RunFolder,
    read_complexity,
)
from pose.config.datasets import DATASETS
from pose.config.model_sheet import FILE, Sheet, ablation, read_sheet, switches
from pose.datasets import dataset_of
from pose.support.errors import PoseError
from pose.support.files import read_text

TEXT, NUMBER, COUNT = "string", "float64", "Int64"
MPII_SCORES = (PCKH, "PCKh@0.1", "PCKh@0.11", "mean_unweighted", "mean_unweighted@0.1")
SCORES = (*FRACTIONS, *MPII_SCORES, *(f"{of} {part}" for of in MPII_SCORES[:2] for part in PARTS))
"""Every metric, in percent."""
INTERVALS = tuple(f"{score}_{end}" for score in ("AP", PCKH) for end in ("low", "high"))
"""The ends of a main score's 95 % interval over images."""
COST = {
    **{"params": COUNT, "gmacs": NUMBER, "counted_input": TEXT},
    **{"epochs": COUNT, "train_hours": NUMBER, "device": TEXT},
}
ORIGIN = (
    *("source", "checkpoint", "submission", "commit", "identity", "data", "code_train"),
    *("code_infer", "code_evaluate", "kept_code", "evaluator", "versions", "folder"),
)
PLACE = ("name", "run", "folder")
RUN = ("model", "dataset", "input", "protocol", "seed", "checkpoint", "identity")
"""What makes two results the same run's. ``identity`` stands for settings and data, where told."""
DEPTHS = ("", "*/", "*/*/", "*/*/*/")
"""How deep below a place the folders of runs are looked for."""
MARKS = ("metrics_*.json", WEIGHTS, CURVE, "submission/*")
"""A folder with one of these is a run's."""


def columns(sheet: Sheet) -> dict[str, str]:
    """Column of :func:`load_results` -> its dtype. The switches are those of ``sheet``."""
    return {
        **dict.fromkeys(("name", "run", "model", "label", "order", *_switches(sheet)), TEXT),
        **dict.fromkeys(("dataset", "split", "val_set"), TEXT),
        **{"val_share": NUMBER, "images": COUNT, "persons": COUNT},
        **dict.fromkeys(("input", "boxes", "protocol", "recipe", "numerics"), TEXT),
        **{"batch": COUNT, "precision": TEXT, "batch_norm": TEXT, "seed": COUNT},
        **dict.fromkeys((*SCORES, *INTERVALS), NUMBER),
        **COST,
        **dict.fromkeys(ORIGIN, TEXT),
    }


def load_results(*places: Path | str, models: Path = FILE) -> pd.DataFrame:
    """One row per run and source of boxes; a run without scores has one row without ``boxes``.

    A run is one model, data set, input, protocol and seed; found in two places it is one row.
    ``models`` is the sheet of models. Raises PoseError where two places differ about a run, for a
    place without results and for files of another version.
    """
    sheet = read_sheet(models)
    rows = [row for folder in run_folders(places) for row in _rows(folder, sheet)]
    return _frame(_merged(rows, columns(sheet)), sheet)


def load_reported(models: Path = FILE) -> pd.DataFrame:
    """The paper's Tables 1 to 4 in the columns of :func:`load_results`.

    Its GFLOPs follow several conventions and are left out: see :mod:`analysis.reported`.
    """
    sheet = read_sheet(models)
    orders = reported.ablation().rename(index=str).reset_index()
    orders = orders.assign(model=orders["order"].map(ablation(sheet)), input="256x192")
    rows = []
    for number in (1, 2, 3, 4):
        table = orders if number == 1 else reported.comparison(number)
        dataset = "mpii" if number == 4 else "coco"
        where = {
            "dataset": dataset,
            "split": "test-dev" if number == 3 else "val",
            "val_set": TEST_DEV if number == 3 else dataset_of(dataset).title,
            "val_share": 1.0,
            "source": "reported",
            "name": f"Table {number}",
        }
        for row in table.to_dict("records"):
            of_the_paper = {"label": row["method"]} if number > 1 else {}
            if pd.notna(row.get("params_m")):
                of_the_paper["params"] = round(1e6 * row["params_m"])
            scores = {key: row[key] for key in SCORES if key in row}
            named = {key: row[key] for key in ("model", "input")}
            rows.append(_of_the_model(row["model"], sheet) | named | where | of_the_paper | scores)
    return _frame(rows, sheet)


def load_curves(*places: Path | str, models: Path = FILE) -> pd.DataFrame:
    """One row per run and epoch: learning rate, loss, val scores, speed and memory.

    Warm-up epochs are negative. Errors as of :func:`load_results`.
    """
    kinds = {
        **{"epoch": COUNT, "lr": NUMBER, "loss": NUMBER},
        **dict.fromkeys(("AP", "AR", PCKH), NUMBER),
        **dict.fromkeys(("images_per_second", "data_wait_share"), NUMBER),
        **dict.fromkeys(("seconds", "validation_seconds", "rss_mb", "gpu_memory_mb"), NUMBER),
    }
    frames = ((folder, pd.DataFrame(folder.curve())) for folder in run_folders(places))
    compared = ["epoch", "lr", "loss", "AP", PCKH]
    return _of_runs(frames, kinds, compared, read_sheet(models))


def load_persons(*places: Path | str, models: Path = FILE) -> pd.DataFrame:
    """One row per run, source of boxes and annotated person, with its keypoints.

    docs/evaluation.md has the columns. Errors as of :func:`load_results`.
    """
    sheet = read_sheet(models)
    apart = {name: keypoint_column(name, sheet) for name in _switches(sheet)}
    frames = (
        (folder, table.rename(columns=apart))
        for folder in run_folders(places)
        for table in folder.persons()
    )
    return _of_runs(frames, {"boxes": TEXT}, None, sheet)


def keypoint_column(name: str, sheet: Sheet) -> str:
    """A keypoint's column in :func:`load_persons`: its name, unless a switch is called so."""
    return f"{name}_keypoint" if name in _switches(sheet) else name


def load_costs(*places: Path | str) -> pd.DataFrame:
    """Every row of ``complexity.csv`` of the places: parameters as counts, GMACs in 1e9."""
    files = {file: None for folder in run_folders(places) for file in folder.costs()}
    found = [_complexity(file) for file in files]
    whole = pd.concat(found) if found else pd.DataFrame(columns=[*COMPLEXITY_COLUMNS])
    return whole.drop_duplicates(["model", "input", "num_keypoints"], ignore_index=True)


def load_latencies(*places: Path | str) -> pd.DataFrame:
    """Every row of ``latency.csv`` of the places: milliseconds of one image on a device."""
    files = {file: None for folder in run_folders(places) for file in folder.costs(LATENCY)}
    found = [read_complexity(file, LATENCY_COLUMNS) for file in files]
    whole = pd.concat(found) if found else pd.DataFrame(columns=[*LATENCY_COLUMNS])
    return whole.drop_duplicates(["model", "input", "num_keypoints", "device", "threads"])


def at_input(costs: pd.DataFrame, model: str, size: str, joints: int) -> Row:
    """A model's row in one of these tables, at that input or else at any; empty without one."""
    own = costs[(costs["model"] == model) & (costs["num_keypoints"] == joints)]
    exact = own[own["input"] == size]
    return next(iter((exact if len(exact) else own).head(1).to_dict("records")), {})


def run_folders(places: Iterable[Path | str]) -> list[RunFolder]:
    """The folders of runs below each place, each once, in an order that is the same for whatever
    places they are spread over; PoseError for a place that has none.
    """
    found: dict[Path, RunFolder] = {}
    for place in map(place_of, map(Path, places)):
        files = (file for depth in DEPTHS for mark in MARKS for file in place.glob(depth + mark))
        own = {
            file.parent.parent if file.parent.name == "submission" else file.parent
            for file in files
        }
        if not own:
            raise PoseError(f"{place}: no results of any run; give a folder such as results/demo")
        found |= {folder.resolve(): RunFolder(folder) for folder in sorted(own)}
    return [found[path] for path in sorted(found, key=lambda path: path.parts[-2:])]


def place_of(place: Path) -> Path:
    """The results folder of a config, or the place itself."""
    if place.suffix in (".yaml", ".yml"):
        try:
            name = yaml.safe_load(read_text(place))["name"]
        except (yaml.YAMLError, TypeError, KeyError):
            raise PoseError(f"{place}: not a config with a name") from None
        return Path("results", str(name))
    return place


def _rows(folder: RunFolder, sheet: Sheet) -> Iterator[Row]:
    """What a folder says, in the columns of :func:`load_results`."""
    training = folder.training()
    for content in folder.scores():
        label = str(content.get("protocol"))
        named = re.search(r"(\w+) numerics", label)
        recipe = "common" if "common recipe" in label else "own"
        yield {
            **_of_the_model(content["model"], sheet),
            **{"recipe": recipe, "numerics": named[1] if named else "the protocol's"},
            **{key: value for key, value in training.items() if value is not None},
            **_counted(folder, content),
            "source": "published" if content.get("checkpoint") else "trained",
            **content,
            **folder.place,
        }


def _of_the_model(model: str, sheet: Sheet) -> Row:
    """What the sheet says of a model; a model without any switch has none."""
    row = sheet.get(model, {})
    own = switches(row) if any(row.get(name) for name in switches(row)) else {}
    return {"label": row.get("architecture"), "order": row.get("order") or None, **own}


def _counted(folder: RunFolder, content: Row) -> Row:
    """Parameters and multiply-adds, at the run's input where that was counted."""
    joints = joints_of(content.get("dataset"))
    for file in folder.costs():
        if row := at_input(_complexity(file), content["model"], content.get("input"), joints):
            cost = {"params": row["params"], "gmacs": row["gmacs_fvcore"]}
            return cost | {"counted_input": row["input"]}
    return {}


def joints_of(dataset: str | None) -> int:
    """How many keypoints the nets of a data set find; COCO's, where it is not known."""
    return len(dataset_of(dataset).keypoints) if dataset in DATASETS else 17


_complexity = cache(read_complexity)


def _merged(rows: list[Row], compared: Iterable[str]) -> list[Row]:
    """The rows with each run and source of boxes once.

    PoseError where two of the same differ in one of the columns ``compared``.
    """
    compared = [name for name in compared if name not in {*PLACE, *COST}]
    merged: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (*(row.get(name) for name in RUN), row.get("boxes"), row.get("split"))
        first = merged.setdefault(key, row)
        for name in compared:
            told = first.get(name), row.get(name)
            if None not in told and told[0] != told[1]:
                raise _differing(first, row, f"{name} ({told[0]}, {told[1]})")
        merged[key] = {**row, **{k: v for k, v in first.items() if v is not None}}
    scored = {key[:-2] for key, row in merged.items() if row.get("boxes")}
    return [row for key, row in merged.items() if row.get("boxes") or key[:-2] not in scored]


def _differing(first: Row, other: Row, what: str) -> PoseError:
    run = f"{first['model']} seed {first['seed']}"
    boxes = f", {first['boxes']} boxes" if first.get("boxes") else ""
    return PoseError(
        f"{first['folder']} and {other['folder']} hold the same run, {run}{boxes}, but differ in"
        f" {what}; leave one of them out"
    )


def _frame(rows: Iterable[Row], sheet: Sheet) -> pd.DataFrame:
    kinds = columns(sheet)
    table = pd.DataFrame([[row.get(name) for name in kinds] for row in rows], columns=[*kinds])
    return table.astype(kinds)


def _of_runs(
    frames: Iterable[tuple[RunFolder, pd.DataFrame]],
    kinds: dict[str, str],
    compared: list[str] | None,
    sheet: Sheet,
) -> pd.DataFrame:
    """The frames of all runs in one, with what names each run; each run once.

    PoseError where two of the same run differ in the columns ``compared``, or in any of their own.
    """
    seen: dict[tuple[Any, ...], tuple[RunFolder, pd.DataFrame]] = {}
    named = columns(sheet)
    of_the_run = [name for name in named if name in {*PLACE[:2], *RUN, "order", *_switches(sheet)}]
    for folder, own in frames:
        if own.empty:
            continue
        row = folder.labels | folder.place | {"identity": folder.origin.get("experiment")}
        row |= _of_the_model(row["model"], sheet)
        boxes = own["boxes"].iloc[0] if "boxes" in own else None
        key = (*(row.get(name) for name in RUN), boxes)
        told = own.drop(columns=[name for name in own if name in row])
        about = pd.DataFrame({name: row.get(name) for name in of_the_run}, index=told.index)
        first, table = seen.setdefault(key, (folder, about.join(told)))
        shown = [name for name in compared or told if name in told]
        if not table.reindex(columns=shown).equals(told[shown]):
            raise _differing(row | {"folder": str(first.path)}, row, "their rows")
    kinds = {name: named[name] for name in of_the_run} | kinds
    tables = [table for _, table in seen.values()]
    whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    others = [name for name in whole if name not in kinds] if compared is None else []
    return whole.reindex(columns=[*kinds, *others]).astype(kinds)


def _switches(sheet: Sheet) -> list[str]:
    return list(switches(next(iter(sheet.values()))))


def run_of(file: Path) -> Row:
    """Where the file of a run and seed lies, and the labels of that run: see :class:`RunFolder`.

    Raises PoseError for a file of another layout than ``<name>/<run>/seed<k>/FILE``.
    """
    folder = RunFolder(file.parent)
    if not re.fullmatch(r"seed\d+", file.resolve().parent.name):
        raise PoseError(f"{file}: expected a path like results/<name>/<run>/seed<k>/{file.name}")
    return folder.place | folder.labels
