"""The persons of a data set as flat arrays, read from COCO's, HRNet's and MPII's own files.

Flat arrays and not a list of objects: worker processes then share the memory, whereas touching
a Python object copies its page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose.config import Dataset
from pose.data import layout
from pose.data.crop import PIXEL_STD, box_scale
from pose.data.keypoints import COCO, MPII, KeypointSet
from pose.errors import PoseError
from pose.files import read_json

BOX_PADDING = 1.25
PERSON = 1  # COCO's category
MPII_CENTER_SHIFT = 15.0  # pixels a unit of scale, downwards: MPII's boxes sit too high


@dataclass(frozen=True)
class Samples:
    """N persons of M images, K joints each; ordered by image.

    ``image_paths`` (M,) text; ``image_index`` (N,) int32 into it; ``image_ids`` (N,) int64;
    ``person_ids`` (N,) int64: annotation id (COCO), row (MPII), -1 for detections.
    ``centers`` (N, 2) pixels and ``scales`` (N, 2) in units of 200 pixels, float32: the box with
    the input's aspect ratio, padded by 1.25. ``joints`` (N, K, 2) float32 pixels of the image and
    ``visible`` (N, K) float32, 1 where annotated; zeros for detections. ``box_scores`` (N,)
    float32, 1 for ground truth.
    """

    keypoints: KeypointSet
    image_paths: np.ndarray
    image_index: np.ndarray
    image_ids: np.ndarray
    person_ids: np.ndarray
    centers: np.ndarray
    scales: np.ndarray
    joints: np.ndarray
    visible: np.ndarray
    box_scores: np.ndarray

    def __len__(self) -> int:
        return len(self.image_index)

    @property
    def areas(self) -> np.ndarray:
        """Area (N,) float32 of the padded boxes in square pixels, as OKS-NMS takes it."""
        return np.prod(self.scales * np.float32(PIXEL_STD), axis=1)


def open_split(
    dataset: Dataset,
    data_root: Path,
    split: str,
    input_size: tuple[int, int],
    detections: Path | None = None,
) -> Samples:
    """The persons of ``split`` ("train" or "val"): annotated ones, or ``detections`` (COCO).

    ``data_root`` has the layout of COCO's archives or of HRNet. ``input_size`` is (height, width).
    Raises PoseError for missing folders and malformed records.
    """
    root = Path(data_root)
    images = layout.images(dataset, root, split)
    annotations = layout.annotations(dataset, root, split)
    if dataset == "mpii":
        return load_mpii(annotations, images, input_size)
    if detections is not None:
        return load_detections(Path(detections), annotations, images, input_size)
    return load_coco(annotations, images, input_size)


def load_coco(annotations: Path, images: Path, input_size: tuple[int, int]) -> Samples:
    """Every non-crowd person of positive area with a labelled keypoint, boxes clipped."""
    content = _coco(annotations)
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    people = content.get("annotations", [])
    rows = _rows(annotations, people, lambda record: _coco_person(record, sizes))
    image_ids, person_ids, boxes, keypoints = _columns(annotations, rows)
    joints = np.reshape(keypoints, (-1, len(COCO), 3)).astype(np.float32)
    return _from_boxes(
        annotations,
        content["images"],
        images,
        input_size,
        image_ids,
        boxes,
        person_ids=np.array(person_ids, np.int64),
        joints=joints[..., :2].copy(),
        visible=(joints[..., 2] > 0).astype(np.float32),
        box_scores=np.ones(len(rows), np.float32),
    )


def _coco_person(record: dict[str, Any], sizes: dict[int, tuple[int, int]]) -> tuple | None:
    width, height = sizes[record["image_id"]]
    keypoints = record["keypoints"]
    if len(keypoints) != 3 * len(COCO):
        raise ValueError(f"{len(keypoints)} keypoint values, not {3 * len(COCO)}")
    if record["iscrowd"] or record["category_id"] != PERSON or max(keypoints) == 0:
        return None
    x, y, w, h = record["bbox"]
    left, top = max(0, x), max(0, y)
    right = min(width - 1, left + max(0, w - 1))
    bottom = min(height - 1, top + max(0, h - 1))
    if record["area"] <= 0 or right < left or bottom < top:
        return None
    box = left, top, right - left, bottom - top
    return record["image_id"], record["id"], box, keypoints


def load_detections(
    detections: Path, annotations: Path, images: Path, input_size: tuple[int, int]
) -> Samples:
    """The boxes of HRNet's detection files, of COCO's category "person".

    ``annotations`` names the images: person_keypoints_*.json, or image_info_*.json of a test set.
    """
    content = _coco(annotations)
    known = {image["id"] for image in content["images"]}
    rows = _rows(detections, read_json(detections), lambda record: _detection(record, known))
    image_ids, boxes, scores = _columns(detections, rows)
    return _from_boxes(
        detections,
        content["images"],
        images,
        input_size,
        image_ids,
        boxes,
        person_ids=np.full(len(rows), -1, np.int64),
        joints=np.zeros((len(rows), len(COCO), 2), np.float32),
        visible=np.zeros((len(rows), len(COCO)), np.float32),
        box_scores=np.array(scores, np.float32),
    )


def _detection(record: dict[str, Any], known: set[int]) -> tuple | None:
    if record["image_id"] not in known:
        raise ValueError(f"image {record['image_id']} is not in the annotations")
    if record["category_id"] != PERSON or record["score"] < 0:
        return None
    if min(record["bbox"][2:]) < 0:
        raise ValueError(f"box {record['bbox']} has a negative side")
    return record["image_id"], record["bbox"], record["score"]


def load_mpii(annotations: Path, images: Path, input_size: tuple[int, int]) -> Samples:
    """The persons of HRNet's MPII files (train.json, valid.json), made 0-based."""
    rows = _rows(annotations, read_json(annotations), _mpii_person)
    names, centers, scales, joints, visible = _columns(annotations, rows)
    paths, image_index = np.unique(names, return_inverse=True)
    scales = np.array(scales, dtype=float)
    centers = np.array(centers, dtype=float)
    centers[:, 1] += MPII_CENTER_SHIFT * scales
    sides = scales * PIXEL_STD
    return Samples(
        keypoints=MPII,
        image_paths=np.array([str(images / name) for name in paths]),
        image_index=image_index.astype(np.int32),
        image_ids=image_index.astype(np.int64),
        person_ids=np.arange(len(rows)),
        centers=(centers - 1).astype(np.float32),
        scales=box_scale(sides, sides, input_size[1] / input_size[0], BOX_PADDING),
        joints=(np.array(joints, dtype=float) - 1).astype(np.float32),
        visible=np.array(visible, np.float32),
        box_scores=np.ones(len(rows), np.float32),
    )


