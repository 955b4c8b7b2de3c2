"""Averaging a prediction with the one on the mirrored crop."""

from __future__ import annotations

from collections.abc import Callable

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
    mean = torch.empty_like(straight)
    persons = IN_CACHE if mean.is_cpu else len(mean)
    parts = (maps.split(persons) for maps in (mean, straight, mirrored))
    for out, maps, other in zip(*parts, strict=True):
        torch.add(flip_back(other, keypoints.flip_index, shift), maps, out=out).div_(2)
    return mean
