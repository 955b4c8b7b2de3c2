"""What the files of one run and seed say: ``results/NAME/RUN/seedK/``, or a published checkpoint's.

Model, settings and scores are read from the files; the folder's place gives only ``name`` and
``run``, which nothing is compared by. A file that is not there leaves its columns empty. One that
is empty, cut off or damaged counts as not there, a log up to the damaged line, and is told on
standard error. PoseError is for files of another version, whose content is something else.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Container, Iterable, Iterator
from functools import cache, cached_property
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from pose.config.datasets import DATASETS
from pose.datasets import dataset_of
from pose.evaluation.coco import METRICS
from pose.evaluation.submission import SERVER, read_server
from pose.support.errors import PoseError
from pose.support.files import read_json, read_text
from pose.weights.about import ALONE, read_plain

Row = dict[str, Any]
Content = TypeVar("Content")
FRACTIONS = METRICS
"""COCO's scores, which the files hold as fractions."""
PARTS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
PCKH = "PCKh@0.5"
WEIGHTS, CURVE, PERFORMANCE = "weights.safetensors", "training.jsonl", "performance.jsonl"
LABELS = ("model", "seed", "boxes", "protocol", "input", "dataset", "persons")
"""What every file of metrics has beside its scores."""
GROUPS = ("released", "published")
"""Folders of checkpoints inside a results folder."""
COMPLEXITY = "complexity.csv"
LATENCY = "latency.csv"
COMPLEXITY_COLUMNS = ("model", "input", "num_keypoints", "params", "gmacs_fvcore")
LATENCY_COLUMNS = (*COMPLEXITY_COLUMNS[:3], "latency_ms", "device", "threads")
TEST_DEV = "COCO test-dev2017"

tell = cache(logging.getLogger(__name__).warning)  # once, however many frames read the file


