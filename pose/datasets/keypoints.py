"""Keypoint sets: names, left-right pairs, body halves and OKS constants of COCO and MPII."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class KeypointSet:
    """The joints of a data set, in its own order.

    ``flip_pairs``: indices of left-right twins. ``upper_body``: the half that half-body
    augmentation may keep; the rest is the lower half. ``skeleton``: edges to draw.
    ``sigmas``: per-joint OKS constants (COCO), or None where OKS is not defined.
    """

    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    upper_body: tuple[int, ...]
    skeleton: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def flip_index(self) -> np.ndarray:
        """Permutation (K,) that swaps left and right joints."""
        index = np.arange(len(self))
        for left, right in self.flip_pairs:
            index[[left, right]] = right, left
        return index


# https://cocodataset.org/#keypoints-eval (names, skeleton and sigmas)
COCO = KeypointSet(
    names=(
        *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder"),
        *("right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip"),
        *("right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    upper_body=tuple(range(11)),
    skeleton=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7),
        (6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107,
        0.107, 0.087, 0.087, 0.089, 0.089,
    ),
)  # fmt: skip

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

KEYPOINT_SETS = {"coco": COCO, "synthetic": COCO, "mpii": MPII}
