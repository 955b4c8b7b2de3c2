"""From heat maps to joints in the image."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from pose.data.crop import PIXEL_STD
from pose.evaluation.dark import dark
from pose.evaluation.locate import argmax, quarter, soft_argmax

Method = Literal["quarter", "argmax", "dark", "soft_argmax"]


def decode(
    heatmaps: Tensor,
    centers: Tensor,
    scales: Tensor,
    method: Method = "quarter",
    sigma: float = 2.0,
    beta: float = 160.0,
    offset: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Joints (B, K, 2) in image pixels and scores (B, K) of ``heatmaps`` (B, K, h, w), any stride.

    ``centers`` and ``scales`` (B, 2) are the boxes of :class:`pose.data.samples.Samples`.
    ``sigma`` in heat-map pixels, the training target's, is what ``dark`` needs, and ``beta``, the
    factor on the map before the softmax, what ``soft_argmax`` needs. Heat-map pixel i stands for
    the crop's (i + ``offset``) * stride.
    """
    locate = {
        "quarter": quarter,
        "argmax": argmax,
        "dark": partial(dark, sigma=sigma),
        "soft_argmax": partial(soft_argmax, beta=beta),
    }[method]
    joints, scores = locate(heatmaps.float())
    height, width = heatmaps.shape[-2:]
    middle = torch.tensor([width / 2, height / 2], device=joints.device)
    zoom = scales[:, None, :1].to(joints) * (PIXEL_STD / width)
    return centers[:, None].to(joints) + (joints + offset - middle) * zoom, scores
