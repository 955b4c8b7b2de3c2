"""One run of a config, and the arguments of the commands that score one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pose.config import Experiment, Testing, experiment
from pose.data.synthetic.rendered import data_name
from pose.datasets import Dataset, dataset_of
from pose.datasets.identity import data_hash
from pose.support.errors import PoseError
from workflow.settings import Config

UNKNOWN = "unknown"
"""Stands for the hash of data that are not there yet."""


@dataclass(frozen=True)
class Run:
    """One model on one data set at one input size."""

    model: str
    settings: Config

    @property
    def dataset(self) -> Dataset:
        """What it is trained and evaluated on."""
        return dataset_of(self.settings.dataset)

    @property
    def root(self) -> Path:
        """The folder of its data."""
        return Path(self.settings.data_root)

    @property
    def boxes(self) -> list[str]:
        """The sources of boxes with which it is evaluated."""
        return ["gt", "det"] if self.settings.detections else ["gt"]

    def check_detections(self) -> None:
        """PoseError for a detector's boxes that its data set cannot take."""
        if self.settings.detections and "det" not in self.dataset.boxes:
            raise PoseError(
                f"detections: {self.dataset.name} takes no detector's boxes; set it to null"
            )
        if self.settings.test_detections:
            self.dataset.annotations(self.root, "test-dev")

    @property
    def size(self) -> str:
        """Height and width of its input, as "256x192"."""
        return "{}x{}".format(*self.settings.input)

    @cached_property
    def data(self) -> str:
        """What names its data: the content of annotations, or how they are rendered."""
        if self.dataset.is_rendered:
            return data_name(self.root, self.settings.synthetic)
        try:
            return data_hash(self.settings.dataset, self.root)
        except PoseError:
            return UNKNOWN

    def require_data(self, *splits: str) -> None:
        """PoseError where the splits' images or annotations, or a detector's boxes, are missing."""
        for split in splits:
            self.dataset.images(self.root, split)
        annotations = [self.dataset.annotations(self.root, split) for split in splits]
        for file in (*annotations, self.dataset.ground_truth(self.root)):
            if not file.is_file():
                raise PoseError(
                    f"{file}: no such file; put the annotations there, or set data_root to another"
                    " folder"
                )
        for key in ("detections", "test_detections"):
            name = getattr(self.settings, key)
            if name and not (self.root / name).is_file():
                raise PoseError(
                    f"{key} {self.root / name}: no such file; put the detector's boxes there, or"
                    f" set {key} to null"
                )

    def experiment(self, seed: int) -> Experiment:
        """Its training and evaluation; PoseError for settings that do not fit."""
        chosen = self.settings
        return experiment(
            self.model,
            chosen.dataset,
            chosen.input,
            chosen.protocol,
            seed,
            chosen.overrides,
            chosen.recipe,
            chosen.numerics,
        )


def suppression(test: Testing) -> list[str]:
    """Rescoring and OKS-NMS, as the commands that score take them."""
    soft = ["--soft-oks-nms"] if test.soft_oks_nms else []
    numbers = ["--rescore-threshold", test.rescore_threshold, "--oks-nms", test.oks_nms]
    return [*map(str, numbers), *soft]


def scoring(
    experiment: Experiment, data_root: Path, seed: Any, boxes: str, **labels: str
) -> list[str]:
    """What to score against, and the labels that say how the number came about."""
    labels = {
        "model": experiment.model,
        "seed": seed,
        "boxes": boxes,
        "dataset": experiment.dataset,
        "protocol": experiment.protocol,
        "input": "{}x{}".format(*experiment.input_size),
        **labels,
    }
    said = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    dataset = dataset_of(experiment.dataset)
    truth = str(dataset.ground_truth(data_root))
    if dataset.metric == "AP":
        return [dataset.name, "--annotations", truth, *suppression(experiment.test), *said]
    return [dataset.name, "--ground-truth", truth, *said]
