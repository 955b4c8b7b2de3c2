"""Crops from JPEGs that are decoded at 1/2, 1/4 or 1/8, where that is enough: faster, not equal.

libjpeg then takes the means of 2x2, 4x4 or 8x8 pixels. Off by default: the pixels of a crop differ
by some grey levels from those that every code base of the field sees.
"""

from __future__ import annotations

import cv2
import numpy as np

from pose.data.augment import Crop
from pose.data.crop import PIXEL_STD, affine, mirror, warp
from pose.data.dataset import PoseDataset
from pose.data.image_decode import decode_image
from pose.data.images import read_bytes

STEPS = (8, 4, 2)


class ScaledDecodeDataset(PoseDataset):
    """A :class:`PoseDataset` whose large persons come from smaller decodings of their images.

    An image is decoded at the smallest size at which a pixel of the crop is at least one of its.
    """

    def _pixels(self, image_index: int, crop: Crop) -> tuple[np.ndarray, np.ndarray, int]:
        zoom = crop.scale[0] * PIXEL_STD / self.input_size[1]  # image pixels a crop pixel
        step = next((step for step in STEPS if step <= zoom), None)
        if step is None:
            return super()._pixels(image_index, crop)
        path = str(self.samples.image_paths[image_index])
        image = decode_image(read_bytes(path, self.samples.image_folders), path, step)
        width = image.shape[1] * step  # may exceed the image's by step - 1; mirrors agree on it
        center = crop.center
        if crop.flip:
            center, image = mirror(center, width), cv2.flip(image, 1)
        matrix = affine(center, crop.scale, crop.rotation, self.input_size)
        return warp(image, _from_reduced(matrix, step), self.input_size), matrix, width


def _from_reduced(matrix: np.ndarray, step: int) -> np.ndarray:
    """The matrix for the image's means of step x step pixels, whose centres lie between pixels."""
    linear = matrix[:, :2]
    offset = matrix[:, 2] + linear @ np.full(2, (step - 1) / 2)
    return np.column_stack([step * linear, offset])
