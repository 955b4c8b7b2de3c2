"""The val score that steers a training, from raw predictions."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pose.config import Experiment
from pose.data.samples import Samples
from pose.datasets.layout import ground_truth
from pose.evaluation.coco import FAST, METRICS, Evaluator, Truth, evaluate
from pose.evaluation.pckh import (
    GroundTruth,
    differing_persons,
    from_rows,
    pckh,
    read_ground_truth,
)
from pose.evaluation.predictions import Predictions
from pose.evaluation.results import to_records

SCORE = {"coco": "AP", "synthetic": "AP", "mpii": "PCKh@0.5"}
"""The metric, by data set, that drives the learning rate and picks the best epoch."""


def check_truth(experiment: Experiment, data_root: Path, val: Samples) -> None:
    """Read what :func:`score` compares ``val`` with: PoseError for what it would stumble over."""
    truth = ground_truth(experiment.dataset, data_root)
    if experiment.dataset == "mpii":
        differing_persons(truth, _mpii_truth(truth), val.joints, val.visible)
    else:
        _coco_scorer(truth)


def score(experiment: Experiment, predictions: Predictions, data_root: Path) -> dict[str, Any]:
    """Metrics of the val split: AP and AR (fractions), or PCKh@0.5 (percent).

    The ground truth is read once a process. COCO's numbers come from the fast evaluator where it
    is installed.
    """
    truth = ground_truth(experiment.dataset, data_root)
    if experiment.dataset == "mpii":
        annotated = _mpii_truth(truth)
        joints = from_rows(
            predictions.keypoints[..., :2], predictions.person_ids, len(annotated.joints)
        )
        metrics = pckh(joints, annotated)
        return {"PCKh@0.5": metrics["PCKh@0.5"]}
    test = experiment.test
    results = to_records(predictions, test.rescore_threshold, test.oks_nms, test.soft_oks_nms)
    metrics = _coco_scorer(truth)(results)
    return {"AP": metrics["AP"], "AR": metrics["AR"]}


class CocoScorer:
    """COCO's metrics of one val split again and again, fast once that has proved right.

    The first results are also given to pycocotools, whose numbers count; where the fast
    evaluator's differ from them, it is not used.
    """

    def __init__(self, annotations: Path) -> None:
        self.truth = Truth.read(annotations)
        self.evaluator: Evaluator | None = None if find_spec(FAST) else "pycocotools"

    def __call__(self, results: list[dict[str, Any]]) -> dict[str, Any]:
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


@cache
def _coco_scorer(annotations: Path) -> CocoScorer:
    return CocoScorer(annotations)


@cache
def _mpii_truth(path: Path) -> GroundTruth:
    return read_ground_truth(path)
