"""The val score that steers a training, from raw predictions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pose.config import Experiment, Testing
from pose.data.samples import Samples
from pose.datasets import dataset_of
from pose.datasets.coco_format import Truth
from pose.datasets.mpii import GroundTruth, differing_persons
from pose.evaluation.coco import FAST, METRICS, evaluate
from pose.evaluation.options import Evaluator
from pose.evaluation.pckh import from_rows, pckh
from pose.evaluation.predictions import Predictions
from pose.evaluation.results import to_records

Scorer = Callable[[Predictions, Testing], dict[str, Any]]


def check_truth(experiment: Experiment, data_root: Path, val: Samples) -> None:
    """Read what :func:`score` compares ``val`` with: PoseError for what it would stumble over."""
    _scorer(experiment.dataset, data_root)
    chosen = dataset_of(experiment.dataset)
    path = chosen.ground_truth(data_root)
    if path != chosen.annotations(data_root, "val"):
        differing_persons(path, chosen.read_truth(path), val.joints, val.visible)


def score(experiment: Experiment, predictions: Predictions, data_root: Path) -> dict[str, Any]:
    """Metrics of the val split: AP and AR (fractions), or PCKh@0.5 (percent).

    The ground truth is read once a process. The AP comes from the fast evaluator where it is
    installed.
    """
    return _scorer(experiment.dataset, data_root)(predictions, experiment.test)


class APScorer:
    """The AP of one val split again and again, fast once that has proved right.

    The first results are also given to pycocotools, whose numbers count; where the fast
    evaluator's differ from them, it is not used.
    """

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.evaluator: Evaluator | None = None if find_spec(FAST) else "pycocotools"

    def __call__(self, predictions: Predictions, test: Testing) -> dict[str, Any]:
        metrics = self.metrics(predictions, test)
        return {"AP": metrics["AP"], "AR": metrics["AR"]}

    def metrics(self, predictions: Predictions, test: Testing) -> dict[str, Any]:
        """As :meth:`evaluate`, of raw predictions."""
        choices = test.rescore_threshold, test.oks_nms, test.soft_oks_nms
        return self.evaluate(to_records(predictions, self.truth.keypoints, *choices))

    def evaluate(self, results: list[dict[str, Any]]) -> dict[str, Any]:
        """All of COCO's metrics, and the evaluator that they are from."""
        if self.evaluator is not None:
            return evaluate(results, self.truth, self.evaluator)
        metrics, fast = (evaluate(results, self.truth, name) for name in ("pycocotools", "fast"))
        self.evaluator = "fast"
        if any(abs(metrics[name] - fast[name]) > 1e-9 for name in METRICS):
            self.evaluator = "pycocotools"
            print(
                f"{fast['evaluator']} gives other numbers than pycocotools: not used",
                file=sys.stderr,
            )
        return metrics


class PCKhScorer:
    """The PCKh of one val split, whose persons are named by their rows."""

    def __init__(self, truth: GroundTruth) -> None:
        self.truth = truth

    def __call__(self, predictions: Predictions, test: Testing) -> dict[str, Any]:
        return {"PCKh@0.5": self.metrics(predictions, test)["PCKh@0.5"]}

    def metrics(self, predictions: Predictions, test: Testing) -> dict[str, Any]:
        """As :func:`pose.evaluation.pckh.pckh`; nothing of ``test`` matters."""
        places, persons = predictions.keypoints[..., :2], len(self.truth.joints)
        return pckh(from_rows(places, predictions.person_ids, persons), self.truth)


SCORERS = {"AP": APScorer, "PCKh@0.5": PCKhScorer}
"""By the data set's metric; each is made from its ground truth."""


@cache
def _scorer(dataset: str, data_root: Path) -> Scorer:
    chosen = dataset_of(dataset)
    return SCORERS[chosen.metric](chosen.read_truth(chosen.ground_truth(data_root)))
