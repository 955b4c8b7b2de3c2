"""Random crops of training: half body, scale, rotation and flip, drawn as HRNet does.

Scale: the box times clip(N(0,1) * s + 1, 1 - s, 1 + s). Rotation: clip(N(0,1) * r, -2r, 2r)
degrees with its probability, else none. Half body: with its probability, and when more than 8
joints are visible, the box of the upper body's joints (when N(0,1) < 0.5 and it has more than 2)
or of the lower body's, times 1.5.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pose.config import Augmentation
from pose.data.crop import box_scale
from pose.datasets.keypoints import KeypointSet

HALF_BODY_VISIBLE = 8
HALF_BODY_JOINTS = 2
HALF_BODY_PADDING = 1.5


class Crop(NamedTuple):
    """A box (center, scale), its rotation in degrees and whether it is mirrored."""

    center: np.ndarray
    scale: np.ndarray
    rotation: float = 0.0
    flip: bool = False


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one sample in one epoch, the same in any process and any order.

    Philox is counter-based: seed and epoch (may be negative) are the key, and the sample is the
    counter's highest word, so the streams of two samples never meet.
    """
    key = np.array([seed, epoch % 2**64], dtype=np.uint64)
    counter = np.array([0, 0, 0, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))


def random_crop(
    rng: np.random.Generator,
    augmentation: Augmentation,
    center: np.ndarray,
    scale: np.ndarray,
    joints: np.ndarray,
    visible: np.ndarray,
    keypoints: KeypointSet,
    aspect: float,
) -> Crop:
    """A random crop around a person.

    ``joints`` (K, 2) in image pixels, ``visible`` (K,); ``aspect`` is the crop's width / height.
    """
    half, turn, flip = rng.random(3)
    part, size, angle = rng.standard_normal(3)
    if half < augmentation.half_body_probability and visible.sum() > HALF_BODY_VISIBLE:
        center, scale = half_body(joints, visible, keypoints, part < 0.5, aspect)
    spread = augmentation.scale
    factor = np.clip(size * spread + 1, 1 - spread, 1 + spread)
    rotation = 0.0
    if turn < augmentation.rotation_probability:
        rotation = float(np.clip(angle, -2, 2)) * augmentation.rotation
    flipped = bool(flip < augmentation.flip_probability)
    return Crop(center, scale * np.float32(factor), rotation, flipped)


def half_body(
    joints: np.ndarray, visible: np.ndarray, keypoints: KeypointSet, upper: bool, aspect: float
) -> tuple[np.ndarray, np.ndarray]:
    """Center and scale of one half of a body.

    The other half is taken where the wanted one has at most two visible joints; the upper one
    where both have.
    """
    in_upper = np.isin(np.arange(len(joints)), keypoints.upper_body)
    top, bottom = joints[in_upper & (visible > 0)], joints[~in_upper & (visible > 0)]
    first, second = (top, bottom) if upper else (bottom, top)
    chosen = first if len(first) > HALF_BODY_JOINTS else second
    width, height = np.ptp(chosen, axis=0)
    return chosen.mean(axis=0), box_scale(width, height, aspect, HALF_BODY_PADDING)
