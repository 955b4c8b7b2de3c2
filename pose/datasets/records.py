"""Annotation files as flat arrays: COCO's and HRNet's JSON, read record by record.

Each reader returns a :class:`Records`. What the data set's own rules leave out (crowds, persons
without a labelled keypoint) leaves no trace; a record that cannot be used is counted by its
reason; one that contradicts the format is a PoseError that names file and record.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose.datasets.keypoints import COCO, MPII
from pose.support.errors import PoseError
from pose.support.files import read_json

PERSON = 1  # COCO's category

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
    return Records(_image_columns(path, _content(path)), {})


def read_persons(path: Path) -> Records:
    """The images of a COCO file and its persons that count, ordered by image.

    A person counts that is no crowd, has a labelled keypoint and, clipped to the image, an area.
    To the columns of :func:`read_images` come ``image`` (N,) a row of them, ``person`` (N,) the
    annotation's id, ``box`` (N, 4) x, y, width, height clipped, ``joints`` (N, 17, 2) float32
    pixels and ``visible`` (N, 17) float32, 0 or 1.
    """
    content = _content(path)
    images = _image_columns(path, content)
    sizes = dict(zip(images["id"].tolist(), images["size"].tolist(), strict=True))
    people = _list(path, content.get("annotations", []), "'annotations'")
    (image_ids, persons, boxes, keypoints), skipped = _read(
        path, people, lambda record: _person(record, sizes)
    )
    if (twice := _first_duplicate(persons)) is not None:
        raise PoseError(f"{path}: annotation id {twice} stands twice")
    joints = np.array(keypoints, np.float32).reshape(-1, len(COCO), 3)
    columns = {
        "image": _rows(images["id"], np.array(image_ids, np.int64)),
        "person": np.array(persons, np.int64),
        "box": np.array(boxes, float).reshape(-1, 4),
        "joints": joints[..., :2],
        "visible": (joints[..., 2] > 0).astype(np.float32),
    }
    order = np.argsort(columns["image"], kind="stable")
    columns = {name: column[order] for name, column in columns.items()}
    return Records(images | columns, skipped)


def _person(record: dict[str, Any], sizes: Mapping[int, Sequence[int]]) -> tuple | None:
    width, height = _known(sizes, record["image_id"])
    keypoints = record["keypoints"]
    if len(keypoints) != 3 * len(COCO):
        raise ValueError(f"{len(keypoints)} keypoint values, not {3 * len(COCO)}")
    _check_finite(record["bbox"], keypoints, [record["area"]])
    if record["iscrowd"] or record["category_id"] != PERSON or max(keypoints) == 0:
        return None
    x, y, w, h = record["bbox"]
    left, top = max(0, x), max(0, y)
    right = min(width - 1, left + max(0, w - 1))
    bottom = min(height - 1, top + max(0, h - 1))
    if record["area"] <= 0:
        raise Unusable(NO_AREA)
    if right < left or bottom < top:
        raise Unusable(OUTSIDE)
    box = left, top, right - left, bottom - top
    return record["image_id"], record["id"], box, keypoints


def read_detections(path: Path, images: Records) -> Records:
    """A detector's boxes of persons in ``images``, ordered by image: HRNet's detection files.

    Columns ``image`` (N,) a row of ``images``, ``box`` (N, 4) x, y, width, height as they are, and
    ``score`` (N,) float32.
    """
    sizes = dict(zip(images["id"].tolist(), images["size"].tolist(), strict=True))
    detections = _list(path, read_json(path), "boxes")
    (image_ids, boxes, scores), skipped = _read(
        path, detections, lambda record: _detection(record, sizes)
    )
    rows = _rows(images["id"], np.array(image_ids, np.int64))
    order = np.argsort(rows, kind="stable")
    columns = {"box": np.array(boxes, float).reshape(-1, 4), "score": np.array(scores, np.float32)}
    columns = {name: column[order] for name, column in columns.items()}
    return Records({"image": rows[order], **columns}, skipped)


def _detection(record: dict[str, Any], sizes: Mapping[int, Sequence[int]]) -> tuple | None:
    width, height = _known(sizes, record["image_id"])
    x, y, w, h = record["bbox"]
    _check_finite(record["bbox"], [record["score"]])
    if w < 0 or h < 0:
        raise ValueError(f"box {record['bbox']} has a negative side")
    if record["category_id"] != PERSON:
        return None
    if record["score"] < 0:
        raise Unusable(NEGATIVE_SCORE)
    if w == 0 or h == 0:
        raise Unusable(NO_AREA)
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise Unusable(OUTSIDE)
    return record["image_id"], record["bbox"], record["score"]


def read_mpii(path: Path) -> Records:
    """The persons of HRNet's MPII files (train.json, valid.json), in their order and 1-based.

    Columns ``name`` (M,) of the images, ``image`` (N,) a row of them, ``center`` (N, 2), ``scale``
    (N,), ``joints`` (N, 16, 2) and ``visible`` (N, 16) float32.
    """
    people = _list(path, read_json(path), "persons")
    (names, centers, scales, joints, visible), skipped = _read(path, people, _mpii_person)
    names, image = np.unique(np.array(names, str), return_inverse=True)
    columns = {
        "name": names,
        "image": image.astype(np.int32),
        "center": np.array(centers, float).reshape(-1, 2),
        "scale": np.array(scales, float),
        "joints": np.array(joints, float).reshape(-1, len(MPII), 2),
        "visible": np.array(visible, np.float32).reshape(-1, len(MPII)),
    }
    return Records(columns, skipped)


def _mpii_person(record: dict[str, Any]) -> tuple:
    joints, visible, center = record["joints"], record["joints_vis"], record["center"]
    if np.shape(joints) != (len(MPII), 2) or len(visible) != len(MPII):
        raise ValueError(f"not {len(MPII)} joints")
    if len(center) != 2:
        raise ValueError(f"center {center} is not a point")
    if not isinstance(record["image"], str):
        raise ValueError("no name of an image")
    _check_finite(center, [record["scale"]], *joints, visible)
    if record["scale"] <= 0:
        raise ValueError(f"scale {record['scale']} is not positive")
    return record["image"], center, record["scale"], joints, visible


def _content(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise PoseError(f"{path}: not a COCO annotation file (no list 'images')")
    return content


def _image_columns(path: Path, content: dict[str, Any]) -> dict[str, np.ndarray]:
    (ids, names, widths, heights), _ = _read(path, content["images"], _image, " of 'images'")
    if (twice := _first_duplicate(ids)) is not None:
        raise PoseError(f"{path}: image id {twice} stands twice in 'images'")
    return {
        "id": np.array(ids, np.int64),
        "name": np.array(names, str),
        "size": np.column_stack([widths, heights]).astype(np.int32),
    }


def _image(record: dict[str, Any]) -> tuple:
    width, height = record["width"], record["height"]
    if width <= 0 or height <= 0:
        raise ValueError(f"an image of {width}x{height} pixels")
    return record["id"], record["file_name"], width, height


def _list(path: Path, content: Any, what: str) -> list:
    if not isinstance(content, list):
        raise PoseError(f"{path}: not a list of {what}; is it the right file?")
    return content


def _known(sizes: Mapping[int, Sequence[int]], image: int) -> Sequence[int]:
    if image not in sizes:
        raise ValueError(f"image {image} is not in the annotations")
    return sizes[image]


def _check_finite(*numbers: Sequence[float]) -> None:
    if not math.isfinite(sum(sum(part) for part in numbers)):  # as no sum with one such is
        raise ValueError("a number that is not finite")


def _first_duplicate(ids: Sequence[int]) -> int | None:
    seen: set[int] = set()
    return next((number for number in ids if number in seen or seen.add(number)), None)


def _rows(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each of ``wanted`` stands in ``ids``, which has them all."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids, wanted, sorter=order)].astype(np.int32)


def _read(
    path: Path, records: list, convert: Callable[[Any], tuple | None], where: str = ""
) -> tuple[list[tuple], dict[str, int]]:
    """The columns of the converted records, those that are None left out; and the skipped."""
    rows, skipped = [], Counter()
    for number, record in enumerate(records):
        try:
            row = convert(record)
        except Unusable as reason:
            skipped[str(reason)] += 1
            continue
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise PoseError(f"{path}: record {number}{where}: {reason}") from None
        if row is not None:
            rows.append(row)
    if not rows:
        raise PoseError(f"{path}: no usable person in it; is it the right file?")
    return list(zip(*rows, strict=True)), dict(skipped)