def _mpii_person(record: dict[str, Any]) -> tuple:
    joints, visible = record["joints"], record["joints_vis"]
    if np.shape(joints) != (len(MPII), 2) or len(visible) != len(MPII):
        raise ValueError(f"not {len(MPII)} joints")
    return record["image"], record["center"], record["scale"], joints, visible


def _coco(annotations: Path) -> dict[str, Any]:
    content = read_json(annotations)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise PoseError(f"{annotations}: not a COCO annotation file (no list 'images')")
    fields = ("id", "file_name", "width", "height")
    images = _rows(annotations, content["images"], lambda image: tuple(image[f] for f in fields))
    if len(images) != len({image[0] for image in images}):
        raise PoseError(f"{annotations}: some image ids stand twice in 'images'")
    return content


def _rows(path: Path, records: Sequence, convert: Callable[[Any], tuple | None]) -> list[tuple]:
    """The converted records without those that ``convert`` leaves out (None)."""
    rows = []
    for number, record in enumerate(records):
        try:
            row = convert(record)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise PoseError(f"{path}: record {number}: {reason}") from None
        if row is not None:
            rows.append(row)
    return rows


def _columns(path: Path, rows: list[tuple]) -> list[tuple]:
    if not rows:
        raise PoseError(f"{path}: no usable person in it; is it the right file?")
    return list(zip(*rows, strict=True))


def _from_boxes(
    source: Path,
    images: list[dict[str, Any]],
    folder: Path,
    input_size: tuple[int, int],
    image_ids: Sequence[int],
    boxes: Sequence[Sequence[float]],
    **columns: np.ndarray,
) -> Samples:
    """Samples in the order of the file's images, from boxes (x, y, width, height) in pixels."""
    position = {image["id"]: number for number, image in enumerate(images)}
    image_index = np.array([position[image] for image in image_ids], np.int32)
    box = np.array(boxes, dtype=float)
    numbers = np.column_stack([box, columns["box_scores"], columns["joints"].reshape(len(box), -1)])
    finite = np.isfinite(numbers).all(axis=1)
    if not finite.all():
        image = image_ids[finite.argmin()]
        raise PoseError(f"{source}: image {image}: a person with a number that is not finite")
    order = np.argsort(image_index, kind="stable")
    center = box[:, :2] + box[:, 2:] / 2
    aspect = input_size[1] / input_size[0]
    columns |= {
        "image_index": image_index,
        "image_ids": np.array(image_ids, np.int64),
        "centers": center.astype(np.float32),
        "scales": box_scale(box[:, 2], box[:, 3], aspect, BOX_PADDING),
    }
    return Samples(
        keypoints=COCO,
        image_paths=np.array([str(folder / image["file_name"]) for image in images]),
        **{name: column[order] for name, column in columns.items()},
    )
