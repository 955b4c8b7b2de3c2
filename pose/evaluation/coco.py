"""COCO's keypoint AP by the official evaluator, by a second one, and by a fast one.

pycocotools is the reference. hotcoco, the fast one, gives the same ten numbers to the bit on all
that was tried (crowds, ties, persons without keypoints, boxes in the results); it takes no negative
image ids: these stay with pycocotools. Evaluators store the id of a match and read 0 as "no match",
so annotations are numbered from 1 on for them.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pose.datasets.fields import PERSON, ScoredPerson, other_category
from pose.datasets.records import annotated, image_ids, labelled, read_content
from pose.support.errors import PoseError

Evaluator = Literal["pycocotools", "xtcocotools", "fast"]
METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
FAST = "hotcoco"
FIELDS = ("id", "image_id", "category_id", "iscrowd", "area", "bbox", "keypoints")

log = logging.getLogger(__name__)


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
        """PoseError for a file that the evaluators would stumble over, or misread.

        Of the categories, "person" alone is scored. A person without a labelled joint does not
        count, whatever its ``num_keypoints``; one of ``num_keypoints`` 0 is left to the evaluator.
        """
        content = read_content(path)
        if not content.get("categories"):
            raise PoseError(f"{path}: no list 'categories'; add COCO's [{{id: 1, name: person}}]")
        ids = image_ids(path, content)
        annotations = annotated(path, content, ScoredPerson, set(ids))
        labelled(path, annotations)
        people = [_person(annotation) for annotation in annotations]
        if not any(person["num_keypoints"] and not person["iscrowd"] for person in people):
            raise PoseError(f"{path}: no person in it that is scored (no crowd, num_keypoints > 0)")
        _tell_contradictions(path, annotations)
        _tell_other_categories(path, content["annotations"])
        images = [{"id": number} for number in ids]
        categories = [{"id": PERSON, "name": "person"}]
        return cls(Path(path), {"images": images, "annotations": people, "categories": categories})

    @property
    def image_ids(self) -> set[int]:
        """The images that are scored."""
        return {image["id"] for image in self.content["images"]}

    def index(self, library: str) -> Any:
        """The annotations as the library's COCO object."""
        if library not in self.indexed:
            coco = _load(library, "COCO")
            # Copies, because the evaluators write into the annotations, each in its own way.
            people = [
                person | {"id": number, "own_id": person["id"]}
                for number, person in enumerate(self.content["annotations"], 1)
            ]
            self.indexed[library] = truth = coco()
            truth.dataset = self.content | {"annotations": people}
            truth.createIndex()
        return self.indexed[library]


def _person(record: dict[str, Any]) -> dict[str, Any]:
    counted = record["num_keypoints"] if any(record["keypoints"][2::3]) else 0
    person = {name: record[name] for name in FIELDS}
    flags = {"category_id": PERSON, "iscrowd": int(record["iscrowd"])}  # true is 1 as well
    return person | flags | {"num_keypoints": counted}


def _tell_contradictions(path: Path, people: list[dict[str, Any]]) -> None:
    labels = [sum(flag > 0 for flag in person["keypoints"][2::3]) for person in people]
    wrong = [p for p, count in zip(people, labels, strict=True) if p["num_keypoints"] != count]
    if wrong:
        log.warning(
            "%s: num_keypoints is not the number of labelled joints in %d annotations, the first of"
            " id %s; persons count where neither is 0",
            path, len(wrong), wrong[0]["id"],
        )  # fmt: skip


def _tell_other_categories(path: Path, records: list[Any]) -> None:
    others = [record for record in records if other_category(record) and "keypoints" in record]
    if others:
        names = sorted({record["category_id"] for record in others})
        log.warning(
            "%s: category %d alone is scored, not %d annotations with keypoints of other categories"
            " (%s)",
            path, PERSON, len(others), ", ".join(map(str, names)),
        )  # fmt: skip


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
    library = FAST if evaluator == "fast" else evaluator
    if library == FAST and any(number < 0 for number in truth.image_ids):
        library = "pycocotools"
    if library == "xtcocotools":
        _tell_differences(results, truth)
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
