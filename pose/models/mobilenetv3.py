"""MobileNetV3-Large for poses, as far as Lite-HRNet's tables determine it.

No code of that row was published. MMPose's own MobileNetV3 trunk, which takes its last stride one
block later than the original and gates by clamp((x + 1) / 2), with a 1x1 convolution to 960
channels and SimpleBaseline's head, has the published parameters and cost: a fit, not a source.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn

from pose.models.deconv_head import DeconvNet
from pose.models.family import Family
from pose.models.naming import Naming

STEM = 16
WIDTH = 960
# kernel, expanded width, width, squeeze-excitation, activation, stride
BLOCKS = (
    (3, 16, 16, False, nn.ReLU, 1),
    (3, 64, 24, False, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 1),
    (5, 72, 40, True, nn.ReLU, 2),
    (5, 120, 40, True, nn.ReLU, 1),
    (5, 120, 40, True, nn.ReLU, 1),
    (3, 240, 80, False, nn.Hardswish, 2),
    (3, 200, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 480, 112, True, nn.Hardswish, 1),
    (3, 672, 112, True, nn.Hardswish, 1),
    (5, 672, 160, True, nn.Hardswish, 1),
    (5, 672, 160, True, nn.Hardswish, 2),
    (5, 960, 160, True, nn.Hardswish, 1),
)


class SqueezeExcitation(nn.Module):
    """Channels weighted by a gate that is computed from their means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv1 = nn.Conv2d(width, width // 4, 1)
        self.conv2 = nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.conv2(self.conv1(self.pool(x)).relu_())
        return x * ((gate + 1) / 2).clamp(0, 1)


class Block(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise convolution, gate, 1x1 projection."""

    def __init__(
        self,
        in_width: int,
        kernel: int,
        expanded: int,
        width: int,
        gated: bool,
        activation: type[nn.Module],
        stride: int,
    ) -> None:
        super().__init__()
        self.expand_conv = _convolution(in_width, expanded, 1, activation)
        self.depthwise_conv = _convolution(
            expanded, expanded, kernel, activation, stride, groups=expanded
        )
        self.se = SqueezeExcitation(expanded) if gated else nn.Identity()
        self.linear_conv = _convolution(expanded, width, 1)
        self.residual = stride == 1 and in_width == width

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear_conv(self.se(self.depthwise_conv(self.expand_conv(x))))
        return x + y if self.residual else y


def fitted(model: nn.Module, key: str) -> str:
    """No checkpoint of the fitted net exists; these are the names in its parity fixture."""
    key = re.sub(r"^backbone\.conv2\.", "backbone.c.", key)
    key = re.sub(r"^backbone\.(conv1|layer)", r"backbone.b.\1", key)
    return re.sub(r"\.se\.(conv\d)\.", r".se.\1.conv.", key)


class MobileNetV3Pose(DeconvNet):
    """The trunk, its last convolution, to 960 channels, and the head."""

    namings: ClassVar = [Naming("fitted", fitted)]


def mobilenetv3(*, num_keypoints: int) -> MobileNetV3Pose:
    """Build it, from scratch: of this trunk no weights were published."""
    trunk = OrderedDict(conv1=_convolution(3, STEM, 3, nn.Hardswish, stride=2))
    width = STEM
    for i, block in enumerate(BLOCKS, start=1):
        trunk[f"layer{i}"] = Block(width, *block)
        width = block[2]
    trunk["conv2"] = _convolution(width, WIDTH, 1, nn.Hardswish)
    model = MobileNetV3Pose(nn.Sequential(trunk), WIDTH, num_keypoints)
    for layer in model.backbone.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


def _convolution(
    in_width: int,
    width: int,
    kernel: int,
    activation: type[nn.Module] | None = None,
    stride: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    layers = OrderedDict(
        conv=nn.Conv2d(in_width, width, kernel, stride, kernel // 2, groups=groups, bias=False),
        bn=nn.BatchNorm2d(width),
    )
    if activation:
        layers["activation"] = activation(inplace=True)
    return nn.Sequential(layers)


FAMILY = Family(
    models={"mobilenetv3": mobilenetv3},
    source="fitted to Lite-HRNet's tables; MMPose's MobileNetV3 trunk",
    licence="Apache-2.0",
    bibtex="""@inproceedings{howard2019mobilenetv3,
  title={Searching for {MobileNetV3}},
  author={Howard, Andrew and Sandler, Mark and Chu, Grace and others},
  booktitle={ICCV},
  year={2019}
}""",
    parity={"mobilenetv3": "statistics"},
)
