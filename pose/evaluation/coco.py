"""COCO's keypoint AP by the official evaluator, by a second one, and by a fast one.

pycocotools is the reference. hotcoco, the fast one, gives the same ten numbers to the bit on all
that was tried (crowds, ties, persons without keypoints, boxes in the results); it takes no negative
image ids: these stay with pycocotools, and so do data sets whose joints, and sigmas, are not
COCO's. Evaluators store the id of a match and read 0 as "no match", so annotations are numbered
from 1 on for them.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

from pose.datasets.coco import COCO
from pose.datasets.coco_format import Truth
from pose.evaluation.options import Evaluator
from pose.support.errors import PoseError

METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
FAST = "hotcoco"

log = logging.getLogger(__name__)


def _tell_differences(results: Sequence[dict[str, Any]], truth: Truth) -> None:
    """Where xtcocotools counts otherwise than pycocotools."""
    if blank := sum(max(result["keypoints"][2::3]) <= 0 for result in results):
        log.warning(
            "xtcocotools leaves out %d results without a keypoint score above 0; pycocotools"
            " counts them",
            blank,
        )
    people = truth.content["annotations"]
    if more := sum(p["num_keypoints"] == 0 and any(p["keypoints"][2::3]) for p in people):
        log.warning(
            "xtcocotools counts %d persons with labelled joints whose num_keypoints is 0;"
            " pycocotools leaves them out",
            more,
        )


def evaluate(
    results: Sequence[dict[str, Any]], truth: Truth, evaluator: Evaluator = "pycocotools"
) -> dict[str, float | str]:
    """The ten numbers of :data:`METRICS` as fractions, -1 where no person is of that size.

    ``results`` are sound ones, from :mod:`pose.evaluation.results`. ``"evaluator"`` in the answer
    names the library that did it and its version.
    """
    library = fastest(truth) if evaluator == "fast" else evaluator
    if library == "xtcocotools":
        _tell_differences(results, truth)
    judge = run(results, truth, library)
    with redirect_stdout(io.StringIO()):
        judge.summarize()
    metrics = {name: float(value) for name, value in zip(METRICS, judge.stats, strict=True)}
    return metrics | {"evaluator": f"{library} {version(library)}"}


def fastest(truth: Truth) -> str:
    """The fast evaluator's library, or pycocotools where the fast one cannot take the truth."""
    unusual = truth.keypoints != COCO or any(number < 0 for number in truth.image_ids)
    return "pycocotools" if unusual else FAST


def run(results: Sequence[dict[str, Any]], truth: Truth, library: str) -> Any:
    """The library's COCOeval after matching and accumulation."""
    with redirect_stdout(io.StringIO()):
        annotated = indexed(truth, library)
        # Into these as well, all but the fast one.
        own = list(results) if library == FAST else [dict(result) for result in results]
        judge = _load(library, "COCOeval")(annotated, annotated.loadRes(own), "keypoints")
        if truth.keypoints != COCO:  # whose sigmas they have, in their own rounding
            judge.sigmas = judge.params.kpt_oks_sigmas = np.array(truth.keypoints.sigmas)
        judge.evaluate()
        judge.accumulate()
    return judge


def of_all_sizes(judge: Any) -> Iterator[dict[str, Any]]:
    """The matches image by image, those of the area range "all"; images without any are left out.

    ``judge`` is any library's COCOeval after matching.
    """
    whole = list(judge.params.areaRng[0])
    return (image for image in judge.evalImgs if image and list(image["aRng"]) == whole)


def indexed(truth: Truth, library: str) -> Any:
    """The annotations as the library's COCO object."""
    if library not in truth.indexed:
        coco = _load(library, "COCO")
        # Copies, because the evaluators write into the annotations, each in its own way.
        people = [
            person | {"id": number, "own_id": person["id"]}
            for number, person in enumerate(truth.content["annotations"], 1)
        ]
        truth.indexed[library] = index = coco()
        index.dataset = truth.content | {"annotations": people}
        index.createIndex()
    return truth.indexed[library]


def _load(library: str, name: str) -> type:
    modules = {"COCO": f"{library}.coco", "COCOeval": f"{library}.cocoeval"}
    try:
        return getattr(import_module(library if library == FAST else modules[name]), name)
    except ImportError:
        raise PoseError(f"{library} is not installed: pip install {library}") from None
