"""MPII Human Pose in HRNet's layout: http://human-pose.mpi-inf.mpg.de."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict

from pose.datasets.dataset import Dataset
from pose.datasets.fields import Flag, Name, Point, Positive, checked
from pose.datasets.keypoints import KeypointSet
from pose.datasets.mat import numbers, read_mat
from pose.datasets.records import Records
from pose.support.errors import PoseError
from pose.support.files import read_json

# http://human-pose.mpi-inf.mpg.de (joint order)
MPII = KeypointSet(
    names=(
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
        *("pelvis", "thorax", "upper_neck", "head_top", "right_wrist", "right_elbow"),
        *("right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    upper_body=(7, 8, 9, 10, 11, 12, 13, 14, 15),
    skeleton=(
        (0, 1), (1, 2), (2, 6), (3, 6), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9), (10, 11),
        (11, 12), (12, 7), (13, 7), (13, 14), (14, 15),
    ),
)  # fmt: skip

PIXELS = 200.0  # of a box's side, a unit of scale
CENTER_SHIFT = 15.0  # pixels a unit of scale, downwards: MPII's boxes sit too high
HEAD_SIZE = 0.6  # of the head box's diagonal
NOT_COUNTED = ("pelvis", "thorax")
COUNTED = np.array([name not in NOT_COUNTED for name in MPII.names])
OfMpii = Field(min_length=len(MPII), max_length=len(MPII))


class Person(TypedDict):
    """A person of HRNet's train.json and valid.json."""

    image: Name
    center: Point
    scale: Annotated[Positive, Field(le=1e6)]
    joints: Annotated[list[Point], OfMpii]
    joints_vis: Annotated[list[Flag], OfMpii]


@dataclass(frozen=True)
class GroundTruth:
    """``joints`` (N, 16, 2) in 0-based pixels; ``visible`` (N, 16); ``head_sizes`` (N,) pixels."""

    joints: np.ndarray
    visible: np.ndarray
    head_sizes: np.ndarray


def read_ground_truth(path: Path) -> GroundTruth:
    """The content of gt_valid.mat (1-based there)."""
    content = read_mat(path)
    joints, boxes, missing = (
        numbers(path, content, name) for name in ("pos_gt_src", "headboxes_src", "jnt_missing")
    )
    # A file of one person has lost the axis of persons.
    joints, boxes = np.atleast_3d(joints), np.atleast_3d(boxes)
    missing = missing[:, None] if missing.ndim == 1 else missing
    persons = joints.shape[-1]
    for name, array, shape in (
        ("pos_gt_src", joints, (len(MPII), 2, persons)),
        ("headboxes_src", boxes, (2, 2, persons)),
        ("jnt_missing", missing, (len(MPII), persons)),
    ):
        if array.shape != shape:
            raise PoseError(f"{path}: {name} has the shape {array.shape}, not {shape}")
    if not np.isin(missing, (0, 1)).all():
        joint, person = np.argwhere(~np.isin(missing, (0, 1)))[0]
        value = f"{missing[joint, person]:g}"
        raise PoseError(f"{path}: jnt_missing[{joint}, {person}] is {value}, not 0 or 1")
    if missing[COUNTED].all():
        raise PoseError(f"{path}: no joint of any person is annotated (jnt_missing is 1)")
    sizes = HEAD_SIZE * np.linalg.norm(boxes[1] - boxes[0], axis=0)
    if not sizes.all():
        raise PoseError(f"{path}: the head box of person {np.argmin(sizes)} has no size")
    return GroundTruth(joints.transpose(2, 0, 1) - 1, missing.T == 0, sizes)


def differing_persons(path: Path, truth: GroundTruth, joints: Any, visible: Any) -> int:
    """How many persons of valid.json have one of their ``visible`` (N, 16) joints elsewhere.

    ``joints`` (N, 16, 2) 0-based. PoseError where the persons of ``path``, which ``truth`` was
    read from, are others: not so many, or most joints of one are elsewhere.
    """
    if len(truth.joints) != len(joints):
        raise PoseError(f"{path}: {len(truth.joints)} persons, but valid.json has {len(joints)}")
    elsewhere = (np.abs(truth.joints - joints) > 0.5).any(axis=2) & (visible > 0)
    count = elsewhere.sum(axis=1)
    if strangers := int((count > visible.sum(axis=1) / 2).sum()):
        raise PoseError(f"{path}: {strangers} persons are others than in valid.json")
    return int((count > 0).sum())


class Mpii(Dataset):
    """MPII, whose annotations are 1-based and scored by PCKh."""

    table = 4

    def ground_truth(self, root: Path) -> Path:
        """MPII's own file of the val split."""
        return root / "annot" / "gt_valid.mat"

    def read_persons(self, path: Path) -> Records:
        """The persons of HRNet's files, in their order; a person's id is its row."""
        people = checked(path, read_json(path), Person)
        if not people:
            raise PoseError(f"{path}: no usable person in it; is it the right file?")
        names, image = np.unique([person["image"] for person in people], return_inverse=True)
        scales = np.array([person["scale"] for person in people], float)
        centers = np.array([person["center"] for person in people], float)
        centers[:, 1] += CENTER_SHIFT * scales
        joints = np.array([person["joints"] for person in people], float)
        visible = np.array([person["joints_vis"] for person in people], np.float32)
        if not visible.any():
            raise PoseError(f"{path}: no joint of any person is labelled (joints_vis is 0)")
        columns = {
            "id": np.arange(len(names)),
            "name": names,
            "image": image.astype(np.int32),
            "person": np.arange(len(people)),
            "center": centers - 1,
            "sides": np.repeat(scales[:, None] * PIXELS, 2, axis=1),
            "joints": (joints - 1).astype(np.float32),
            "visible": visible,
        }
        return Records(columns, {})

    def read_truth(self, path: Path) -> GroundTruth:
        """The persons of gt_valid.mat."""
        return read_ground_truth(path)


DATASET = Mpii(
    name="mpii",
    title="MPII val",
    keypoints=MPII,
    annotation_files={"train": "annot/train.json", "val": "annot/valid.json"},
    image_folders={"train": ("images",), "val": ("images",)},
    sizes={"train": (None, 22_246), "val": (None, 2_958)},
)
