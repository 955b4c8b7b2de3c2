"""Gaussian heat maps: the targets, the loss and the network's input, batched on any device."""

from __future__ import annotations

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """uint8 RGB crops (B, H, W, 3) -> float32 (B, 3, H, W) with ImageNet's mean and deviation.

    The result is channels-last in memory, as the crops were.
    """
    mean = 255 * torch.tensor(IMAGENET_MEAN, device=images.device)
    std = 255 * torch.tensor(IMAGENET_STD, device=images.device)
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


def gaussian_targets(
    joints: Tensor,
    visible: Tensor,
    heatmap_size: tuple[int, int],
    sigma: float,
    stride: int = 4,
) -> tuple[Tensor, Tensor]:
    """Targets (B, K, h, w) and weights (B, K), float32, as HRNet makes them.

    ``joints`` (B, K, 2) are crop pixels, ``visible`` (B, K) 0 or 1; ``sigma`` is in heat-map
    pixels. Each target is a Gaussian of peak 1 around the nearest heat-map pixel, cut to the
    square of 3 sigma; it and its weight are 0 for joints that are not visible or whose square
    lies outside the map.
    """
    height, width = heatmap_size
    radius = 3 * sigma
    # Truncation towards zero and a square that may just touch the edge from outside are HRNet's.
    centre = (joints.float() / stride + 0.5).trunc()
    size = torch.tensor([width, height], device=joints.device)
    inside = ((centre - radius < size) & (centre + radius + 1 >= 0)).all(dim=-1)
    weights = visible.float() * inside
    x = _gaussian(centre[..., 0], width, sigma)
    y = _gaussian(centre[..., 1], height, sigma) * (weights > 0.5)[..., None]
    return y[..., :, None] * x[..., None, :], weights


def _gaussian(centre: Tensor, length: int, sigma: float) -> Tensor:
    distance = torch.arange(length, device=centre.device) - centre[..., None]
    return torch.exp(-(distance**2) / (2 * sigma**2)) * (distance.abs() <= 3 * sigma)


def mse_loss(prediction: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Half the mean squared error, weights (B, K) multiplied into both maps before the square.

    Every keypoint's error is averaged over batch and pixels, weighted or not, and these means
    over keypoints (HRNet's JointsMSELoss).
    """
    difference = (prediction.float() - target) * weights[..., None, None]
    return 0.5 * difference.square().mean()
