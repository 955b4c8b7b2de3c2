"""HRNet's MPII annotations (train.json, valid.json) made from the original ``.mat`` file.

The release has no val split; the field's is the 2958 persons of Tompson et al. (CVPR 2015), whose
joints are in ``gt_valid.mat``. Its train split are the annotated persons of all training images
that hold none of them (https://github.com/bearpaw/pytorch-pose, miscs/gen_mpii.m), 22 246. A joint
counts as visible where it was annotated at all: the release's own flag says "not occluded".
"""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError, mat_struct

from pose.datasets.keypoints import MPII
from pose.support.errors import PoseError
from pose.support.files import atomic

DIGITS = 3  # decimals of HRNet's files
AGREEING = 0.75  # share of joints; a few persons of gt_valid.mat have some that are off


def convert(release: Path, ground_truth: Path, folder: Path) -> dict[str, int]:
    """Write ``train.json`` and ``valid.json`` to ``folder``; returns the persons of each.

    ``release`` is mpii_human_pose_v1_u12_1.mat, ``ground_truth`` gt_valid.mat. Raises PoseError
    when a person of the latter is not in the former.
    """
    people = list(_people(read_mat(release, "RELEASE")))
    val = _match(people, np.asarray(read_mat(ground_truth, "pos_gt_src"), float), ground_truth)
    val_images = {people[row]["image"] for row in val}
    splits = {
        "train": [person for person in people if person["image"] not in val_images],
        "valid": [people[row] for row in val],
    }
    for name, persons in splits.items():
        with atomic(folder / f"{name}.json") as path:
            path.write_text(json.dumps(persons))
    return {name: len(persons) for name, persons in splits.items()}


def read_mat(path: Path, variable: str) -> Any:
    """A variable of a MATLAB file, structs as objects; PoseError when it cannot be had."""
    try:
        file = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise PoseError(f"{path}: {error.strerror}") from None
    try:
        content = loadmat(file, struct_as_record=False, squeeze_me=True)
    except (MatReadError, OSError, ValueError, TypeError, NotImplementedError) as error:
        raise PoseError(f"{path}: not a readable .mat file ({error}); fetch it again") from None
    if variable not in content:
        raise PoseError(f"{path}: no variable {variable} in it; is it the right file?")
    return content[variable]


def _people(release: mat_struct) -> Iterator[dict[str, Any]]:
    """The annotated persons of the training images, as HRNet's files describe them."""
    for image, training in zip(
        np.atleast_1d(release.annolist), np.atleast_1d(release.img_train), strict=True
    ):
        for person in _structs(image, "annorect") if training else ():
            joints = np.zeros((len(MPII), 2))
            for body in _structs(person, "annopoints"):
                for point in _structs(body, "point"):
                    joints[int(point.id)] = float(point.x), float(point.y)
            place = _structs(person, "objpos")
            if not joints.any() or not place:
                continue
            yield {
                "image": str(image.image.name),
                "center": [round(float(value), DIGITS) for value in (place[0].x, place[0].y)],
                "scale": round(float(person.scale), DIGITS),
                "joints": joints.round(DIGITS).tolist(),
                "joints_vis": joints.any(axis=1).astype(int).tolist(),
            }


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
