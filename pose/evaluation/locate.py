"""Finding each heat map's joint.

Maps (B, K, h, w) of any size -> joints (B, K, 2) in heat-map pixels and scores (B, K).
"""

from __future__ import annotations

import torch
from torch import Tensor


def argmax(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Each map's highest pixel and its value; a map without a positive value peaks at (0, 0)."""
    width = heatmaps.shape[-1]
    pixels = heatmaps.flatten(2)
    if heatmaps.is_cpu and heatmaps.is_contiguous():  # numpy takes a tenth of PyTorch's time
        index = torch.from_numpy(pixels.detach().numpy().argmax(axis=-1))
    else:
        index = pixels.argmax(dim=-1)
    scores = pixels.gather(-1, index[..., None]).squeeze(-1)
    index = index * (scores > 0)
    return torch.stack([index % width, index // width], dim=-1).to(heatmaps.dtype), scores


def quarter(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """The highest pixel, moved a quarter pixel towards its higher neighbours (HRNet)."""
    peaks, scores = argmax(heatmaps)
    return peaks + _quarter_offset(heatmaps, peaks.long()), scores


def soft_argmax(heatmaps: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The mean position under softmax(``beta`` * map), and the map's value at the nearest pixel.

    As in the released test of LPN (Zhang et al., arXiv 1911.10346), which moves that mean by the
    quarter pixel as well.
    """
    height, width = heatmaps.shape[-2:]
    weights = (beta * heatmaps.flatten(2)).softmax(dim=-1).unflatten(-1, (height, width))
    columns, rows = (torch.arange(side, device=heatmaps.device) for side in (width, height))
    mean_x = (weights.sum(dim=-2) * columns).sum(dim=-1)
    mean_y = (weights.sum(dim=-1) * rows).sum(dim=-1)
    means = torch.stack([mean_x, mean_y], dim=-1)
    nearest = means.round().long()
    return means + _quarter_offset(heatmaps, nearest), value_at(heatmaps, *nearest.unbind(-1))


def value_at(heatmaps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The maps' values (B, K) at pixels ``x``, ``y`` (B, K); outside, those at the border."""
    height, width = heatmaps.shape[-2:]
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    return heatmaps.flatten(2).gather(-1, index[..., None]).squeeze(-1)


def _quarter_offset(heatmaps: Tensor, pixels: Tensor) -> Tensor:
    """(B, K, 2): +-0.25 towards the higher neighbour of ``pixels`` (B, K, 2), 0 at the border."""
    height, width = heatmaps.shape[-2:]
    x, y = pixels.unbind(-1)
    interior = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    slope_x = value_at(heatmaps, x + 1, y) - value_at(heatmaps, x - 1, y)
    slope_y = value_at(heatmaps, x, y + 1) - value_at(heatmaps, x, y - 1)
    return 0.25 * torch.stack([slope_x, slope_y], dim=-1).sign() * interior[..., None]
