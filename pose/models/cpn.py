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

import timm
import torch
import torch.nn.functional as F
from timm.models import FeatureListNet
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from pose.models.initialisation import from_imagenet
from pose.models.input_size import require_multiple
from pose.support.errors import PoseError, nearest

WIDTH = 256  # of both nets' features
MULTIPLE = 32
SHORTCUTS = ("identity", "projection")
SCALES = {"features_only": True, "out_indices": (1, 2, 3, 4)}  # timm's 1/4, 1/8, 1/16 and 1/32


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


class CPN(nn.Module):
    """Trunk, GlobalNet and RefineNet."""

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
        # One stack also in evaluation: as in the port GlobalNet predicts there too (6 % of the
        # MACs), and counters by tracing, which skip what no output depends on, see it.
        outputs = torch.stack([*heatmaps, self.refine_net(pyramid)])
        return list(outputs) if self.training else outputs[-1]


def cpn_r50(*, num_keypoints: int, init: str = "scratch", shortcut: str = "identity") -> CPN:
    """Build CPN on ResNet-50.

    ``init``: the trunk's weights, "scratch" or "imagenet" (torchvision's, see
    :func:`pose.weights.fetch`). ``shortcut`` of RefineNet's bottlenecks: the author's "identity",
    or the PyTorch port's "projection", which its published weights need.
    """
    # as torchvision does; timm would start every block as the identity
    trunk = timm.create_model("resnet50", **SCALES, zero_init_last=False)
    return started(CPN(trunk, num_keypoints, shortcut), init, "resnet50")


def cpn_inception(*, num_keypoints: int, init: str = "scratch") -> CPN:
    """Build the reconstruction of CPN on Inception-ResNet-v2.

    ``init``: the trunk's weights, "scratch" or "imagenet" (timm's, which were trained on images
    normalised to -1..1, not as ours are).
    """
    trunk = timm.create_model("inception_resnet_v2", **SCALES)
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.padding = (1, 1)
        elif isinstance(module, nn.MaxPool2d):
            module.padding = 1
    return started(CPN(trunk, num_keypoints, shortcut="identity"), init, "inception_resnet_v2")


def started(model: CPN, init: str, trunk: str) -> CPN:
    """``model``, its trunk's weights as ``init`` says; ``trunk`` names the published file."""
    if from_imagenet(init):
        from pose.weights import load_backbone  # the published files are needed only here
        from pose.weights.cpn import trunk_key

        load_backbone(model.trunk, trunk, trunk_key)
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
