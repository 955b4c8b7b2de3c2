"""The published checkpoints as the rules see them, and the data that they are run on."""

from __future__ import annotations

import csv
from functools import cached_property
from pathlib import Path
from typing import Any

from pose.config import Experiment
from pose.datasets import dataset_of
from pose.support.errors import PoseError, nearest
from pose.weights.published import PublishedFile, checkpoints, published_file, whole_models
from workflow.plan import stop
from workflow.runs import scoring
from workflow.settings import Config


class Published:
    """The checkpoints whose data the config has; PoseError where a folder is not the data set's.

    Of the tables, "published" has all of them and "released" those of the paper's authors.
    Functions of ``wildcards`` end Snakemake with one line for data that the config does not name.
    """

    def __init__(self, config: Config, results: str) -> None:
        self.results = results
        self.roots: dict[str, Path] = {}
        for dataset, root in (("coco", config.coco_root), ("mpii", config.mpii_root)):
            if root:
                self.roots[dataset] = Path(root)
                try:
                    dataset_of(dataset).images(self.roots[dataset], "val")
                except PoseError as error:
                    message = str(error).replace("data_root", f"{dataset}_root")
                    raise PoseError(message) from None
        self.boxes = {"coco": config.coco_detections, "mpii": None}
        known = {word for file in whole_models() for word in (file.model, file.name)}
        for word in config.only or ():
            if word not in known:
                raise PoseError(
                    f"config: only: no published checkpoint is of {word!r}{nearest(word, known)}"
                )
        self.only = set(config.only or known)

    def names(self, wildcards: Any) -> list[str]:
        """The rows of a table."""
        files = whole_models() if wildcards.table == "published" else checkpoints()
        return [file.name for file in files if {file.name, file.model} & self.only]

    def fetched(self, wildcards: Any) -> list[str]:
        """Those of them that there are data for."""
        files = [published_file(name) for name in self.names(wildcards)]
        if not files:
            stop(f"{wildcards.table}: none of its checkpoints is in config: only")
        if not self.roots.keys() & {file.dataset for file in files}:
            needed = " ".join(sorted({f"{file.dataset}_root=DIR" for file in files}))
            stop(f"{wildcards.table}: no data; add --config {needed} (one is enough)")
        found = [file for file in files if file.dataset in self.roots]
        for dataset in {file.dataset for file in found if "det" in self.sources(file)}:
            boxes = self.roots[dataset] / self.boxes[dataset]
            if not boxes.is_file():
                stop(f"{dataset}_detections {boxes}: no such file; put the detector's boxes there")
        return [file.name for file in found]

    def obtained(self, table: str) -> Path:
        """What pose.weights obtain wrote for a table."""
        return Path(self.results, "published", f"obtained_{table}.csv")

    def metrics(self, table: str) -> list[str]:
        """The metrics of every checkpoint that could be had."""
        return [
            f"{self.results}/published/{row['name']}/metrics_{boxes}.json"
            for row in _rows(self.obtained(table))
            if not row["problem"]
            for boxes in self.sources(published_file(row["name"]))
        ]

    def sources(self, file: PublishedFile) -> list[str]:
        """The sources of boxes with which a checkpoint is evaluated."""
        return ["gt", "det"] if self.boxes[file.dataset] else ["gt"]

    def pattern(self, *boxes: str) -> str:
        """What the names of the checkpoints match that are evaluated with these sources."""
        names = [file.name for file in whole_models() if self.sources(file) == list(boxes)]
        return "|".join(names) or "(?!)"

    @cached_property
    def failed(self) -> set[str]:
        """The lists of files that could not all be had, before this call: another try is due."""
        lists = [self.obtained(table) for table in ("published", "released")]
        return {str(path) for path in lists if any(row["problem"] for row in _rows(path))}

    def experiment(self, wildcards: Any) -> Experiment:
        return published_file(wildcards.checkpoint).experiment()

    def model(self, wildcards: Any) -> str:
        return published_file(wildcards.checkpoint).model

    def checksum(self, wildcards: Any) -> str:
        return published_file(wildcards.checkpoint).checksum

    def root(self, wildcards: Any) -> str:
        """The folder of a checkpoint's data set."""
        return str(self._data(wildcards)[1])

    def annotations(self, wildcards: Any) -> Path:
        dataset, root = self._data(wildcards)
        return dataset_of(dataset).annotations(root, "val")

    def truth(self, wildcards: Any) -> Path:
        dataset, root = self._data(wildcards)
        return dataset_of(dataset).ground_truth(root)

    def detections(self, wildcards: Any) -> Path:
        """Where a detector saw people on the val images."""
        dataset, root = self._data(wildcards)
        return root / self.boxes[dataset]

    def both_boxes(self, wildcards: Any, gt_output: str) -> list[str]:
        """The same as an argument, and the file for the ground truth's own boxes."""
        return ["--detections", str(self.detections(wildcards)), "--gt-output", gt_output]

    def scoring(self, wildcards: Any) -> list[str]:
        """The arguments of ``pose.evaluate``; nobody tells the seed of a published checkpoint."""
        _, root = self._data(wildcards)
        chosen, name = self.experiment(wildcards), wildcards.checkpoint
        return scoring(chosen, root, "null", wildcards.boxes, checkpoint=name)

    def _data(self, wildcards: Any) -> tuple[str, Path]:
        dataset = published_file(wildcards.checkpoint).dataset
        if dataset not in self.roots:
            stop(f"{dataset}_root is not set; add it by --config")
        return dataset, self.roots[dataset]


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
