"""The workflow's result files as data frames. A run is one (model, seed).

Files hold AP and AR as fractions; the frames hold every score in percent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError, safe_open

from pose.config.datasets import DATASETS
from pose.datasets import dataset_of
from pose.support.errors import PoseError
from pose.support.files import read_json, read_text

FRACTIONS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
METRIC_KEYS = ("model", "seed", "boxes", "protocol", "input", "dataset", "persons")
COMPLEXITY_COLUMNS = ("model", "input", "num_keypoints", "params", "gmacs_fvcore")
PCKH = "PCKh@0.5"
ABLATED = "COCO val2017"  # what the paper's Table 1 and Figure 1 are on
NO_SIZES = (None, None)
PCKH_ROW = {"evaluator": "pose.evaluation.pckh", "images": None}  # what MPII's files do not say


def read_metrics(files: Iterable[Path], *keys: str) -> pd.DataFrame:
    """A row per ``metrics_*.json``: its flat keys.

    Raises PoseError for a file that is missing, malformed or lacks one of ``METRIC_KEYS``
    and ``keys``.
    """
    rows = []
    for file in files:
        row = _object(read_json(file), str(file))
        _require(row, (*METRIC_KEYS, *keys), str(file))
        _require(row, () if PCKH in row else ("AP", "AR", "evaluator", "images"), str(file))
        rows.append(PCKH_ROW | row)
    return _percent(pd.DataFrame(rows, columns=None if rows else METRIC_KEYS))


def read_logs(files: Iterable[Path]) -> pd.DataFrame:
    """A row per epoch of each ``<name>/<run>/seed<k>/training.jsonl``.

    The lines give ``epoch``, ``lr`` and the val score, :func:`run_of` the run and its model.
    Raises PoseError for another kind of path, and for a line that is not such an object.
    """
    rows = list(_lines(files, "epoch", "lr"))
    for where, row in rows:
        _require(row, () if PCKH in row else ("AP",), where)
    return _percent(pd.DataFrame([row for _, row in rows]))


def read_performance(files: Iterable[Path]) -> pd.DataFrame:
    """A row per line of each ``<name>/<run>/seed<k>/performance.jsonl``: loss and speed.

    ``event`` is "steps" or "epoch". Raises PoseError as :func:`read_logs` does.
    """
    keys = ("event", "epoch", "loss", "images_per_second", "data_wait_share")
    return pd.DataFrame([row for _, row in _lines(files, *keys)])


def _lines(files: Iterable[Path], *required: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of every line of the logs, and the run that each is of."""
    empty = True
    for file in files:
        run = run_of(file)
        for number, line in enumerate(read_text(file).splitlines(), 1):
            where = f"{file} line {number}"
            row = _object(_parse(line, where), where)
            _require(row, required, where)
            empty = False
            yield where, run | row
    if empty:
        raise PoseError("no epoch in any training log: train at least one model first")


def read_complexity(file: Path) -> pd.DataFrame:
    """``complexity.csv``: a row per model and input, params as counts, GMACs in 1e9.

    Raises PoseError for a file that is missing, malformed or lacks a column.
    """
    try:
        frame = pd.read_csv(
            StringIO(read_text(file)), dtype={"params": float, "gmacs_fvcore": float}
        )
    except ValueError as error:  # ParserError and EmptyDataError are ValueErrors
        raise PoseError(
            f"{file}: not a complexity table ({error}); rerun pose.complexity"
        ) from None
    _require(frame, COMPLEXITY_COLUMNS, str(file))
    return frame


def score_of(frame: pd.DataFrame) -> str:
    """The main score's column: PCKh@0.5 where the frame has it, else AP."""
    return PCKH if PCKH in frame else "AP"


def is_full_coco(metrics: pd.DataFrame) -> bool:
    """Whether every row was measured on the whole of COCO val2017, as the paper's numbers were."""
    return all(val_set(row) == ABLATED for _, row in metrics.iterrows())


def val_set(row: pd.Series) -> str:
    """On what a row of metrics was measured: a published val set, or which part of it."""
    name = row["dataset"]
    images, persons = dataset_of(name).sizes.get("val", NO_SIZES) if name in DATASETS else NO_SIZES
    unit, whole = ("persons", persons) if pd.isna(row["images"]) else ("images", images)
    if whole is None:
        return f"{row[unit]:.0f} {name} {unit}"
    return dataset_of(name).title if row[unit] == whole else f"{row[unit]:.0f} of {whole} {unit}"


def describe(metrics: pd.DataFrame) -> str:
    """Where the measured numbers come from: ``"synthetic (40 val images), 64x48, released"``.

    More protocols than two are counted: the tables name each row's.
    """
    texts = []
    for _, rows in metrics.groupby(["dataset", "input"]):
        row = rows.iloc[0]
        size = (
            f"{row.persons} val persons" if pd.isna(row.images) else f"{row.images:.0f} val images"
        )
        protocols = [f"protocol {protocol}" for protocol in rows["protocol"].unique()]
        if len(protocols) > 2:
            protocols = [f"{len(protocols)} protocols (named in the tables)"]
        texts += [f"{row.dataset} ({size}), {row.input}, {protocol}" for protocol in protocols]
    return "; ".join(texts)


def run_of(file: Path) -> dict[str, Any]:
    """``name``, ``run``, ``seed`` and ``model`` of the file ``<name>/<run>/seed<k>/FILE``.

    The model is that of the weights beside it; without them the run is called as its model.
    Raises PoseError for another kind of path.
    """
    folder = file.resolve().parent
    seed, run, name = folder.name, folder.parent.name, folder.parent.parent.name
    if not re.fullmatch(r"seed\d+", seed):
        raise PoseError(f"{file}: expected a path like results/<name>/<run>/seed<k>/{file.name}")
    model = _model_of(folder / "weights.safetensors") or run
    return {"name": name, "run": run, "seed": int(seed[4:]), "model": model}


def _model_of(weights: Path) -> str | None:
    """The model in the experiment that our own weights are of; None without such a file."""
    try:
        with safe_open(weights, "np") as file:
            return json.loads(file.metadata()["about"])["experiment"]["model"]
    except (OSError, SafetensorError, TypeError, KeyError, ValueError):
        return None


def _parse(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PoseError(f"{where}: malformed JSON ({error}); train again or mend it") from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PoseError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


def _require(keys: Iterable[str], required: Iterable[str], where: str) -> None:
    missing = [key for key in required if key not in keys]
    if missing:
        raise PoseError(f"{where}: lacks {', '.join(missing)}; was it written by this version?")


def _percent(frame: pd.DataFrame) -> pd.DataFrame:
    for column in frame.columns.intersection(FRACTIONS):
        scores = frame[column].astype(float)
        frame[column] = 100 * scores.where(scores >= 0)  # COCO writes -1 for "undefined"
    return frame
