"""CPN (Chen et al., CVPR 2018): GlobalNet predicts on every scale, RefineNet on all of them.

Resizing and normalisation are those of the PyTorch port GengDavid/pytorch-cpn (48696a9), whose
weights are published; RefineNet's bottlenecks have the author's identity shortcuts (tf-cpn 48ea10d)
or, with ``shortcut="projection"``, the port's. Every ResNet block of stride 2 has it on its 3x3
convolution, as in both.

``cpn_inception`` is a reconstruction. The paper's test-dev entry has a "ResNet-Inception" trunk
that was never released, and no table gives its parameters or FLOPs. Here the trunk is timm's
Inception-ResNet-v2; all else is CPN as above. Our choice too: its unpadded convolutions and
poolings are padded, so that its four scales are exactly 1/4, 1/8, 1/16 and 1/32 of the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import timm
import torch
import torch.nn.functional as F
from timm.models import FeatureListNet
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from pose.models.family import Family, PoseModel, Start
from pose.models.input_size import require_multiple
from pose.models.naming import Naming
from pose.support.errors import PoseError, nearest

WIDTH = 256  # of both nets' features
MULTIPLE = 32
SHORTCUTS = ("identity", "projection")
SCALES = {"features_only": True, "out_indices": (1, 2, 3, 4)}  # timm's 1/4, 1/8, 1/16 and 1/32


RENAMED = [
    (r"^trunk\.", "resnet."),
    (r"^global_net\.top_down\.(\d)\.conv\.", r"global_net.upsamples.\1.1."),
    (r"^global_net\.top_down\.(\d)\.bn\.", r"global_net.upsamples.\1.2."),
    (r"^global_net\.predict\.(\d)\.mix\.", r"global_net.predict.\1."),
    (r"^global_net\.predict\.(\d)\.conv\.", r"global_net.predict.\1.3."),
    (r"^global_net\.predict\.(\d)\.bn\.", r"global_net.predict.\1.5."),
    (r"^refine_net\.bottleneck\.", "refine_net.final_predict.0."),
    (r"^refine_net\.conv\.", "refine_net.final_predict.1."),
    (r"^refine_net\.bn\.", "refine_net.final_predict.2."),
]


def trunk_key(key: str) -> str | None:
    """Our trunks' name of a tensor of torchvision's or timm's files; None for the classifier's."""
    if key.startswith(("fc.", "classif.")):
        return None
    return key


def original_key(model: nn.Module, key: str) -> str:
    """The port's name of ``key``."""
    for ours, theirs in RENAMED:
        key = re.sub(ours, theirs, key)
    return key


