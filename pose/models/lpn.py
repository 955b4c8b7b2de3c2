"""LPN (Zhang et al., arXiv 1911.10346) as in zhang943/lpn-pytorch: a light SimpleBaseline.

A ResNet's stages of depthwise bottlenecks with global context, at stride 16 at most, then two
grouped transposed convolutions.
"""

from __future__ import annotations

from functools import partial
from math import gcd
from typing import ClassVar

from torch import Tensor, nn

from pose.models.family import Family, PoseModel
from pose.models.input_size import require_multiple
from pose.models.naming import Naming

# Number of blocks in each stage, as ResNet's of the same name.
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
WIDTHS = (64, 128, 256, 512)
STRIDES = (1, 2, 2, 1)  # of the stages, after the stem's 4
MULTIPLE = 16
HEAD_WIDTH = 256


class GlobalContext(nn.Module):
    """GCNet's block: attention pools the map to one vector, whose transform all pixels receive."""

    def __init__(self, width: int) -> None:
        super().__init__()
        squeezed = max(width // 16, 16)
        # The bias has no effect, for softmax does not see a shift; published weights contain it.
        self.conv_mask = nn.Conv2d(width, 1, 1)
        self.channel_add_conv = nn.Sequential(
            nn.Conv2d(width, squeezed, 1),
            nn.LayerNorm([squeezed, 1, 1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        attention = self.conv_mask(x).flatten(2).softmax(dim=2)  # (B, 1, HW)
        context = x.flatten(2) @ attention.transpose(1, 2)  # (B, C, 1)
        return x + self.channel_add_conv(context.unsqueeze(3))


class Bottleneck(nn.Module):
    """1x1, depthwise 3x3 and 1x1 convolution of one width, global context, and the identity."""

    def __init__(self, in_width: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.att = GlobalContext(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Identity()
        if stride != 1 or in_width != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_width, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.att(self.bn3(self.conv3(x)))
        return self.relu(x + shortcut)


class LPN(PoseModel):
    """Stem, four stages and the upsampling head; its tensors have the authors' names."""

    namings: ClassVar = [Naming("official")]

    def __init__(self, depths: tuple[int, ...], num_keypoints: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        in_widths = (WIDTHS[0], *WIDTHS)
        self.layer1, self.layer2, self.layer3, self.layer4 = map(
            _stage, in_widths, WIDTHS, depths, STRIDES
        )
        self.deconv_layers = nn.Sequential(
            *_upsampling(WIDTHS[-1], HEAD_WIDTH), *_upsampling(HEAD_WIDTH, HEAD_WIDTH)
        )
        self.final_layer = nn.Conv2d(HEAD_WIDTH, num_keypoints, 1)
        self._initialise()

    def _initialise(self) -> None:
        """As published: weights from N(0, 0.001^2), GCNet's zero biases, else PyTorch's own."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.001)
            elif isinstance(module, GlobalContext):
                nn.init.zeros_(module.conv_mask.bias)
                nn.init.zeros_(module.channel_add_conv[-1].bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to heat maps (B, K, H/4, W/4).

        Raises PoseError unless H and W are multiples of 16.
        """
        require_multiple(images, MULTIPLE, "LPN")
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.final_layer(self.deconv_layers(x))


def lpn(depth: int, *, num_keypoints: int) -> LPN:
    """Build LPN-``depth``: 50, 101 or 152."""
    return LPN(DEPTHS[depth], num_keypoints)


def _stage(in_width: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(in_width, width, stride)
    return nn.Sequential(first, *(Bottleneck(width, width, 1) for _ in range(blocks - 1)))


def _upsampling(in_width: int, width: int) -> list[nn.Module]:
    return [
        nn.ConvTranspose2d(
            in_width, width, 4, stride=2, padding=1, groups=gcd(in_width, width), bias=False
        ),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]


FAMILY = Family(
    models={f"lpn-{depth}": partial(lpn, depth) for depth in DEPTHS},
    source="zhang943/lpn-pytorch f397525",
    licence="MIT",
    bibtex="""@article{zhang2019lpn,
  title={Simple and Lightweight Human Pose Estimation},
  author={Zhang, Zhe and Tang, Jie and Wu, Gangshan},
  journal={arXiv:1911.10346},
  year={2019}
}""",
    parity={"lpn-50": "heat maps", "lpn-101": "counts", "lpn-152": "statistics"},
)
