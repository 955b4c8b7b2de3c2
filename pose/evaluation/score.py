"""The val score that steers a training, from raw predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pose.config import Experiment
from pose.data.layout import ground_truth
from pose.evaluation import coco
from pose.evaluation.pckh import pckh, read_ground_truth
from pose.evaluation.predictions import Predictions

SCORE = {"coco": "AP", "synthetic": "AP", "mpii": "PCKh@0.5"}
"""The metric, by data set, that drives the learning rate and picks the best epoch."""


def score(experiment: Experiment, predictions: Predictions, data_root: Path) -> dict[str, Any]:
    """Metrics of the val split: AP and AR (fractions), or PCKh@0.5 (percent)."""
    truth = ground_truth(experiment.dataset, data_root)
    if experiment.dataset == "mpii":
        metrics = pckh(predictions.keypoints[..., :2], read_ground_truth(truth))
        return {"PCKh@0.5": metrics["PCKh@0.5"]}
    test = experiment.test
    results = coco.to_results(predictions, test.rescore_threshold, test.oks_nms)
    metrics = coco.evaluate(results, truth)
    return {"AP": metrics["AP"], "AR": metrics["AR"]}
