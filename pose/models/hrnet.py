"""HRNet (Sun et al., CVPR 2019) as in leoxiaobin/deep-high-resolution-net.pytorch.

Branches of 1/4, 1/8, 1/16 and 1/32 of the input run side by side and exchange features after every
module; the finest gives the heat maps. Parameter names are the authors'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial, reduce
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from pose.models.family import Family, PoseModel, Start
from pose.models.initialisation import normal_
from pose.models.input_size import require_multiple
from pose.models.naming import Naming, mmpose

STEM = 64
MULTIPLE = 32  # the coarsest branch's stride

HEAD = ("final_layer.",)
# The ImageNet files fuse into all branches at the end, and have a classifier above them.
TRUNK = ("conv1.", "bn1.", "conv2.", "bn2.", "layer1.", "transition", "stage")
UNUSED = tuple(f"stage4.2.fuse_layers.{branch}." for branch in (1, 2, 3))


def trunk_key(key: str) -> str | None:
    """Our name of a tensor of the authors' ImageNet files; None for what is not of the trunk."""
    return key if key.startswith(TRUNK) and not key.startswith(UNUSED) else None


def in_parts(model: nn.Module, key: str) -> str:
    """The authors keep the trunk's and the head's tensors side by side, MMPose does not."""
    return f"{'head' if key.startswith(HEAD) else 'backbone'}.{key}"


@dataclass(frozen=True)
class Variant:
    """A size of the net.

    ``width``: channels of the finest branch; each coarser one has twice as many. ``bottlenecks``
    and ``planes``: of the first stage. ``modules``: of the stages with 2, 3 and 4 branches.
    ``blocks``: of a branch in a module. ``imagenet``: the published file of the trunk's weights.
    """

    width: int
    bottlenecks: int
    planes: int
    modules: tuple[int, int, int]
    blocks: int
    imagenet: str | None


VARIANTS = {
    "w32": Variant(32, 4, 64, (1, 4, 3), 4, "hrnet_w32"),
    "w48": Variant(48, 4, 64, (1, 4, 3), 4, "hrnet_w48"),
    # The "Small HRNet-W16" of Lite-HRNet's tables, of which no pose code was published: this one
    # has their parameters and cost at each of their input sizes.
    "w16": Variant(16, 1, 32, (1, 1, 1), 2, None),
}


class HighResolutionModule(nn.Module):
    """Blocks on every branch, then each output branch is the ReLU of the sum over all branches."""

    def __init__(self, widths: list[int], blocks: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width) for _ in range(blocks))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(widths, source, target) for source in range(len(widths)))
            for target in range(outputs)
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        branches = [blocks(x) for blocks, x in zip(self.branches, branches, strict=True)]
        return [
            F.relu_(reduce(torch.add, (fuse(x) for fuse, x in zip(fuses, branches, strict=True))))
            for fuses in self.fuse_layers
        ]


class HRNet(PoseModel):
    """Heat maps at a quarter of the input's resolution."""

    namings: ClassVar = [Naming("official"), *mmpose(in_parts)]

    def __init__(self, variant: Variant, num_keypoints: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.conv2 = nn.Conv2d(STEM, STEM, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM)
        self.layer1 = _bottlenecks(variant.bottlenecks, variant.planes)
        widths = [variant.width * 2**branch for branch in range(4)]
        before = [variant.planes * Bottleneck.expansion]
        for stage, modules in enumerate(variant.modules, start=1):
            branches = widths[: stage + 1]
            last = 1 if stage == len(variant.modules) else len(branches)
            outputs = [*[len(branches)] * (modules - 1), last]
            self.add_module(f"transition{stage}", _transition(before, branches))
            self.add_module(
                f"stage{stage + 1}",
                nn.Sequential(
                    *(HighResolutionModule(branches, variant.blocks, n) for n in outputs)
                ),
            )
            before = branches
        self.final_layer = nn.Conv2d(variant.width, num_keypoints, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to heat maps (B, K, H/4, W/4); H and W are multiples of 32."""
        require_multiple(images, MULTIPLE, "HRNet")
        x = F.relu_(self.bn1(self.conv1(images)))
        x = F.relu_(self.bn2(self.conv2(x)))
        branches = [self.layer1(x)]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            opened = [*branches, branches[-1]]
            branches = stage([carry(x) for carry, x in zip(transition, opened, strict=True)])
        return self.final_layer(branches[0])

    def imagenet_starts(self, file: str) -> Iterator[Start]:
        yield Start(self, file, trunk_key, HEAD)


def hrnet(variant: str, *, num_keypoints: int) -> HRNet:
    """Build HRNet-W32, W48 or the small W16; weights from N(0, 0.001^2) as published."""
    model = HRNet(VARIANTS[variant], num_keypoints)
    model.imagenet = VARIANTS[variant].imagenet
    normal_(model)
    return model


def _bottlenecks(blocks: int, planes: int) -> nn.Sequential:
    width = planes * Bottleneck.expansion
    project = nn.Sequential(nn.Conv2d(STEM, width, 1, bias=False), nn.BatchNorm2d(width))
    return nn.Sequential(
        Bottleneck(STEM, planes, downsample=project),
        *(Bottleneck(width, planes) for _ in range(1, blocks)),
    )


def _transition(before: list[int], branches: list[int]) -> nn.ModuleList:
    """Give every branch its width, and open a new one from the coarsest."""
    carries = [
        nn.Identity() if old == new else _convolution(old, new, stride=1)
        for old, new in zip(before, branches, strict=False)
    ]
    opened = nn.Sequential(_convolution(before[-1], branches[-1], stride=2))
    return nn.ModuleList([*carries, opened])


def _exchange(widths: list[int], source: int, target: int) -> nn.Module:
    """What carries features of the branch ``source`` to the branch ``target``."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(
            nn.Conv2d(widths[source], widths[target], 1, bias=False),
            nn.BatchNorm2d(widths[target]),
            nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"),
        )
    halvings = [
        _convolution(widths[source], widths[source], stride=2) for _ in range(target - source - 1)
    ]
    last = _convolution(widths[source], widths[target], stride=2)[:-1]  # without its ReLU
    return nn.Sequential(*halvings, last)


def _convolution(in_width: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_width, width, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


FAMILY = Family(
    models={f"hrnet-{variant}": partial(hrnet, variant) for variant in VARIANTS},
    source="leoxiaobin/deep-high-resolution-net.pytorch 6f69e46; W16 fitted to Lite-HRNet's tables",
    licence="MIT",
    bibtex="""@inproceedings{sun2019hrnet,
  title={Deep High-Resolution Representation Learning for Human Pose Estimation},
  author={Sun, Ke and Xiao, Bin and Liu, Dong and Wang, Jingdong},
  booktitle={CVPR},
  year={2019}
}""",
    parity={"hrnet-w32": "heat maps", "hrnet-w48": "statistics", "hrnet-w16": "statistics"},
)
