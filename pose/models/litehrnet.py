"""Lite-HRNet (Yu et al., CVPR 2021) as in HRNet/Lite-HRNet: HRNet whose 1x1 convolutions are
replaced by weights computed across all resolutions.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pose.models.family import Family, PoseModel
from pose.models.initialisation import normal_
from pose.models.input_size import require_multiple
from pose.models.naming import Naming

WIDTHS = (40, 80, 160, 320)  # finest branch first, at strides 4, 8, 16 and 32
STEM_WIDTH = 32
BLOCKS = 2  # in a module
MULTIPLE = 32

# Number of modules in the stages of 2, 3 and 4 branches.
MODULES = {18: (2, 4, 2), 30: (3, 8, 3)}


def original_key(model: nn.Module, key: str) -> str:
    """The authors' name of ``key``, one of ``model.state_dict()``'s; MMPose's before 1.0, too."""
    key = re.sub(r"\.(transition|stage)s\.", r".\1", key)
    key = re.sub(r"(\.spatial_weighting\.\d+\.conv[12])\.", r"\1.conv.", key)
    return re.sub(r"^head\.", "keypoint_head.final_layer.", key)


def mmpose_key(model: nn.Module, key: str) -> str:
    """MMPose's since 1.0."""
    return original_key(model, key).removeprefix("keypoint_")


class ConvBN(nn.Sequential):
    """Convolution and BN, then ReLU or another activation, or None."""

    def __init__(
        self,
        in_width: int,
        width: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = nn.ReLU,
    ) -> None:
        super().__init__()
        padding = kernel // 2
        self.conv = nn.Conv2d(in_width, width, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(width)
        if activation:
            self.activation = activation()


def depthwise(width: int, stride: int = 1) -> ConvBN:
    """Depthwise 3x3 convolution and BN."""
    return ConvBN(width, width, 3, stride, groups=width, activation=None)


class Stem(nn.Module):
    """Images to stride 4: a strided convolution, then a strided shuffle unit."""

    def __init__(self) -> None:
        super().__init__()
        half = STEM_WIDTH // 2
        self.conv1 = ConvBN(3, STEM_WIDTH, 3, stride=2)
        self.branch1 = nn.Sequential(depthwise(half, stride=2), ConvBN(half, half))
        self.expand_conv = ConvBN(half, STEM_WIDTH)
        self.depthwise_conv = depthwise(STEM_WIDTH, stride=2)
        self.linear_conv = ConvBN(STEM_WIDTH, half)

    def forward(self, images: Tensor) -> Tensor:
        a, b = self.conv1(images).chunk(2, dim=1)
        b = self.linear_conv(self.depthwise_conv(self.expand_conv(b)))
        return interleave(self.branch1(a), b)


def interleave(a: Tensor, b: Tensor) -> Tensor:
    """Channels of ``a`` and ``b`` in turn: ShuffleNet's shuffle of two concatenated halves.

    One copy instead of two, into channels-last memory, which suits the convolutions around it.
    """
    pixels = torch.stack([x.permute(0, 2, 3, 1) for x in (a, b)], dim=-1)
    return pixels.flatten(3).permute(0, 3, 1, 2)


class CrossResolutionWeighting(nn.Module):
    """Scales each pixel and channel of all branches by a gate computed at the coarsest of them."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        total = sum(widths)
        self.widths = widths
        self.conv1 = ConvBN(total, total // 8)
        self.conv2 = ConvBN(total // 8, total, activation=nn.Sigmoid)

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        *finer, coarsest = branches
        size = coarsest.shape[-2:]
        pooled = [*(F.adaptive_avg_pool2d(x, size) for x in finer), coarsest]
        gates = self.conv2(self.conv1(torch.cat(pooled, dim=1))).split(self.widths, dim=1)
        return [
            x * F.interpolate(gate, x.shape[-2:], mode="nearest")
            for x, gate in zip(branches, gates, strict=True)
        ]


class SpatialWeighting(nn.Module):
    """Squeeze and excitation: scales each channel by a gate computed from all pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width // 4, 1)
        self.conv2 = nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.conv1(F.adaptive_avg_pool2d(x, 1)).relu()
        return x * self.conv2(gate).sigmoid()


class ConditionalChannelWeighting(nn.Module):
    """A shuffle unit on all branches at once; weightings stand for its 1x1 convolutions."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        halves = [width // 2 for width in widths]
        self.cross_resolution_weighting = CrossResolutionWeighting(halves)
        self.depthwise_convs = nn.ModuleList(depthwise(half) for half in halves)
        self.spatial_weighting = nn.ModuleList(SpatialWeighting(half) for half in halves)

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        kept, worked = zip(*(x.chunk(2, dim=1) for x in branches), strict=True)
        worked = self.cross_resolution_weighting(list(worked))
        parts = zip(kept, worked, self.depthwise_convs, self.spatial_weighting, strict=True)
        return [interleave(a, weight(conv(b))) for a, b, conv, weight in parts]


class LiteHRModule(nn.Module):
    """Blocks on all branches, then every branch receives every other."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(ConditionalChannelWeighting(widths) for _ in range(BLOCKS)))
        scales = range(len(widths))
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_path(widths, source, target) for source in scales) for target in scales
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """The sum of all branches at the resolution of each, then ReLU, as the authors sum them.

        Their code adds branch 0 to every sum twice, and writes the sum of target 0 into branch 0,
        which the other targets then receive. Published weights were trained so. The path from
        branch 0 is really computed twice, like theirs: its BN statistics move twice in a training
        step, and the measured cost contains it.
        """
        branches = self.layers(branches)
        fused = []
        for target, paths in enumerate(self.fuse_layers):
            total = paths[0](branches[0])
            for path, branch in zip(paths, branches, strict=True):
                total = total + path(branch)
            if target == 0:
                branches = [total, *branches[1:]]
            fused.append(F.relu(total))
        return fused


