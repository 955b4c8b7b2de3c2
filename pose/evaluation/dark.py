"""DARK: the joint as the summit of a Gaussian through the map's logarithm.

Zhang et al., Distribution-Aware Coordinate Representation for Human Pose Estimation, CVPR 2020.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pose.evaluation.locate import argmax, value_at

FLOOR = 1e-10  # below it a map's logarithm is cut


def dark(heatmaps: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Joints (B, K, 2) in heat-map pixels and scores (B, K), the maxima of the maps (B, K, h, w).

    The maps are smoothed by the training target's Gaussian, whose ``sigma`` is in heat-map
    pixels; one Newton step on their logarithm leads from the highest pixel to the summit. Pixels
    within two of the border stay, and so do maps without a positive value, at (0, 0).
    """
    peaks, scores = argmax(heatmaps)
    x, y = peaks.long().unbind(-1)
    smooth = _blur(heatmaps, sigma)
    smooth = smooth * (scores / smooth.flatten(2).amax(dim=-1))[..., None, None]
    logarithm = smooth.clamp(min=FLOOR).log()

    def at(dx: int, dy: int) -> Tensor:
        return value_at(logarithm, x + dx, y + dy)

    # Derivatives by differences over two pixels, the mixed one over the diagonals.
    slope_x, slope_y = (at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2
    xx, yy = (at(2, 0) - 2 * at(0, 0) + at(-2, 0)) / 4, (at(0, 2) - 2 * at(0, 0) + at(0, -2)) / 4
    xy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    determinant = xx * yy - xy**2
    step = torch.stack([xy * slope_y - yy * slope_x, xy * slope_x - xx * slope_y], dim=-1)
    height, width = heatmaps.shape[-2:]
    interior = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2) & (determinant != 0)
    step = (step / determinant[..., None]).where(interior[..., None], 0)
    return peaks + step, scores


def _blur(heatmaps: Tensor, sigma: float) -> Tensor:
    """The maps (B, K, h, w), zero outside, convolved with a Gaussian.

    Its 2 * ceil(2.5 sigma) + 1 taps (11 for sigma 2, 17 for 3) and its deviation, 2.0 and 2.9
    for these, are those of the authors' code, which leaves the deviation to OpenCV.
    """
    radius = math.ceil(2.5 * sigma)
    deviation = 0.3 * (radius - 1) + 0.8
    distance = torch.arange(-radius, radius + 1, device=heatmaps.device)
    kernel = torch.exp(-(distance**2) / (2 * deviation**2))
    kernel = (kernel / kernel.sum()).to(heatmaps.dtype)
    maps = heatmaps.flatten(0, 1)[:, None]
    maps = F.conv2d(maps, kernel.view(1, 1, 1, -1), padding=(0, radius))
    maps = F.conv2d(maps, kernel.view(1, 1, -1, 1), padding=(radius, 0))
    return maps.view_as(heatmaps)
