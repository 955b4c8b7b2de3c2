"""Annotation files as flat arrays: JSON in COCO's format, read record by record.

Each reader returns a :class:`Records`. What the data set's own rules leave out (crowds, persons
without a labelled keypoint) leaves no trace; a record that cannot be used is counted by its
reason; one that contradicts the format (:mod:`pose.datasets.fields`) is a PoseError that names it.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose.datasets.fields import (
    PERSON,
    Category,
    Detection,
    Image,
    Person,
    ScoredImage,
    checked,
)
from pose.datasets.keypoints import KeypointSet
from pose.support.errors import PoseError
from pose.support.files import read_json

NO_AREA = "box without area"
OUTSIDE = "box outside the image"
NEGATIVE_SCORE = "score below 0"


@dataclass(frozen=True)
class Records:
    """Columns by name, all of the same length in a group, and how many records were unusable."""

    columns: dict[str, np.ndarray]
    skipped: dict[str, int]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]


class Unusable(Exception):
    """A record to leave out and count by this reason."""


def read_images(path: Path) -> Records:
    """The images of a COCO file: ``id`` (M,), ``name`` (M,) text, ``size`` (M, 2) width, height."""
    return Records(_image_columns(path, read_content(path)), {})


def read_persons(path: Path, keypoints: KeypointSet) -> Records:
    """The columns of :meth:`pose.datasets.dataset.Dataset.read_persons` of a COCO file.

    A person counts that is no crowd, has a labelled keypoint and, clipped to the image, an area;
    its box is clipped. ``person`` is the annotation's id.
    """
    content = read_content(path)
    images = _image_columns(path, content)
    sizes = dict(zip(images["id"].tolist(), images["size"].tolist(), strict=True))
    people = labelled(path, annotated(path, content, Person, sizes, keypoints))
    (image_ids, persons, boxes, joints), skipped = _read(
        path, people, lambda record: _person(record, sizes)
    )
    joints = np.array(joints, np.float32).reshape(-1, len(keypoints), 3)
    columns = {
        "image": _rows(images["id"], np.array(image_ids, np.int64)),
        "person": np.array(persons, np.int64),
        **_box_columns(boxes),
        "joints": joints[..., :2],
        "visible": (joints[..., 2] > 0).astype(np.float32),
    }
    order = np.argsort(columns["image"], kind="stable")
    columns = {name: column[order] for name, column in columns.items()}
    return Records(images | columns, skipped)


def _person(record: dict[str, Any], sizes: Mapping[int, Sequence[int]]) -> tuple | None:
    if record["iscrowd"]:
        return None
    if record["area"] == 0:
        raise Unusable(NO_AREA)
    width, height = sizes[record["image_id"]]
    x, y, w, h = record["bbox"]
    left, top = max(0, x), max(0, y)
    right = min(width - 1, left + max(0, w - 1))
    bottom = min(height - 1, top + max(0, h - 1))
    if right < left or bottom < top:
        raise Unusable(OUTSIDE)
    box = left, top, right - left, bottom - top
    return record["image_id"], record["id"], box, record["keypoints"]


def read_content(path: Path) -> dict[str, Any]:
    """A COCO file that has a list of images."""
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise PoseError(f"{path}: not a COCO annotation file (no list 'images')")
    return content


def image_ids(path: Path, content: dict[str, Any], form: type = ScoredImage) -> list[int]:
    """The ids of a COCO file's images, each as ``form`` says; PoseError for one that is twice."""
    ids = [image["id"] for image in checked(path, content["images"], form, where=" of 'images'")]
    _no_duplicate(path, "image id", ids)
    return ids


