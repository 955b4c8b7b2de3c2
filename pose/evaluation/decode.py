"""From heat maps to joints in the image."""

from __future__ import annotations

import torch
from torch import Tensor

from pose.data.crop import PIXEL_STD


def decode(heatmaps: Tensor, centers: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Joints (B, K, 2) in image pixels and scores (B, K), the maxima of ``heatmaps`` (B, K, h, w).

    Each maximum is moved a quarter pixel towards its higher neighbour, unless it lies within a
    pixel of the map's edge; a map without a positive value counts as peaking at (0, 0).
    ``centers`` and ``scales`` (B, 2) are the boxes of :class:`pose.data.samples.Samples`.
    """
    peaks, scores = peak(heatmaps)
    height, width = heatmaps.shape[-2:]
    middle = torch.tensor([width / 2, height / 2], device=peaks.device)
    zoom = scales[:, None, :1].to(peaks) * (PIXEL_STD / width)
    return centers[:, None].to(peaks) + (peaks - middle) * zoom, scores


def peak(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Peaks (B, K, 2) in heat-map pixels, with the quarter offset, and their values (B, K)."""
    heatmaps = heatmaps.float()
    height, width = heatmaps.shape[-2:]
    scores, index = heatmaps.flatten(2).max(dim=-1)
    index = index * (scores > 0)
    x, y = index % width, index // width
    interior = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)

    def value(column: Tensor, row: Tensor) -> Tensor:
        near = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        return heatmaps.flatten(2).gather(-1, near[..., None]).squeeze(-1)

    slope = torch.stack(
        [value(x + 1, y) - value(x - 1, y), value(x, y + 1) - value(x, y - 1)], dim=-1
    )
    offset = 0.25 * slope.sign() * interior[..., None]
    return torch.stack([x, y], dim=-1) + offset, scores
