"""COCO's keypoint AP: rescoring and suppression of raw predictions, then the official evaluator."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pose.data.keypoints import COCO
from pose.errors import PoseError
from pose.evaluation.oks import oks_nms, soft_oks_nms
from pose.evaluation.predictions import Predictions
from pose.files import read_json

Evaluator = Literal["pycocotools", "xtcocotools"]
METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")


def rescore(keypoint_scores: np.ndarray, box_scores: np.ndarray, threshold: float) -> np.ndarray:
    """Person scores (N,): the box's times the mean of the keypoint scores (N, K) above threshold.

    0 where no keypoint is above it (HRNet).
    """
    counted = keypoint_scores > threshold
    total = np.where(counted, keypoint_scores, 0).sum(axis=1)
    return box_scores * total / np.maximum(counted.sum(axis=1), 1)


def to_results(
    predictions: Predictions, rescore_threshold: float, nms_threshold: float, soft: bool = False
) -> list[dict[str, Any]]:
    """Raw predictions, rescored and suppressed image by image, in COCO's results format."""
    keypoints = predictions.keypoints.astype(float)
    scores = rescore(keypoints[..., 2], predictions.box_scores.astype(float), rescore_threshold)
    suppress = soft_oks_nms if soft else oks_nms
    order = np.argsort(predictions.image_ids, kind="stable")
    starts = np.flatnonzero(np.diff(predictions.image_ids[order])) + 1
    results = []
    for group in np.split(order, starts):
        person = keypoints[group], scores[group], predictions.areas[group]
        for row in group[suppress(*person, nms_threshold, np.array(COCO.sigmas))]:
            result = {
                "image_id": int(predictions.image_ids[row]),
                "category_id": 1,
                "keypoints": keypoints[row].ravel().tolist(),
                "score": float(scores[row]),
            }
            results.append(result)
    return results


def evaluate(
    results: list[dict[str, Any]], annotations: Path, evaluator: Evaluator = "pycocotools"
) -> dict[str, float | str]:
    """The ten numbers of :data:`METRICS` as fractions, -1 where no person is of that size.

    ``results`` are in COCO's format, ``annotations`` is a person_keypoints_*.json; ``"evaluator"``
    in the answer names the library and its version. Raises PoseError for results that the
    evaluators would stumble over, or count without a word.
    """
    coco_class, eval_class = _library(evaluator)
    content = read_json(annotations)
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= set(content):
        raise PoseError(f"{annotations}: not COCO annotations (images, annotations, categories)")
    check(results, {image["id"] for image in content["images"]})
    with redirect_stdout(io.StringIO()):
        truth = coco_class()
        truth.dataset = content
        truth.createIndex()
        # The evaluators write into what they are given.
        detected = truth.loadRes([dict(result) for result in results])
        judge = eval_class(truth, detected, "keypoints")
        try:
            judge.evaluate()
        except KeyError as error:
            raise PoseError(f"{annotations}: an annotation has no {error}") from None
        judge.accumulate()
        judge.summarize()
    metrics = {name: float(value) for name, value in zip(METRICS, judge.stats, strict=True)}
    return metrics | {"evaluator": f"{evaluator} {version(evaluator)}"}


def _library(evaluator: Evaluator) -> tuple[type, type]:
    try:
        coco, cocoeval = (import_module(f"{evaluator}.{name}") for name in ("coco", "cocoeval"))
    except ImportError:
        raise PoseError(f"{evaluator} is not installed: pip install {evaluator}") from None
    return coco.COCO, cocoeval.COCOeval


def check(results: list[dict[str, Any]], image_ids: set[int]) -> None:
    """PoseError when something is not a non-empty list of COCO results for these images."""
    if not isinstance(results, list) or not results:
        raise PoseError("predictions: not a list of COCO results, or an empty one")
    for number, result in enumerate(results):
        try:
            numbers = np.array([*result["keypoints"], result["score"]], dtype=float)
            image = result["image_id"]
        except (KeyError, TypeError, ValueError) as error:
            raise PoseError(
                f"predictions: record {number} is not a COCO result ({error})"
            ) from None
        if len(numbers) != 3 * len(COCO) + 1:
            raise PoseError(f"predictions: record {number} has not {len(COCO)} keypoints")
        if not np.isfinite(numbers).all():
            raise PoseError(f"predictions: record {number} has a number that is not finite")
        if image not in image_ids:
            raise PoseError(f"predictions: record {number}: image {image} is not annotated")
