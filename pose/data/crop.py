"""The affine crop of one person, after HRNet (https://github.com/HRNet/HRNet-Human-Pose-Estimation).

A box is a ``center`` in image pixels and a ``scale``: its (width, height) in units of 200 pixels.
Sizes of crops are (height, width) in pixels. A point is (x, y).
"""

from __future__ import annotations

import cv2
import numpy as np

PIXEL_STD = 200.0


def box_scale(width, height, aspect: float, padding: float) -> np.ndarray:
    """Scale (..., 2) float32 of boxes widened to ``aspect`` (width / height), then padded.

    A box that is less than a pixel wide counts as one pixel, so that its crop exists.
    """
    width = np.maximum(np.maximum(width, np.multiply(height, aspect)), 1.0)
    sides = np.stack([width, width / aspect], axis=-1)
    return (sides / PIXEL_STD).astype(np.float32) * np.float32(padding)


def affine(center, scale, rotation: float, size: tuple[int, int]) -> np.ndarray:
    """Matrix (2, 3) from image to crop for a box turned by ``rotation`` degrees.

    Fixed by three pairs of points: the centre, the point half a box width above it, and the
    corner of their right angle. Only the box's width sets the zoom.
    """
    height, width = size
    half = scale[0] * PIXEL_STD / 2
    angle = np.deg2rad(rotation)
    above = np.array([half * np.sin(angle), -half * np.cos(angle)])
    source = _right_angle(np.float32(center), np.float32(center + above))
    middle = np.float32([width / 2, height / 2])
    target = _right_angle(middle, middle - np.float32([0, width / 2]))
    return cv2.getAffineTransform(source, target)


def _right_angle(corner: np.ndarray, end: np.ndarray) -> np.ndarray:
    dx, dy = corner - end
    return np.stack([corner, end, end + np.float32([-dy, dx])])


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix that maps crop back to image."""
    return cv2.invertAffineTransform(matrix)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) mapped by an affine matrix (2, 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The crop of an image, bilinear, black outside the image."""
    return cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR)


def crop_person(
    image: np.ndarray,
    center: np.ndarray,
    scale: np.ndarray,
    size: tuple[int, int],
    rotation: float = 0.0,
    flip: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Crop the box out of the image, or out of its mirror image when ``flip``.

    Returns the crop (height, width, 3) and the matrix (2, 3) from (mirrored) image to crop.
    The image is mirrored before the warp because folding the mirror into the matrix rounds a
    few pixels differently from the reference.
    """
    if flip:
        center = mirror(center, image.shape[1])
        image = cv2.flip(image, 1)
    matrix = affine(center, scale, rotation, size)
    return warp(image, matrix, size), matrix


def mirror(points: np.ndarray, width: int) -> np.ndarray:
    """Points (..., 2) as they lie in the mirror image of an image of that width."""
    return points * np.float32([-1, 1]) + np.float32([width - 1, 0])


def mirror_joints(
    joints: np.ndarray, visible: np.ndarray, width: int, flip_index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Joints (K, 2) and flags (K,) of the mirrored person; joints not visible become (0, 0)."""
    visible = visible[flip_index]
    return mirror(joints[flip_index], width) * visible[:, None], visible
