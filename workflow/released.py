"""The authors' checkpoints as the rules see them, and the data that they are run on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pose.config import Experiment, experiment
from pose.datasets import dataset_of
from pose.support.errors import PoseError
from pose.weights.published import checkpoints, published_file
from workflow.plan import stop
from workflow.runs import scoring
from workflow.settings import Config


class Released:
    """The checkpoints whose data the config has; PoseError where a folder is not the data set's.

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
        self.files = [file for file in checkpoints() if file.dataset in self.roots]
        self.boxes = {"coco": config.coco_detections, "mpii": None}

    @property
    def names(self) -> list[str]:
        return [file.name for file in self.files]

    def metrics(self, wildcards: Any) -> list[str]:
        """The metrics of every checkpoint."""
        if not self.files:
            stop("released: no data; add --config coco_root=DIR, mpii_root=DIR or both")
        return [
            f"{self.results}/released/{file.name}/metrics_{boxes}.json"
            for file in self.files
            for boxes in (["gt", "det"] if self.boxes[file.dataset] else ["gt"])
        ]

    def experiment(self, wildcards: Any) -> Experiment:
        file = published_file(wildcards.checkpoint)
        size = tuple(int(side) for side in file.input.split("x"))
        return experiment(file.model, file.dataset, size, "released")

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

    def detections(self, wildcards: Any) -> list[Path]:
        """The detector's boxes, or nothing."""
        dataset, root = self._data(wildcards)
        return [root / self.boxes[dataset]] if wildcards.boxes == "det" else []

    def detections_arguments(self, wildcards: Any) -> list[str]:
        return [word for path in self.detections(wildcards) for word in ("--detections", str(path))]

    def scoring(self, wildcards: Any) -> list[str]:
        """The arguments of ``pose.evaluate``; the authors tell no seed."""
        _, root = self._data(wildcards)
        chosen, name = self.experiment(wildcards), wildcards.checkpoint
        return scoring(chosen, root, "null", wildcards.boxes, checkpoint=name)

    def _data(self, wildcards: Any) -> tuple[str, Path]:
        dataset = published_file(wildcards.checkpoint).dataset
        if dataset not in self.roots:
            stop(f"{dataset}_root is not set; add it by --config")
        return dataset, self.roots[dataset]
