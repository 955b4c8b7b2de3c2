"""How a skeleton is shown: by colour the body's side, by opacity how sure the net is."""

from __future__ import annotations

import cv2
import numpy as np

from pose.datasets.keypoints import KeypointSet

SIDES = {"left": "#ff7f0e", "right": "#00b7d4", "centre": "#ffffff"}
FULL_SCORE = 0.4  # from here on a joint is drawn opaque
FAINTEST = 0.15
SHIFT = 4  # OpenCV draws at fractions of a pixel in fixed point
FARTHEST = 2**30  # of its 32 bits; a joint that far away is not seen


def joint_sides(keypoints: KeypointSet) -> list[str]:
    """The side, a key of :data:`SIDES`, of each joint."""
    firsts = [name.split("_")[0] for name in keypoints.names]
    return [first if first in SIDES else "centre" for first in firsts]


def edge_sides(keypoints: KeypointSet) -> list[str]:
    """The side of each edge of the skeleton: that of its joints, if it is the same."""
    sides = joint_sides(keypoints)
    return [sides[a] if sides[a] == sides[b] else "centre" for a, b in keypoints.skeleton]


def opacities(scores: np.ndarray) -> np.ndarray:
    """How opaque joints of these scores are drawn: in proportion, but never invisible."""
    return np.clip(np.asarray(scores) / FULL_SCORE, FAINTEST, 1)


def draw_skeleton(
    image: np.ndarray,
    joints: np.ndarray,
    keypoints: KeypointSet,
    shown: np.ndarray | None = None,
) -> None:
    """Draw joints (K, 3), x, y in pixels and score, into ``image`` (H, W, 3) uint8 BGR.

    ``shown`` (K,) bool: the joints that there are, and whose limbs are drawn; default: all.
    """
    shown = np.ones(len(joints), bool) if shown is None else shown
    if not shown.any():
        return
    low, high = joints[shown, :2].min(axis=0), joints[shown, :2].max(axis=0)
    width = max(2, round(min(float((high - low).max()), max(image.shape)) / 100))
    corner = np.maximum(low - 3 * width, 0).astype(int)
    region = image[corner[1] : int(high[1]) + 3 * width, corner[0] : int(high[0]) + 3 * width]
    if not region.size:
        return
    points = np.rint((joints[:, :2] - corner) * 2**SHIFT).clip(-FARTHEST, FARTHEST).astype(int)
    opacity = opacities(joints[:, 2])
    paint, cover = region.copy(), np.zeros(region.shape[:2], np.uint8)
    for (a, b), side in zip(keypoints.skeleton, edge_sides(keypoints), strict=True):
        if shown[a] and shown[b]:
            strength = round(255 * float(min(opacity[a], opacity[b])))
            for canvas, colour in ((paint, _bgr(side)), (cover, strength)):
                cv2.line(canvas, points[a], points[b], colour, width, cv2.LINE_AA, SHIFT)
    radius = round(1.5 * width) << SHIFT
    sides = joint_sides(keypoints)
    for joint in np.flatnonzero(shown):
        strength = round(255 * float(opacity[joint]))
        for canvas, colour in ((paint, _bgr(sides[joint])), (cover, strength)):
            cv2.circle(canvas, points[joint], radius, colour, cv2.FILLED, cv2.LINE_AA, SHIFT)
    share = cover[..., None] / np.float32(255)
    region[:] = (region + (paint.astype(np.float32) - region) * share).round().astype(np.uint8)


def _bgr(side: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(SIDES[side][1:])
    return blue, green, red
