"""COCO's results format, of any joints: from raw predictions, and what anybody's file must hold."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pose.datasets.coco_format import Truth
from pose.datasets.fields import PERSON, Result, checked
from pose.datasets.keypoints import KeypointSet
from pose.evaluation.oks import oks_nms, soft_oks_nms
from pose.evaluation.predictions import Predictions
from pose.support.errors import PoseError
from pose.support.files import read_json

FIELDS = ("image_id", "category_id", "keypoints", "score", "bbox")


def rescore(keypoint_scores: np.ndarray, box_scores: np.ndarray, threshold: float) -> np.ndarray:
    """Person scores (N,): the box's times the mean of the keypoint scores (N, K) above threshold.

    0 where no keypoint is above it (HRNet).
    """
    counted = keypoint_scores > threshold
    total = np.where(counted, keypoint_scores, 0).sum(axis=1)
    return box_scores * total / np.maximum(counted.sum(axis=1), 1)


def to_results(
    predictions: Predictions,
    keypoints: KeypointSet,
    rescore_threshold: float,
    nms_threshold: float,
    soft: bool = False,
) -> list[dict[str, Any]]:
    """Raw predictions, rescored and suppressed within each image, in COCO's results format.

    ``keypoints`` has the sigmas by which duplicates are told. PoseError where it is another set.
    Ordered by image id, then from the best person of the image down.
    """
    records = to_records(predictions, keypoints, rescore_threshold, nms_threshold, soft)
    with _paused_collector():
        return [record | {"keypoints": record["keypoints"].tolist()} for record in records]


def read_predictions(path: Path, truth: Truth) -> Predictions:
    """Raw predictions of images that ``truth`` has; PoseError for others."""
    raw = Predictions.load(path)
    if unknown := set(raw.image_ids.tolist()) - truth.image_ids:
        raise PoseError(f"{path}: image {min(unknown)} is not in {truth.path}")
    return raw


def to_records(
    predictions: Predictions,
    keypoints: KeypointSet,
    rescore_threshold: float,
    nms_threshold: float,
    soft: bool = False,
) -> list[dict[str, Any]]:
    """As :func:`to_results`, but for an evaluator and not for a file.

    The keypoints are views of one array: the evaluators read them like lists, and millions of
    Python's floats need not be made.
    """
    joints, numbers = predictions.keypoints.astype(float), 3 * len(keypoints)
    if joints.shape[1:] != (len(keypoints), 3):
        raise PoseError(f"predictions: {joints.shape[1]} joints a person, not {len(keypoints)}")
    scores = rescore(joints[..., 2], predictions.box_scores.astype(float), rescore_threshold)
    suppress = soft_oks_nms if soft else oks_nms
    kept = suppress(
        joints, scores, predictions.areas, nms_threshold, keypoints.sigmas, predictions.image_ids
    )
    flat = memoryview(joints[kept].reshape(-1))
    columns = zip(
        predictions.image_ids[kept].tolist(),
        range(0, len(flat), numbers),
        scores[kept].tolist(),
        strict=True,
    )
    with _paused_collector():
        return [
            {
                "image_id": image,
                "category_id": PERSON,
                "keypoints": flat[start : start + numbers],
                "score": score,
            }
            for image, start, score in columns
        ]


@contextmanager
def _paused_collector() -> Iterator[None]:
    """Python looks for garbage after every few hundred new objects; here it would find none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_results(path: Path, image_ids: set[int], keypoints: KeypointSet) -> list[dict[str, Any]]:
    """The results in COCO's format, of these joints and images, in anybody's JSON file.

    Further keys, such as mmpose's, are left out; but ``bbox`` stays, because the evaluators take a
    person's area from it where it is given. Raises PoseError that names the first wrong record.
    """
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise PoseError(f"{path}: not a list of COCO results, or an empty one")
    results = [
        {name: record[name] for name in FIELDS if record.get(name, []) != []}
        | {"category_id": PERSON}  # which true and 1.0 are as well
        for record in checked(path, content, Result, image_ids, keypoints=keypoints)
    ]
    with_box = sum("bbox" in result for result in results)
    if with_box not in (0, len(results)):
        raise PoseError(f"{path}: only {with_box} of {len(results)} records have a 'bbox'")
    return results
