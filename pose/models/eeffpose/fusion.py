"""TotalFusion: every scale receives every other (paper section 3.2, Eqs. 2-5)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from timm.models._efficientnet_blocks import InvertedResidual, SqueezeExcite
from torch import Tensor, nn

ACTIVATIONS = {"silu": nn.SiLU, "mish": nn.Mish}


def projection(in_width: int, out_width: int, bias: bool = False) -> nn.Sequential:
    """1x1 convolution and BN with the settings of EfficientDet."""
    return nn.Sequential(
        nn.Conv2d(in_width, out_width, 1, bias=bias),
        nn.BatchNorm2d(out_width, eps=1e-3, momentum=0.01),
    )


def glorot_(module: nn.Module) -> None:
    """Glorot-uniform convolutions, fans counted within a group; zero biases; BN 1 and 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            area = layer.kernel_size[0] * layer.kernel_size[1]
            fans = (layer.in_channels + layer.out_channels) // layer.groups * area
            bound = (6 / fans) ** 0.5
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


class AddUp(nn.Module):
    """Eq. (3): the weighted sum of all scales at one of them, then the activation.

    A coarser input is projected, then upsampled; a finer one is max-pooled, then projected.
    """

    def __init__(self, in_widths: list[int], scale: int, width: int, activation: str) -> None:
        super().__init__()
        self.scale = scale
        # Per input and channel. Not the 5-D tensor of the released checkpoints, which no
        # channels_last conversion accepts; pose.weights reshapes it.
        self.weights = nn.Parameter(torch.full((len(in_widths), width), 1 / len(in_widths)))
        self.project = nn.ModuleList(
            nn.Identity() if in_width == width else projection(in_width, width)
            for in_width in in_widths
        )
        self.activation = ACTIVATIONS[activation](inplace=True)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features of all scales, finest first, to (B, width, H_scale, W_scale)."""
        size = features[self.scale].shape[-2:]
        weights = F.relu(self.weights)
        weights = weights / (weights.sum(0) + 1e-5)
        total = None
        for j, (project, x) in enumerate(zip(self.project, features, strict=True)):
            if j < self.scale:
                # ceil_mode matters only for sides that do not divide evenly
                x = project(F.max_pool2d(x, 2 ** (self.scale - j), ceil_mode=True))
            elif j > self.scale:
                x = F.interpolate(project(x), size, mode="bilinear", align_corners=True)
            else:
                x = project(x)
            x = x * weights[j].view(1, -1, 1, 1)
            total = x if total is None else total + x
        return self.activation(total)


def mixup(width: int) -> InvertedResidual:
    """Eq. (4): an MBConv without inner skip; expansion 6, depthwise 5x5, SE to width / 4."""
    squeeze = partial(SqueezeExcite, rd_ratio=1 / 24)
    return InvertedResidual(
        width,
        width,
        dw_kernel_size=5,
        noskip=True,
        exp_ratio=6.0,
        act_layer=nn.SiLU,
        se_layer=squeeze,
    )


class TotalFusion(nn.Module):
    """Eq. (2): FixUp(MixUp(AddUp(all scales)), own scale), for every scale."""

    def __init__(
        self, in_widths: list[int], widths: list[int], drop_path: float, activation: str
    ) -> None:
        super().__init__()
        self.addup = nn.ModuleList(
            AddUp(in_widths, scale, width, activation) for scale, width in enumerate(widths)
        )
        self.mixup = nn.ModuleList(mixup(width) for width in widths)
        self.fixup = nn.ModuleList(
            nn.Identity() if a == b else projection(a, b)
            for a, b in zip(in_widths, widths, strict=True)
        )
        self.drop_path = DropPath(drop_path)
        glorot_(self)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Features of all scales, finest first, to as many of the output widths."""
        parts = zip(self.addup, self.mixup, self.fixup, features, strict=True)
        return [
            self.drop_path(mix(add(features))) + fix(own)  # Eq. (5)
            for add, mix, fix, own in parts
        ]