class TopDown(nn.Module):
    """What a scale hands to the next finer one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
        self.bn = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        return self.bn(self.conv(resize(x, size)))


class Predict(nn.Module):
    """One scale's heat maps at the finest scale's size."""

    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        self.mix = conv_bn_relu(WIDTH)
        self.conv = nn.Conv2d(WIDTH, num_keypoints, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(num_keypoints)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        return self.bn(resize(self.conv(self.mix(x)), size))


class GlobalNet(nn.Module):
    """A feature pyramid and its predictions."""

    def __init__(self, widths: list[int], num_keypoints: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(conv_bn_relu(width) for width in reversed(widths))
        self.top_down = nn.ModuleList(TopDown() for _ in widths[1:])
        self.predict = nn.ModuleList(Predict(num_keypoints) for _ in widths)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as the port does
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """[C2, C3, C4, C5] to the pyramid (256 channels) and the heat maps, both coarsest first."""
        finest = features[0].shape[-2:]
        coarsest, *finer = (
            lateral(x) for lateral, x in zip(self.laterals, reversed(features), strict=True)
        )
        pyramid = [coarsest]
        for top_down, x in zip(self.top_down, finer, strict=True):
            pyramid.append(x + top_down(pyramid[-1], x.shape[-2:]))
        heatmaps = [predict(x, finest) for predict, x in zip(self.predict, pyramid, strict=True)]
        return pyramid, heatmaps


class RefineNet(nn.Module):
    """Bottlenecks, more on coarser scales; then one over all scales at the finest's size."""

    def __init__(self, num_keypoints: int, projection: bool) -> None:
        super().__init__()
        self.cascade = nn.ModuleList(
            nn.Sequential(*(bottleneck(WIDTH, projection) for _ in range(blocks)))
            for blocks in (3, 2, 1, 0)
        )
        self.bottleneck = bottleneck(4 * WIDTH, projection=True)
        self.conv = nn.Conv2d(WIDTH, num_keypoints, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(num_keypoints)

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """The pyramid, coarsest first, to heat maps (B, K, H/4, W/4)."""
        finest = pyramid[-1].shape[-2:]
        scales = [
            resize(blocks(x), finest) for blocks, x in zip(self.cascade, pyramid, strict=True)
        ]
        return self.bn(self.conv(self.bottleneck(torch.cat(scales, dim=1))))


class CPN(PoseModel):
    """Trunk, GlobalNet and RefineNet."""

    namings: ClassVar = [
        Naming(
            "GengDavid/pytorch-cpn",
            original_key,
            advice="the port's own checkpoints fit cpn-r50-projection",
        )
    ]

    def __init__(self, trunk: FeatureListNet, num_keypoints: int, shortcut: str) -> None:
        super().__init__()
        if shortcut not in SHORTCUTS:
            raise PoseError(f"unknown shortcut {shortcut!r}{nearest(shortcut, SHORTCUTS)}")
        self.trunk = trunk
        self.global_net = GlobalNet(trunk.feature_info.channels(), num_keypoints)
        self.refine_net = RefineNet(num_keypoints, projection=shortcut == "projection")

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Images (B, 3, H, W) to heat maps (B, K, H/4, W/4): RefineNet's.

        In training: [GlobalNet's from C5, C4, C3 and C2, RefineNet's]. Raises PoseError unless H
        and W are multiples of 32.
        """
        require_multiple(images, MULTIPLE, "CPN")
        pyramid, heatmaps = self.global_net(self.trunk(images))
        # One stack also in evaluation, where GlobalNet predicts too, as in the port (6 % of the
        # MACs): counters that trace the net leave out what no output depends on.
        outputs = torch.stack([*heatmaps, self.refine_net(pyramid)])
        return list(outputs) if self.training else outputs[-1]

    def imagenet_starts(self, file: str) -> Iterator[Start]:
        yield Start(self.trunk, file, trunk_key)


def cpn_r50(*, num_keypoints: int, shortcut: str = "identity") -> CPN:
    """Build CPN on ResNet-50, whose published weights are torchvision's.

    ``shortcut`` of RefineNet's bottlenecks: the author's "identity", or the PyTorch port's
    "projection", which its published weights need.
    """
    # as torchvision does; timm would start every block as the identity
    trunk = timm.create_model("resnet50", **SCALES, zero_init_last=False)
    model = CPN(trunk, num_keypoints, shortcut)
    model.imagenet = "resnet50"
    return model


def cpn_inception(*, num_keypoints: int) -> CPN:
    """Build the reconstruction of CPN on Inception-ResNet-v2.

    The trunk's published weights are timm's, trained on images normalised to -1..1, not as ours.
    """
    trunk = timm.create_model("inception_resnet_v2", **SCALES)
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.padding = (1, 1)
        elif isinstance(module, nn.MaxPool2d):
            module.padding = 1
    model = CPN(trunk, num_keypoints, shortcut="identity")
    model.imagenet = "inception_resnet_v2"
    return model


def resize(x: Tensor, size: torch.Size) -> Tensor:
    """Bilinear, with corner pixels on corner pixels."""
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def conv_bn_relu(inputs: int) -> nn.Sequential:
    """A 1x1 convolution to the nets' width."""
    conv = nn.Conv2d(inputs, WIDTH, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True))


def bottleneck(inputs: int, projection: bool) -> Bottleneck:
    """torchvision's block with 128 channels inside and 256 out."""
    shortcut = nn.Sequential(nn.Conv2d(inputs, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH))
    return Bottleneck(
        inputs, WIDTH // Bottleneck.expansion, 1, shortcut if projection else None, base_width=128
    )


FAMILY = Family(
    models={
        "cpn-r50": cpn_r50,
        "cpn-r50-projection": partial(cpn_r50, shortcut="projection"),
        "cpn-inception": cpn_inception,
    },
    source="GengDavid/pytorch-cpn 48696a9 and chenyilun95/tf-cpn 48ea10d",
    licence="none stated",
    bibtex="""@inproceedings{chen2018cpn,
  title={Cascaded Pyramid Network for Multi-Person Pose Estimation},
  author={Chen, Yilun and Wang, Zhicheng and Peng, Yuxiang and Zhang, Zhiqiang and others},
  booktitle={CVPR},
  year={2018}
}""",
    parity={"cpn-r50": "heat maps", "cpn-r50-projection": "counts"},
)
