"""HRNet's MPII annotations (train.json, valid.json) made from the original ``.mat`` file.

The release has no val split; the field's is the 2958 persons of Tompson et al. (CVPR 2015), whose
joints are in ``gt_valid.mat``. Its train split are the annotated persons of all training images
that hold none of them (https://github.com/bearpaw/pytorch-pose, miscs/gen_mpii.m), 22 246. A joint
counts as visible where it was annotated at all: the release's own flag says "not occluded".
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io.matlab import mat_struct

from pose.datasets.mat import numbers, read_mat, variable
from pose.datasets.mpii import MPII
from pose.support.errors import PoseError
from pose.support.files import write_file

DIGITS = 3  # decimals of HRNet's files
AGREEING = 0.75  # share of joints; a few persons of gt_valid.mat have some that are off


def convert(release: Path, ground_truth: Path, folder: Path) -> dict[str, int]:
    """Write what is missing of ``train.json`` and ``valid.json`` in ``folder``.

    Returns the persons of each.

    ``release`` is mpii_human_pose_v1_u12_1.mat, ``ground_truth`` gt_valid.mat. Raises PoseError
    when a person of the latter is not in the former.
    """
    people = list(_people(release, variable(release, read_mat(release), "RELEASE")))
    truth = np.atleast_3d(numbers(ground_truth, read_mat(ground_truth), "pos_gt_src"))
    if truth.shape[:2] != (len(MPII), 2) or truth.ndim != 3:
        raise PoseError(f"{ground_truth}: pos_gt_src has the shape {truth.shape}, not 16 x 2 x N")
    val = _match(people, truth, ground_truth)
    val_images = {people[row]["image"] for row in val}
    splits = {
        "train": [person for person in people if person["image"] not in val_images],
        "valid": [people[row] for row in val],
    }
    for name, persons in splits.items():
        if not (folder / f"{name}.json").exists():
            write_file(folder / f"{name}.json", json.dumps(persons))
    return {name: len(persons) for name, persons in splits.items()}


def _people(path: Path, release: mat_struct) -> Iterator[dict[str, Any]]:
    """The annotated persons of the training images, as HRNet's files describe them."""
    images = _structs(release, "annolist")
    training = np.atleast_1d(getattr(release, "img_train", ()))
    if not images or len(images) != len(training):
        raise PoseError(
            f"{path}: RELEASE has {len(images)} images in annolist and {len(training)} marks in"
            " img_train; fetch it again"
        )
    for row, image in enumerate(images):
        for number, person in enumerate(_structs(image, "annorect") if training[row] else ()):
            try:
                record = _record(image, person)
            except ValueError as error:
                where = f"{path}: annolist {row}, annorect {number}"
                raise PoseError(f"{where}: {error}; fetch it again") from None
            if record:
                yield record


def _record(image: mat_struct, person: mat_struct) -> dict[str, Any] | None:
    """A person as in HRNet's files; None without joints, or without a place and scale to crop."""
    joints = np.zeros((len(MPII), 2))
    for body in _structs(person, "annopoints"):
        for point in _structs(body, "point"):
            joint = _number(point, "id")
            if joint not in range(len(MPII)):
                raise ValueError(f"joint id {joint:g} is not one of 0 to {len(MPII) - 1}")
            joints[int(joint)] = _number(point, "x"), _number(point, "y")
    place = _structs(person, "objpos")
    if not joints.any() or not place or not np.size(getattr(person, "scale", ())):
        return None
    if (scale := round(_number(person, "scale"), DIGITS)) <= 0:
        return None
    name = getattr(getattr(image, "image", None), "name", None)
    if not isinstance(name, str):
        raise ValueError(f"image.name is {name!r}, not text")
    return {
        "image": name,
        "center": [round(_number(place[0], axis), DIGITS) for axis in ("x", "y")],
        "scale": scale,
        "joints": joints.round(DIGITS).tolist(),
        "joints_vis": joints.any(axis=1).astype(int).tolist(),
    }


def _number(parent: mat_struct, name: str) -> float:
    value = getattr(parent, name, None)
    if not isinstance(value, int | float | np.number) or not np.isfinite(value):
        raise ValueError(f"{name} is {value!r}, not a finite number")
    return float(value)


def _structs(parent: mat_struct, name: str) -> list[mat_struct]:
    """The structs of a field that may be missing, empty, one struct or an array of them."""
    value = np.atleast_1d(np.asarray(getattr(parent, name, None), dtype=object))
    return [item for item in value.flat if isinstance(item, mat_struct)]


def _match(people: list[dict[str, Any]], truth: np.ndarray, source: Path) -> list[int]:
    """Which of ``people`` each person of ``truth`` (K, 2, N) is: the one who shares most joints."""
    owners = defaultdict(list)
    for row, person in enumerate(people):
        for joint, point in enumerate(person["joints"]):
            owners[joint, *_pixel(point)].append(row)
    rows = []
    for number, points in enumerate(truth.transpose(2, 0, 1)):
        votes: Counter[int] = Counter()
        annotated = [joint for joint, point in enumerate(points) if point.any()]
        for joint in annotated:
            votes.update(owners.get((joint, *_pixel(points[joint])), ()))
        row, count = votes.most_common(1)[0] if votes else (-1, 0)
        if count < AGREEING * len(annotated) or row in rows[-1:]:
            raise PoseError(
                f"{source}: person {number} is not in the release; is it the right file?"
            )
        rows.append(row)
    return rows


def _pixel(point: Any) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