def annotated(
    path: Path,
    content: dict[str, Any],
    form: type,
    images: Mapping[int, Any] | set[int],
    keypoints: KeypointSet,
) -> list[dict[str, Any]]:
    """The persons of a COCO file, each as ``form`` says and in one of ``images``.

    Where the file names categories, "person" must be 1, as it is for COCO.
    """
    if content.get("categories"):
        categories = checked(path, content["categories"], Category, where=" of 'categories'")
        _no_duplicate(path, "category id", [category["id"] for category in categories])
        names = {category["id"]: category.get("name") for category in categories}
        if PERSON not in names or (names[PERSON] != "person" and "person" in names.values()):
            known = reprlib.repr(names)
            raise PoseError(f"{path}: category {PERSON} is not 'person' in {known}; renumber them")
    records = content.get("annotations")
    people = checked(path, records, form, images, " of 'annotations'", True, keypoints)
    _no_duplicate(path, "annotation id", [person["id"] for person in people])
    return people


def labelled(path: Path, people: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those who have a labelled joint: its flag tells, not its place, nor ``num_keypoints``."""
    found = [person for person in people if any(person["keypoints"][2::3])]
    if people and not found:
        raise PoseError(f"{path}: no joint of any person is labelled (all flags are 0)")
    return found


def read_detections(path: Path, images: Records) -> Records:
    """A detector's boxes of persons in ``images``, ordered by image: HRNet's detection files.

    Columns ``image`` (N,) a row of ``images``, ``center`` and ``sides`` (N, 2) of the boxes as they
    are, and ``score`` (N,) float32.
    """
    sizes = dict(zip(images["id"].tolist(), images["size"].tolist(), strict=True))
    detections = checked(path, read_json(path), Detection, sizes, persons_only=True)
    (image_ids, boxes, scores), skipped = _read(
        path, detections, lambda record: _detection(record, sizes)
    )
    rows = _rows(images["id"], np.array(image_ids, np.int64))
    order = np.argsort(rows, kind="stable")
    columns = _box_columns(boxes) | {"score": np.array(scores, np.float32)}
    columns = {name: column[order] for name, column in columns.items()}
    return Records({"image": rows[order], **columns}, skipped)


def _detection(record: dict[str, Any], sizes: Mapping[int, Sequence[int]]) -> tuple:
    width, height = sizes[record["image_id"]]
    x, y, w, h = record["bbox"]
    if record["score"] < 0:
        raise Unusable(NEGATIVE_SCORE)
    if w == 0 or h == 0:
        raise Unusable(NO_AREA)
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise Unusable(OUTSIDE)
    return record["image_id"], record["bbox"], record["score"]


def _image_columns(path: Path, content: dict[str, Any]) -> dict[str, np.ndarray]:
    ids, images = image_ids(path, content, Image), content["images"]
    return {
        "id": np.array(ids, np.int64),
        "name": np.array([image["file_name"] for image in images], str),
        "size": np.array([(image["width"], image["height"]) for image in images], np.int32),
    }


def _box_columns(boxes: Sequence[Sequence[float]]) -> dict[str, np.ndarray]:
    """Of boxes x, y, width, height."""
    box = np.array(boxes, float)
    return {"center": box[:, :2] + box[:, 2:] / 2, "sides": box[:, 2:]}


def _no_duplicate(path: Path, what: str, values: Sequence[Any]) -> None:
    seen: set[Any] = set()
    if twice := [value for value in values if value in seen or seen.add(value)]:
        raise PoseError(f"{path}: {what} {twice[0]} stands twice")


def _rows(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each of ``wanted`` stands in ``ids``, which has them all."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids, wanted, sorter=order)].astype(np.int32)


def _read(
    path: Path, records: list, convert: Callable[[Any], tuple | None]
) -> tuple[list[tuple], dict[str, int]]:
    """The columns of the converted records, those that are None left out; and the skipped."""
    rows, skipped = [], Counter()
    for record in records:
        try:
            row = convert(record)
        except Unusable as reason:
            skipped[str(reason)] += 1
            continue
        if row is not None:
            rows.append(row)
    if not rows:
        raise PoseError(f"{path}: no usable person in it; is it the right file?")
    return list(zip(*rows, strict=True)), dict(skipped)