class IterativeHead(nn.Module):
    """Branches added up from the coarsest to the finest, a separable convolution after each."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        coarse_to_fine = widths[::-1]
        self.projects = nn.ModuleList(
            nn.Sequential(OrderedDict(depthwise_conv=depthwise(a), pointwise_conv=ConvBN(a, b)))
            for a, b in zip(coarse_to_fine, (*coarse_to_fine[1:], widths[0]), strict=True)
        )

    def forward(self, branches: list[Tensor]) -> Tensor:
        x = None
        for project, branch in zip(self.projects, reversed(branches), strict=True):
            if x is not None:
                size = branch.shape[-2:]
                branch = branch + F.interpolate(x, size, mode="bilinear", align_corners=True)
            x = project(branch)
        return x


class Trunk(nn.Module):
    """Stem, stages of 2, 3 and 4 branches, and their sum at stride 4 (B, 40, H/4, W/4)."""

    def __init__(self, modules: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = Stem()
        self.transitions = nn.ModuleList()
        self.stages = nn.ModuleList()
        widths = (STEM_WIDTH,)
        for branches, repeats in enumerate(modules, start=2):
            self.transitions.append(_transition(widths, WIDTHS[:branches]))
            widths = WIDTHS[:branches]
            self.stages.append(nn.Sequential(*(LiteHRModule(widths) for _ in range(repeats))))
        self.head_layer = IterativeHead(widths)

    def forward(self, images: Tensor) -> Tensor:
        branches = [self.stem(images)]
        for transition, stage in zip(self.transitions, self.stages, strict=True):
            opened = [*branches, branches[-1]]
            branches = stage([path(x) for path, x in zip(transition, opened, strict=True)])
        return self.head_layer(branches)


class LiteHRNet(PoseModel):
    """The trunk and a 1x1 convolution to the heat maps."""

    namings: ClassVar = [Naming("official", original_key), Naming("mmpose-1", mmpose_key)]

    def __init__(self, modules: tuple[int, ...], num_keypoints: int) -> None:
        super().__init__()
        self.backbone = Trunk(modules)
        self.head = nn.Conv2d(WIDTHS[0], num_keypoints, 1)
        normal_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to heat maps (B, K, H/4, W/4).

        Raises PoseError unless H and W are multiples of 32.
        """
        require_multiple(images, MULTIPLE, "Lite-HRNet")
        return self.head(self.backbone(images))


def litehrnet(depth: int, *, num_keypoints: int) -> LiteHRNet:
    """Build Lite-HRNet-18 or -30 with all convolutions from N(0, 0.001^2), as published."""
    return LiteHRNet(MODULES[depth], num_keypoints)


def _separable(in_width: int, width: int, stride: int, relu: bool = True) -> nn.Sequential:
    """Depthwise 3x3 convolution and BN, 1x1 convolution and BN, ReLU unless told otherwise."""
    layers = [
        nn.Conv2d(in_width, in_width, 3, stride, padding=1, groups=in_width, bias=False),
        nn.BatchNorm2d(in_width),
        nn.Conv2d(in_width, width, 1, bias=False),
        nn.BatchNorm2d(width),
    ]
    return nn.Sequential(*layers, *[nn.ReLU(inplace=True)] * relu)


def _path(widths: tuple[int, ...], source: int, target: int) -> nn.Module:
    """From one branch's width and resolution to another's."""
    a, b = widths[source], widths[target]
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(
            nn.Conv2d(a, b, 1, bias=False),
            nn.BatchNorm2d(b),
            nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"),
        )
    halvings = [_separable(a, a, stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, _separable(a, b, stride=2, relu=False))


def _transition(before: tuple[int, ...], after: tuple[int, ...]) -> nn.ModuleList:
    """One path for each branch there is, and one from the coarsest of them to a new branch."""
    same = [
        nn.Identity() if a == b else _separable(a, b, stride=1)
        for a, b in zip(before, after[:-1], strict=True)
    ]
    return nn.ModuleList([*same, nn.Sequential(_separable(before[-1], after[-1], stride=2))])


FAMILY = Family(
    models={f"litehrnet-{depth}": partial(litehrnet, depth) for depth in MODULES},
    source="HRNet/Lite-HRNet 7b9049d",
    licence="Apache-2.0",
    bibtex="""@inproceedings{yu2021litehrnet,
  title={Lite-{HRNet}: A Lightweight High-Resolution Network},
  author={Yu, Changqian and Xiao, Bin and Gao, Changxin and Yuan, Lu and others},
  booktitle={CVPR},
  year={2021}
}""",
    parity={"litehrnet-18": "heat maps", "litehrnet-30": "statistics"},
)
