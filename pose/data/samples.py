"""The persons of a data set as flat arrays, with the boxes that their crops are taken from.

Flat arrays and not a list of objects: worker processes then share the memory, whereas touching
a Python object copies its page.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial, update_wrapper
from pathlib import Path

import numpy as np

from pose.config import Dataset
from pose.data.crop import PIXEL_STD, box_scale
from pose.data.images import image_paths
from pose.datasets import layout
from pose.datasets.cache import cached
from pose.datasets.keypoints import COCO, MPII, KeypointSet
from pose.datasets.records import Records, read_detections, read_images, read_mpii, read_persons
from pose.support.errors import PoseError

BOX_PADDING = 1.25
MPII_CENTER_SHIFT = 15.0  # pixels a unit of scale, downwards: MPII's boxes sit too high

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Samples:
    """N persons of M images, K joints each; ordered by image.

    ``image_paths`` (M,) text; ``image_index`` (N,) int32 into it; ``image_ids`` (N,) int64;
    ``person_ids`` (N,) int64: annotation id (COCO), row (MPII), -1 for detections.
    ``centers`` (N, 2) pixels and ``scales`` (N, 2) in units of 200 pixels, float32: the box with
    the input's aspect ratio, padded by 1.25. ``joints`` (N, K, 2) float32 pixels of the image and
    ``visible`` (N, K) float32, 1 where annotated; zeros for detections. ``box_scores`` (N,)
    float32, 1 for ground truth. ``image_sizes`` (M, 2) int32 (width, height) as annotated, None
    where the annotations do not tell. ``image_folders``: the folders, resolved, that links of
    images may lead into; empty where any will do. ``skipped``: how many records could not be used,
    by reason.
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
    image_sizes: np.ndarray | None = None
    image_folders: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)

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

    ``data_root`` has the layout of COCO's archives or of HRNet; of COCO's "test-dev" there are
    detections only. ``input_size`` is (height, width). Raises PoseError for missing folders and
    malformed records.
    """
    if split == "test-dev" and dataset != "coco":
        raise PoseError(f"split test-dev is COCO's; {dataset} has none")
    if detections is not None and dataset == "mpii":
        raise PoseError(f"detections {detections}: MPII's persons have no detected boxes")
    root = Path(data_root)
    images = layout.images(dataset, root, split)
    annotations = layout.annotations(dataset, root, split)
    if dataset == "mpii":
        samples = load_mpii(annotations, images, input_size)
    elif detections is not None:
        samples = load_detections(Path(detections), annotations, images, input_size)
    elif split == "test-dev":
        raise PoseError("COCO's test-dev has no annotated persons; give a file of detections")
    else:
        samples = load_coco(annotations, images, input_size)
    folders = tuple(os.path.realpath(folder) for folder in (images, root))
    return replace(samples, image_folders=folders)


def load_coco(annotations: Path, images: Path, input_size: tuple[int, int]) -> Samples:
    """Every non-crowd person of positive area with a labelled keypoint, boxes clipped."""
    records = cached(read_persons, annotations)
    return _from_boxes(
        records,
        records,
        input_size,
        image_paths=image_paths(annotations, images, records["name"].tolist()),
        person_ids=records["person"],
        joints=records["joints"],
        visible=records["visible"],
        box_scores=np.ones(len(records["box"]), np.float32),
        skipped=_logged(annotations, records),
    )


def load_detections(
    detections: Path, annotations: Path, images: Path, input_size: tuple[int, int]
) -> Samples:
    """The boxes of HRNet's detection files, of COCO's category "person".

    ``annotations`` names the images: person_keypoints_*.json, or image_info_*.json of a test set.
    """
    listed = cached(read_images, annotations)
    read = update_wrapper(partial(read_detections, images=listed), read_detections)
    also = listed["id"].tobytes() + listed["size"].tobytes()
    records = cached(read, detections, also)
    boxes = len(records["box"])
    return _from_boxes(
        records,
        listed,
        input_size,
        image_paths=image_paths(annotations, images, listed["name"].tolist()),
        person_ids=np.full(boxes, -1, np.int64),
        joints=np.zeros((boxes, len(COCO), 2), np.float32),
        visible=np.zeros((boxes, len(COCO)), np.float32),
        box_scores=records["score"],
        skipped=_logged(detections, records),
    )


def load_mpii(annotations: Path, images: Path, input_size: tuple[int, int]) -> Samples:
    """The persons of HRNet's MPII files (train.json, valid.json), made 0-based."""
    records = cached(read_mpii, annotations)
    centers, scales = records["center"].copy(), records["scale"]
    centers[:, 1] += MPII_CENTER_SHIFT * scales
    sides = scales * PIXEL_STD
    return Samples(
        keypoints=MPII,
        image_paths=image_paths(annotations, images, records["name"].tolist()),
        image_index=records["image"],
        image_ids=records["image"].astype(np.int64),
        person_ids=np.arange(len(sides)),
        centers=(centers - 1).astype(np.float32),
        scales=box_scale(sides, sides, input_size[1] / input_size[0], BOX_PADDING),
        joints=(records["joints"] - 1).astype(np.float32),
        visible=records["visible"],
        box_scores=np.ones(len(sides), np.float32),
        skipped=_logged(annotations, records),
    )


def _from_boxes(
    records: Records, images: Records, input_size: tuple[int, int], **columns
) -> Samples:
    """Samples from ``records`` with boxes (x, y, width, height) in pixels of ``images``."""
    box = records["box"]
    center = box[:, :2] + box[:, 2:] / 2
    aspect = input_size[1] / input_size[0]
    return Samples(
        keypoints=COCO,
        image_index=records["image"],
        image_ids=images["id"][records["image"]],
        centers=center.astype(np.float32),
        scales=box_scale(box[:, 2], box[:, 3], aspect, BOX_PADDING),
        image_sizes=images["size"],
        **columns,
    )


def _logged(path: Path, records: Records) -> dict[str, int]:
    for reason, count in records.skipped.items():
        log.warning("%s: %d left out: %s", path, count, reason)
    return records.skipped
