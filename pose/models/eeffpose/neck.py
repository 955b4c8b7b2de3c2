"""BiFPN and its mutually enhanced TFNeck (paper section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers.pool2d_same import MaxPool2dSame
from torch import Tensor, nn

from pose.models.eeffpose.fusion import TotalFusion, glorot_, projection

LEVELS = 5
# A BiFPN cell's nodes in order: (level it makes, features it reads). Features 0-4 are the cell's
# inputs, finest first; 5, 6, ... are the nodes' outputs. Top-down, then bottom-up.
NODES = (
    (3, (3, 4)),
    (2, (2, 5)),
    (1, (1, 6)),
    (0, (0, 7)),
    (1, (1, 7, 8)),
    (2, (2, 6, 9)),
    (3, (3, 5, 10)),
    (4, (4, 11)),
)
LEVEL_OF = (*range(LEVELS), *(level for level, _ in NODES))


class TFNeck(nn.Sequential):
    """Repeated TotalFusion over the backbone's scales."""

    def __init__(self, in_widths: list[int], width: int, repeats: int, activation: str) -> None:
        out = [width] * len(in_widths)
        super().__init__(
            *(
                TotalFusion(in_widths if i == 0 else out, out, drop_path=0.2, activation=activation)
                for i in range(repeats)
            )
        )
        self.widths = out


class BiFPN(nn.Module):
    """EfficientDet's bidirectional feature pyramid over S2..S4 and two coarser levels."""

    def __init__(
        self, in_widths: list[int], width: int, repeats: int, activation: str = "silu"
    ) -> None:
        """``activation`` is TFNeck's; a BiFPN has no AddUp."""
        super().__init__()
        self.coarser = projection(in_widths[-1], width, bias=True)
        self.pool = MaxPool2dSame(3, 2)
        self.cells = nn.ModuleList(
            _Cell(in_widths if i == 0 else [width] * len(in_widths), width) for i in range(repeats)
        )
        self.widths = [width] * LEVELS
        glorot_(self)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """[S2, S3, S4] to five levels of equal width, finest first."""
        fifth = self.pool(self.coarser(features[-1]))
        features = [*features, fifth, self.pool(fifth)]
        for cell in self.cells:
            features = cell(features)
        return features


class _Cell(nn.Module):
    def __init__(self, in_widths: list[int], width: int) -> None:
        super().__init__()
        widths = [*in_widths, *[width] * (len(LEVEL_OF) - len(in_widths))]
        self.nodes = nn.ModuleList(
            _Node(level, {i: widths[i] for i in inputs}, width) for level, inputs in NODES
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        features = list(features)
        sizes = [feature.shape[-2:] for feature in features]
        for node in self.nodes:
            features.append(node(features, sizes))
        return features[-LEVELS:]


class _Node(nn.Module):
    """Fast normalised fusion of two or three features, SiLU, depthwise-separable convolution."""

    def __init__(self, level: int, in_widths: dict[int, int], width: int) -> None:
        super().__init__()
        self.level = level
        self.inputs = tuple(in_widths)
        self.weights = nn.Parameter(torch.ones(len(in_widths)))
        self.project = nn.ModuleDict(
            {str(i): projection(w, width, bias=True) for i, w in in_widths.items() if w != width}
        )
        self.pool = MaxPool2dSame(3, 2)
        self.activation = nn.SiLU(inplace=True)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.pointwise = projection(width, width, bias=True)

    def forward(self, features: list[Tensor], sizes: list[torch.Size]) -> Tensor:
        weights = F.relu(self.weights)
        weights = weights / (weights.sum() + 1e-4)
        total = None
        for weight, i in zip(weights, self.inputs, strict=True):
            x = features[i]
            if str(i) in self.project:
                x = self.project[str(i)](x)
            if LEVEL_OF[i] > self.level:
                x = F.interpolate(x, sizes[self.level], mode="nearest")
            elif LEVEL_OF[i] < self.level:
                x = self.pool(x)
            total = x * weight if total is None else total + x * weight
        return self.pointwise(self.depthwise(self.activation(total)))
