"""COCO's keypoint AP after an epoch, on a set of the size of val2017."""

from __future__ import annotations

from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from pose.bench.measure import Row, Settings, absent, compare, interleave
from pose.datasets.coco import COCO
from pose.datasets.coco_format import Truth
from pose.evaluation.coco import FAST as FAST_LIBRARY
from pose.evaluation.coco import METRICS, evaluate, indexed
from pose.evaluation.predictions import Predictions
from pose.evaluation.results import to_records, to_results
from pose.support.errors import PoseError

IMAGES, PERSONS, DETECTIONS = 5000, 11_000, 87_000
RESCORE, NMS = 0.2, 0.9
BASELINE = "pycocotools"
FAST = "fast evaluator"
LIMIT = (
    "of its library's {whole:.3f} s, taking over {persons} persons, dicts of 51 numbers, takes"
    " {taking:.0%} ({bare:.0%} if they have none), OKS and matching {matching:.0%}, and summing up"
    " {summing:.0%}"
)


def measure(settings: Settings) -> list[Row]:
    truth, predictions = scene(200 if settings.quick else 1)
    results = to_results(predictions, COCO, RESCORE, NMS)
    name = f"COCO AP, {len(truth.image_ids)} images, {len(predictions)} detections"
    steps = {BASELINE: lambda: evaluate(results, truth)}
    extra = []
    try:
        evaluate(results, truth, "fast")
        records = to_records(predictions, COCO, RESCORE, NMS)
        steps[FAST] = lambda: evaluate(records, truth, "fast")
    except PoseError as error:
        extra.append(absent(name, FAST, "s", str(error)))
    # pycocotools takes tens of seconds and hardly varies.
    limit = _limit(records, truth) if FAST in steps else ""
    rows = _rows(name, steps, min(settings.repeats, 3), {FAST: 50.0}, limit)
    whole = {
        BASELINE: lambda: evaluate(to_results(predictions, COCO, RESCORE, NMS), truth),
        FAST: lambda: evaluate(to_records(predictions, COCO, RESCORE, NMS), truth, "fast"),
    }
    whole = {variant: step for variant, step in whole.items() if variant in steps}
    return rows + extra + _rows(f"{name}, with rescoring and OKS-NMS", whole, 1, {})


def _rows(
    name: str, steps: dict, repeats: int, aims: dict[str, float], limit: str = ""
) -> list[Row]:
    seconds = interleave(steps, repeats, warmup=0)
    return compare(name, seconds, "s", lambda s: s, BASELINE, aims, limit)


def _limit(records: list[dict[str, Any]], truth: Truth) -> str:
    """The parts of the fast evaluator's time; that of bare records is of dicts without joints."""
    library = import_module(FAST_LIBRARY)
    people = indexed(truth, FAST_LIBRARY)
    bare = [record | {"keypoints": []} for record in records]
    judge = library.COCOeval(people, people.loadRes(records), "keypoints")
    parts = {
        "taking": lambda: people.loadRes(records),
        "bare": lambda: people.loadRes(bare),
        "matching": judge.evaluate,
        "summing": judge.accumulate,
    }
    with redirect_stdout(StringIO()):
        times = {part: min(seconds) for part, seconds in interleave(parts, 3, warmup=0).items()}
    whole = times["taking"] + times["matching"] + times["summing"]
    shares = {part: seconds / whole for part, seconds in times.items()}
    return LIMIT.format(whole=whole, persons=len(records), **shares)


def statistics(truth: Truth, predictions: Predictions) -> dict[str, list[float]]:
    """Evaluator -> its ten numbers."""
    results = to_results(predictions, COCO, RESCORE, NMS)
    metrics = {name: evaluate(results, truth, name) for name in ("pycocotools", "fast")}
    return {name: [found[key] for key in METRICS] for name, found in metrics.items()}


def scene(smaller: int = 1) -> tuple[Truth, Predictions]:
    """Random people and detections of them, val2017's size divided by ``smaller``.

    A sixth of the detections lie on people, with joints that are off by some pixels; the others
    are the many weak boxes that a detector gives.
    """
    rng = np.random.default_rng(0)
    images, persons, detections = (n // smaller for n in (IMAGES, PERSONS, DETECTIONS))
    body = rng.normal(0, 1, (persons, len(COCO), 2))
    height = np.exp(rng.normal(4.5, 0.8, persons))
    at = rng.uniform(0, 500, (persons, 1, 2))
    joints = at + body * height[:, None, None] / 4
    flags = (rng.random((persons, len(COCO))) < 0.65) * 2.0
    owner = rng.integers(0, images, persons)
    annotations = [
        _person(i, *parts) for i, parts in enumerate(zip(owner, joints, flags, height, strict=True))
    ]
    content = {
        "images": [{"id": image + 1} for image in range(images)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.names)}],
    }
    return Truth(Path("random people"), content, COCO), _detect(
        rng, detections, images, owner, joints, height
    )


def _person(
    number: int, image: int, joints: np.ndarray, flags: np.ndarray, height: float
) -> dict[str, Any]:
    (left, top), (right, bottom) = joints.min(axis=0), joints.max(axis=0)
    keypoints = np.concatenate([joints, flags[:, None]], axis=1)
    return {
        "id": number + 1,
        "image_id": int(image) + 1,
        "category_id": 1,
        "iscrowd": int(number % 40 == 0),
        "area": float(height**2 / 3),
        "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
        "num_keypoints": int((flags > 0).sum()),
        "keypoints": keypoints.ravel().tolist(),
    }


def _detect(
    rng: np.random.Generator,
    detections: int,
    images: int,
    owner: np.ndarray,
    joints: np.ndarray,
    height: np.ndarray,
) -> Predictions:
    true = np.arange(detections) % 6 == 0
    person = rng.integers(0, len(owner), detections)
    spread = np.where(true, rng.exponential(0.03, detections), 1.0) * height[person]
    places = joints[person] + rng.normal(0, 1, (detections, len(COCO), 2)) * spread[:, None, None]
    scores = rng.beta(5, 2, (detections, len(COCO))) * np.where(true, 1, 0.5)[:, None]
    image = np.where(true, owner[person], rng.integers(0, images, detections)) + 1
    order = np.argsort(image, kind="stable")
    keypoints = np.concatenate([places, scores[..., None]], axis=-1).astype(np.float32)
    sides = np.repeat(height[person, None], 2, axis=1).astype(np.float32)
    return Predictions(
        image_ids=image[order],
        person_ids=np.full(detections, -1),
        keypoints=keypoints[order],
        box_scores=np.where(true, 0.9, rng.beta(1, 6, detections)).astype(np.float32)[order],
        areas=(height[person] ** 2 / 3)[order],
        centers=places.mean(axis=1).astype(np.float32)[order],
        scales=sides[order] / 200,
    )