class RunFolder:
    """A folder with the results of one run and seed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable: dict[str, str] = {}
        """File name -> why it cannot be read, of the files that were read so far."""

    def read(self, read: Callable[[Path], Content], file: Path) -> Content | None:
        """What ``read`` makes of a file of this folder; None where it raises PoseError."""
        try:
            return read(file)
        except PoseError as error:
            self._leave_out(file, error)
            return None

    def _leave_out(self, file: Path, error: PoseError) -> None:
        self.unreadable[file.name] = str(error)
        tell(f"{error}; left out")

    @property
    def place(self) -> Row:
        """``name`` of the results folder and ``run``, as the user knows them."""
        folder = self.path.resolve()
        run = folder.parent if re.fullmatch(r"seed\d+", folder.name) else folder
        above = run.parent.parent if run.parent.name in GROUPS else run.parent
        return {"name": above.name, "run": run.name, "folder": str(self.path)}

    @cached_property
    def about(self) -> Row:
        """What the weights tell of themselves, or a file that tells it without them."""
        for file, read in ((self.path / WEIGHTS, read_plain), (self.path / ALONE, read_json)):
            if file.exists():
                return _object(self.read(read, file) or {}, file)
        return {}

    @cached_property
    def metrics(self) -> list[Row]:
        """The content of each file of metrics, and where it stands (``file``)."""
        files = sorted(self.path.glob("metrics_*.json"))
        found = {file: self.read(read_json, file) for file in files}
        return [
            _object(content, file) | {"file": str(file)}
            for file, content in found.items()
            if file.name not in self.unreadable
        ]

    @cached_property
    def labels(self) -> Row:
        """``model``, ``dataset``, ``input``, ``protocol`` and ``seed``, by the weights or metrics.

        Where there are only logs, the run is called as its model.
        """
        if experiment := self.about.get("experiment"):
            size = "{}x{}".format(*experiment["input_size"])
            names = ("model", "dataset", "protocol", "seed")
            return {name: experiment[name] for name in names} | {"input": size}
        if self.metrics:
            content = self.metrics[0]
            _require(content, content["file"], LABELS)
            return {name: content[name] for name in LABELS if name != "boxes"}
        seed = re.fullmatch(r"seed(\d+)", self.path.resolve().name)
        return {"model": self.place["run"], "seed": int(seed[1]) if seed else None}

    @property
    def origin(self) -> Row:
        """What weights or metrics tell that they were made from: experiment, data and code."""
        told = [self.about, *self.metrics]
        return next((one["made_from"] for one in told if one.get("made_from")), {})

    def scores(self) -> Iterator[Row]:
        """A row for each source of boxes, and for the server's scores; all scores in percent.

        A run without any gives one row that says no ``boxes``.
        """
        rows = [self._measured(content) for content in self.metrics]
        if (self.path / "submission").is_dir():
            rows.append(self._submitted())
        for row in rows or [self.labels | {"made_from": self.origin}]:
            yield {"kept_code": None} | row | _flat(row.get("made_from") or {})

    def _measured(self, content: Row) -> Row:
        file = content["file"]
        scores = (PCKH,) if PCKH in content else ("AP", "AR", "evaluator", "images")
        _require(content, file, (*LABELS, *scores))
        row = _percent(content) | {"split": "val"} | val_set(content)
        intervals = self.path / f"intervals_{content['boxes']}.json"
        if intervals.exists():
            row |= _object(self.read(read_json, intervals) or {}, intervals)
        for name, of in (("per_joint", PCKH), ("per_joint@0.1", "PCKh@0.1")):
            row |= {f"{of} {part}": value for part, value in (row.get(name) or {}).items()}
        return row

    def _submitted(self) -> Row:
        """The archive that went to COCO's server, and the server's scores once they are there."""
        server = self.path / SERVER
        archives = sorted(file.name for file in server.parent.glob("*.zip"))
        row = {"split": "test-dev", "boxes": "det", "made_from": self.origin}
        row |= {"submission": ", ".join(archives) or None, "val_set": TEST_DEV}
        if server.exists():
            row |= _percent(read_server(server)) | {"evaluator": "COCO's server"}
        return self.labels | row

    def costs(self, name: str = COMPLEXITY) -> list[Path]:
        """The tables of that name that lie above: of parameters and multiply-adds, or latency."""
        above = self.path.resolve().parents[:3]
        return [file for file in (parent / name for parent in above) if file.exists()]

    def training(self) -> Row:
        """How the weights came about: settings, cost, device, commit and versions."""
        settings = self.about.get("experiment", {}).get("train", {})
        shared = settings.get("synchronised_batch_norm")
        whole = "the whole batch" if shared else "each process's share"
        chunk = settings.get("micro_batch")
        versions = self.about.get("versions") or {}
        row = {
            "batch": settings.get("batch_size"),
            "precision": settings.get("precision"),
            "batch_norm": (f"chunks of {chunk}" if chunk else whole) if settings else None,
            "recipe": self.about.get("experiment", {}).get("recipe"),
            "device": self.about.get("device"),
            "commit": self.about.get("commit"),
            "versions": " ".join(f"{k} {v}" for k, v in versions.items() if k != "code") or None,
        }
        epochs = [line for _, line in self._lines(CURVE, "epoch") if line["epoch"] >= 0]
        if epochs and CURVE not in self.unreadable:
            row["epochs"] = len(epochs)
        laps = [line for _, line in self._lines(PERFORMANCE, "event") if line["event"] == "epoch"]
        seconds = [
            line["seconds"] + (line.get("validation_seconds") or 0)
            for line in laps
            if line.get("seconds") is not None
        ]
        if seconds and PERFORMANCE not in self.unreadable:
            row["train_hours"] = sum(seconds) / 3600
        return row

    def curve(self) -> list[Row]:
        """A row an epoch: ``lr``, ``loss``, the val scores in percent, and speed where it is known.

        Raises PoseError for a line that is no such object.
        """
        speed = {
            line["epoch"]: line
            for _, line in self._lines(PERFORMANCE, "event", "epoch")
            if line["event"] == "epoch"
        }
        rows = []
        for where, line in self._lines(CURVE, "epoch", "lr"):
            if not {"AP", PCKH} & line.keys():
                raise PoseError(f"{where}: lacks AP; was it written by this version?")
            rows.append(self.labels | speed.get(line["epoch"], {}) | _percent(line))
        return rows

    def persons(self) -> Iterator[pd.DataFrame]:
        """The table of annotated persons of each source of boxes, with the run's labels."""
        for file in sorted(self.path.glob("persons_*.parquet")):
            table = self.read(_read_persons, file)
            if table is None:
                continue
            labels = self.labels | {"boxes": file.stem.removeprefix("persons_")}
            yield pd.DataFrame(labels, index=table.index).join(table)

    def _lines(self, name: str, *required: str) -> Iterator[tuple[str, Row]]:
        """Place and content of a log's lines, up to one that is damaged; nothing without a log."""
        file = self.path / name
        lines = read_text(file).splitlines() if file.exists() else []
        if not lines and file.exists():
            self._leave_out(file, PoseError(f"{file}: empty; train again"))
        for number, line in enumerate(lines, 1):
            where = f"{file} line {number}"
            try:
                row = _object(json.loads(line), where)
            except (ValueError, RecursionError) as error:
                text = f"{where}: malformed JSON ({error}); train again or mend it"
                self._leave_out(file, PoseError(text))
                return
            _require(row, where, required)
            yield where, row


