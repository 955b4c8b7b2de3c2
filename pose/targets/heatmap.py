"""Gaussian heat maps: the targets, the loss and the network's input, batched on any device."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import torch
from torch import Tensor

from pose.config import Image

IMAGENET = Image(channels="rgb", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@cache
def constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """A tensor of ``values``, made once: a GPU would be waited for each time."""
    return torch.tensor(values, device=device)


def normalise(images: Tensor, statistics: Image = IMAGENET) -> Tensor:
    """uint8 RGB crops (B, H, W, 3) -> float32 (B, 3, H, W), the network's input.

    The result is channels-last in memory, as the crops were.
    """
    if statistics.channels == "bgr":
        images = images.flip(-1)
    # A whole row in one go: PyTorch is slow where the last dimension is 3.
    width = images.shape[2]
    mean, std = (
        (255 * constant(values, images.device)).repeat(width)
        for values in (statistics.mean, statistics.std)
    )
    rows = images.flatten(2).float().sub_(mean).div_(std)
    return rows.view(images.shape).permute(0, 3, 1, 2)


def gaussian_targets(
    joints: Tensor,
    visible: Tensor,
    heatmap_size: tuple[int, int],
    sigma: float,
    stride: int = 4,
    offset: float = 0.0,
    unbiased: bool = False,
) -> tuple[Tensor, Tensor]:
    """Targets (B, K, h, w) and weights (B, K), float32, as HRNet makes them.

    ``joints`` (B, K, 2) are crop pixels, ``visible`` (B, K) 0 or 1; ``sigma`` is in heat-map
    pixels. Each target is a Gaussian of peak 1 around the nearest heat-map pixel, cut to the
    square of 3 sigma; it and its weight are 0 for joints that are not visible or whose square
    lies outside the map. Heat-map pixel i stands for the crop's (i + ``offset``) * ``stride``.
    ``unbiased``: the Gaussian is around the joint itself, which need not be a pixel's middle, as in
    DARK (Zhang et al., CVPR 2020, section 3.3); the weights are the same.
    """
    centre = _centre(joints, stride, offset)
    weights = _weights(centre, visible, heatmap_size, 3 * sigma)
    if unbiased:
        centre = joints.float() / stride - offset
    height, width = heatmap_size
    x = _gaussian(centre[..., 0], width, sigma)
    y = _gaussian(centre[..., 1], height, sigma) * (weights > 0.5)[..., None]
    return y[..., :, None] * x[..., None, :], weights


def blurred_targets(
    joints: Tensor,
    visible: Tensor,
    heatmap_size: tuple[int, int],
    kernel: int,
    stride: int = 4,
    offset: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """As :func:`gaussian_targets`, with OpenCV's Gaussian kernel of that many pixels, of peak 1.

    That is a lone pixel blurred by ``cv2.GaussianBlur`` and scaled to a peak of 1, as CPN makes
    them; except that nothing is reflected at the map's edge.
    """
    radius = kernel // 2
    values = cv2.getGaussianKernel(kernel, 0)[radius:, 0].astype("float32")
    profile = constant(tuple((values / values[0]).tolist()), joints.device)
    centre = _centre(joints, stride, offset)
    weights = _weights(centre, visible, heatmap_size, radius)

    def along(axis: Tensor, length: int) -> Tensor:
        distance = _distance(axis, length).abs()
        return profile[distance.clamp(max=radius).long()] * (distance <= radius)

    height, width = heatmap_size
    y = along(centre[..., 1], height) * (weights > 0.5)[..., None]
    return y[..., :, None] * along(centre[..., 0], width)[..., None, :], weights


def _centre(joints: Tensor, stride: int, offset: float) -> Tensor:
    # Truncation towards zero and a square that may just touch the edge from outside are HRNet's.
    return (joints.float() / stride + 0.5 - offset).trunc()


def _weights(
    centre: Tensor, visible: Tensor, heatmap_size: tuple[int, int], radius: float
) -> Tensor:
    (height, width), (x, y) = heatmap_size, centre.unbind(-1)
    beside = (x - radius < width) & (x + radius + 1 >= 0)
    return visible.float() * (beside & (y - radius < height) & (y + radius + 1 >= 0))


def _distance(centre: Tensor, length: int) -> Tensor:
    return torch.arange(length, device=centre.device) - centre[..., None]


def _gaussian(centre: Tensor, length: int, sigma: float) -> Tensor:
    distance = _distance(centre, length)
    return torch.exp(-(distance**2) / (2 * sigma**2)) * (distance.abs() <= 3 * sigma)


def mse_loss(prediction: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Half the mean squared error, weights (B, K) multiplied into both maps before the square.

    Every keypoint's error is averaged over batch and pixels, weighted or not, and these means
    over keypoints (HRNet's JointsMSELoss).
    """
    difference = (prediction.float() - target) * weights[..., None, None]
    return 0.5 * difference.square().mean()
