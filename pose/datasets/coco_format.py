"""Data sets in COCO's format, and the persons of their val split that the AP is computed from."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pose.datasets import records
from pose.datasets.dataset import Dataset
from pose.datasets.fields import PERSON, ScoredPerson, other_category
from pose.datasets.keypoints import KeypointSet
from pose.datasets.records import Records, annotated, image_ids, labelled, read_content
from pose.support.errors import PoseError

FIELDS = ("id", "image_id", "category_id", "iscrowd", "area", "bbox", "keypoints")

log = logging.getLogger(__name__)


class CocoFormat(Dataset):
    """A data set with JSON files as COCO's, scored by AP with the sigmas of its own keypoints."""

    boxes = ("gt", "det")
    table = 2

    def read_persons(self, path: Path) -> Records:
        """As :func:`pose.datasets.records.read_persons`."""
        return records.read_persons(path, self.keypoints)

    def read_images(self, path: Path) -> Records:
        """As :func:`pose.datasets.records.read_images`."""
        return records.read_images(path)

    def read_truth(self, path: Path) -> Truth:
        """As :meth:`Truth.read`."""
        return Truth.read(path, self.keypoints)


@dataclass
class Truth:
    """The annotated persons of a person_keypoints_*.json, parsed once for any number of scores."""

    path: Path
    content: dict[str, Any]
    """What the score depends on; outlines of persons, the bulk of the file, are left out."""
    keypoints: KeypointSet
    indexed: dict[str, Any] = field(default_factory=dict)
    """Library -> its own object of the annotations (:mod:`pose.evaluation.coco`)."""

    @classmethod
    def read(cls, path: Path, keypoints: KeypointSet) -> Truth:
        """PoseError for a file that the evaluators would stumble over, or misread.

        Of the categories, "person" alone is scored. A person without a labelled joint does not
        count, whatever its ``num_keypoints``; one of ``num_keypoints`` 0 is left to the evaluator.
        """
        content = read_content(path)
        if not content.get("categories"):
            raise PoseError(f"{path}: no list 'categories'; add COCO's [{{id: 1, name: person}}]")
        ids = image_ids(path, content)
        annotations = annotated(path, content, ScoredPerson, set(ids), keypoints)
        labelled(path, annotations)
        people = [_person(annotation) for annotation in annotations]
        if not any(person["num_keypoints"] and not person["iscrowd"] for person in people):
            raise PoseError(f"{path}: no person in it that is scored (no crowd, num_keypoints > 0)")
        _tell_contradictions(path, annotations)
        _tell_other_categories(path, content["annotations"])
        images = [{"id": number} for number in ids]
        categories = [{"id": PERSON, "name": "person"}]
        content = {"images": images, "annotations": people, "categories": categories}
        return cls(Path(path), content, keypoints)

    @property
    def image_ids(self) -> set[int]:
        """The images that are scored."""
        return {image["id"] for image in self.content["images"]}


def _person(record: dict[str, Any]) -> dict[str, Any]:
    counted = record["num_keypoints"] if any(record["keypoints"][2::3]) else 0
    person = {name: record[name] for name in FIELDS}
    flags = {"category_id": PERSON, "iscrowd": int(record["iscrowd"])}  # true means 1
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
