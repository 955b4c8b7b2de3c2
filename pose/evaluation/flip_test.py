"""Averaging a prediction with the one on the mirrored crop."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from pose.datasets.keypoints import KeypointSet

IN_CACHE = 4
"""Persons whose maps are averaged in one go on a CPU; more would wait for memory."""


def flip_back(heatmaps: Tensor, flip_index: np.ndarray | Tensor, shift: int) -> Tensor:
    """Heat maps (B, K, h, w) of mirrored crops, as they would lie on the crops themselves.

    Left and right joints are swapped, the maps mirrored and moved right by ``shift`` pixels,
    because a mirrored crop of stride 4 is misaligned by 3/4 of a pixel; the first columns stay.
    """
    index = torch.as_tensor(flip_index, device=heatmaps.device)
    mirrored = heatmaps.index_select(1, index).flip(-1)
    if shift == 0:
        return mirrored
    return torch.cat([mirrored[..., :shift], mirrored[..., :-shift]], dim=-1)


def flip_average(
    model: Callable[[Tensor], Tensor], images: Tensor, keypoints: KeypointSet, shift: int
) -> Tensor:
    """Mean of the heat maps (B, K, h, w) of ``images`` (B, 3, H, W) and of their mirror images."""
    mirrored, straight = model(images.flip(-1)), model(images)
    return average(straight, mirrored, keypoints.flip_index, shift)


def average(straight: Tensor, mirrored: Tensor, index: np.ndarray, shift: int) -> Tensor:
    """The mean of ``straight`` and :func:`flip_back` of ``mirrored``."""
    if straight.is_cpu and straight.dtype == torch.float32:
        return average_in_cache(straight, mirrored, index, shift)
    return flip_back(mirrored, index, shift).add_(straight).div_(2)


def average_in_cache(straight: Tensor, mirrored: Tensor, index: np.ndarray, shift: int) -> Tensor:
    """As :func:`average`, in OpenCV's faster passes.

    Maps are mirrored into wider ones, ``shift`` columns to the right, which are then read from 0.
    """
    batch, joints, height, width = straight.shape
    mean = torch.empty(straight.shape)
    wide, swapped = np.empty((2, IN_CACHE, joints, height, width + shift), np.float32)
    for start in range(0, batch, IN_CACHE):
        maps, others, out = (
            tensor[start : start + IN_CACHE].contiguous().numpy()
            for tensor in (straight, mirrored, mean)
        )
        back, twins = wide[: len(maps)], swapped[: len(maps)]
        cv2.flip(_rows(others), 1, _rows(back)[:, shift:])
        back[..., :shift] = back[..., shift : 2 * shift]
        back.take(index, 1, twins, "clip")  # "raise" would copy once more
        cv2.addWeighted(_rows(maps), 0.5, _rows(twins)[:, :width], 0.5, 0, _rows(out))
    return mean


def _rows(maps: np.ndarray) -> np.ndarray:
    """The rows of all maps as one image, a view."""
    return maps.reshape(-1, maps.shape[-1])