def _require(row: Container[str], where: object, names: Iterable[str]) -> None:
    if missing := [name for name in names if name not in row]:
        raise PoseError(f"{where}: lacks {', '.join(missing)}; was it written by this version?")


def val_set(row: Row) -> Row:
    """On what was measured: ``val_set``, a title or which part of the set, and ``val_share``."""
    name, images, persons = row["dataset"], row.get("images"), row["persons"]
    sizes = dataset_of(name).sizes.get("val", (None, None)) if name in DATASETS else (None, None)
    unit, count, whole = ("persons", persons, sizes[1])
    if images is not None:
        unit, count, whole = ("images", images, sizes[0])
    if whole is None:
        return {"val_set": f"{count} {name} {unit}", "val_share": None}
    title = dataset_of(name).title if count == whole else f"{count} of {whole} {unit}"
    return {"val_set": title, "val_share": count / whole}


def read_complexity(file: Path, columns: tuple[str, ...] = COMPLEXITY_COLUMNS) -> pd.DataFrame:
    """``complexity.csv``: a row per model and input, params as counts, GMACs in 1e9.

    With :data:`LATENCY_COLUMNS` ``latency.csv``: milliseconds. Raises PoseError for a file that is
    missing, malformed or lacks a column.
    """
    try:
        frame = pd.read_csv(
            StringIO(read_text(file)), dtype={"params": float, "gmacs_fvcore": float}
        )
    except ValueError as error:  # ParserError and EmptyDataError are ValueErrors
        raise PoseError(
            f"{file}: not a complexity table ({error}); rerun pose.complexity"
        ) from None
    _require(frame, file, columns)
    return frame


def _read_persons(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise PoseError(f"{file}: not a Parquet file ({error}); run pose.evaluate again") from None


def _percent(row: Row) -> Row:
    """COCO's fractions in percent; it writes -1 for "undefined"."""
    scores = {key: row[key] for key in row.keys() & set(FRACTIONS)}
    return row | {key: None if s is None or s < 0 else 100 * s for key, s in scores.items()}


def _flat(origin: Row) -> Row:
    """What a result was made from, in the columns of ``load_results``; None where untold."""
    code = origin.get("code") or {}
    steps = {f"code_{step}": code.get(step) for step in ("train", "infer", "evaluate")}
    return steps | {"identity": origin.get("experiment"), "data": origin.get("data")}


def _object(value: Any, where: object) -> Row:
    if not isinstance(value, dict):
        raise PoseError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value
