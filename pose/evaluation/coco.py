"""COCO's keypoint AP by the official evaluator, by a second one, and by a fast one.

pycocotools is the reference. hotcoco, the fast one, gives the same ten numbers to the bit on all
that was tried (crowds, ties, persons without keypoints, boxes in the results), but for
annotations of id 0, which pycocotools takes for "no match": these stay with pycocotools.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pose.datasets.keypoints import COCO
from pose.support.errors import PoseError
from pose.support.files import read_json

Evaluator = Literal["pycocotools", "xtcocotools", "fast"]
METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
FAST = "hotcoco"
FIELDS = ("id", "image_id", "category_id", "iscrowd", "area", "num_keypoints")


@dataclass
class Truth:
    """The annotated persons of a person_keypoints_*.json, parsed once for any number of scores."""

    path: Path
    content: dict[str, Any]
    """What the score depends on; outlines of persons, the bulk of the file, are left out."""
    indexed: dict[str, Any] = field(default_factory=dict)
    """Library -> its own object of the annotations."""

    @classmethod
    def read(cls, path: Path) -> Truth:
        """PoseError for a file that the evaluators would stumble over, or misread."""
        content = read_json(path)
        if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= set(
            content
        ):
            raise PoseError(f"{path}: not COCO annotations (images, annotations, categories)")
        people = []
        for number, person in enumerate(content["annotations"]):
            try:
                people.append(_person(person))
            except KeyError as error:
                raise PoseError(f"{path}: annotation {number} has no {error}") from None
            except (TypeError, ValueError) as error:
                raise PoseError(f"{path}: annotation {number}: {error}") from None
        for kind in ("images", "annotations"):
            ids = [record["id"] for record in content[kind]]
            if len(ids) != len(set(ids)):
                raise PoseError(f"{path}: some ids stand twice in {kind!r}")
        images = [{"id": image["id"]} for image in content["images"]]
        categories = content["categories"]
        return cls(Path(path), {"images": images, "annotations": people, "categories": categories})

    @property
    def image_ids(self) -> set[int]:
        """The images that are scored."""
        return {image["id"] for image in self.content["images"]}

    def index(self, library: str) -> Any:
        """The annotations as the library's COCO object."""
        if library not in self.indexed:
            coco = _load(library, "COCO")
            # The evaluators write into the annotations, each in its own way.
            people = [dict(person) for person in self.content["annotations"]]
            self.indexed[library] = truth = coco()
            truth.dataset = self.content | {"annotations": people}
            truth.createIndex()
        return self.indexed[library]


def _person(record: dict[str, Any]) -> dict[str, Any]:
    person = {name: record[name] for name in (*FIELDS, "bbox", "keypoints")}
    numbers = [*(person[name] for name in FIELDS), *person["bbox"], *person["keypoints"]]
    if (len(person["bbox"]), len(person["keypoints"])) != (4, 3 * len(COCO)):
        raise ValueError(f"not a box and {len(COCO)} keypoints")
    if not np.isfinite(np.array(numbers, dtype=float)).all():
        raise ValueError("a number that is not finite")
    return person


def evaluate(
    results: Sequence[dict[str, Any]], truth: Truth, evaluator: Evaluator = "pycocotools"
) -> dict[str, float | str]:
    """The ten numbers of :data:`METRICS` as fractions, -1 where no person is of that size.

    ``results`` are sound ones, from :mod:`pose.evaluation.results`. ``"evaluator"`` in the answer
    names the library that did it and its version.
    """
    library = FAST if evaluator == "fast" else evaluator
    if library == FAST and any(person["id"] == 0 for person in truth.content["annotations"]):
        library = "pycocotools"
    judge = run(results, truth, library)
    with redirect_stdout(io.StringIO()):
        judge.summarize()
    metrics = {name: float(value) for name, value in zip(METRICS, judge.stats, strict=True)}
    return metrics | {"evaluator": f"{library} {version(library)}"}


def run(results: Sequence[dict[str, Any]], truth: Truth, library: str) -> Any:
    """The library's COCOeval after matching and accumulation."""
    with redirect_stdout(io.StringIO()):
        annotated = truth.index(library)
        # Into these as well, all but the fast one.
        own = list(results) if library == FAST else [dict(result) for result in results]
        judge = _load(library, "COCOeval")(annotated, annotated.loadRes(own), "keypoints")
        judge.evaluate()
        judge.accumulate()
    return judge


def _load(library: str, name: str) -> type:
    modules = {"COCO": f"{library}.coco", "COCOeval": f"{library}.cocoeval"}
    try:
        return getattr(import_module(library if library == FAST else modules[name]), name)
    except ImportError:
        raise PoseError(f"{library} is not installed: pip install {library}") from None
