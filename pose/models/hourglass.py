"""Stacked Hourglass (Newell et al., ECCV 2016) as in princeton-vl/pytorch_stacked_hourglass.

A residual there always has a 1x1 convolution beside it, which is used only where the width changes.
Here it exists only where it is used: 7,385,216 parameters fewer for eight stacks.
"""

from __future__ import annotations

import re
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from pose.models.family import Family, PoseModel
from pose.models.input_size import require_multiple
from pose.models.naming import Naming

WIDTH = 256
DEPTH = 4  # poolings within a stack, after the stem's stride of 4
MULTIPLE = 4 * 2**DEPTH


# The residuals that change the width; all others' skip convolutions are never used.
WITH_SKIP = ("pre.1.", "pre.4.")


def original_key(model: nn.Module, key: str) -> str:
    """The published name of ``key``, one of ``model.state_dict()``'s."""
    key = re.sub(r"^hgs\.(\d+)\.", r"hgs.\1.0.", key)
    key = re.sub(r"^(pre\.0|features\.\d+\.1)\.0\.", r"\1.conv.", key)
    key = re.sub(r"^(pre\.0|features\.\d+\.1)\.1\.", r"\1.bn.", key)
    key = re.sub(r"^(merge_features|merge_preds)\.(\d+)\.", r"\1.\2.conv.conv.", key)
    key = re.sub(r"^outs\.(\d+)\.", r"outs.\1.conv.", key)
    return re.sub(r"\.(conv[123]|skip_layer)\.", r".\1.conv.", key)


def is_unused_skip(key: str) -> bool:
    """Whether the published tensor belongs to a convolution that the net never runs."""
    return ".skip_layer." in key and not key.startswith(WITH_SKIP)


class Residual(nn.Module):
    """Pre-activation bottleneck: BN, ReLU and a biased convolution, three times (1x1, 3x3, 1x1)."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        half = width // 2
        self.bn1 = nn.BatchNorm2d(in_width)
        self.conv1 = nn.Conv2d(in_width, half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, width, 1)
        self.skip_layer = nn.Identity() if in_width == width else nn.Conv2d(in_width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.skip_layer(x)
        x = self.conv1(F.relu(self.bn1(x), inplace=True))
        x = self.conv2(F.relu(self.bn2(x), inplace=True))
        x = self.conv3(F.relu(self.bn3(x), inplace=True))
        return x + skip


class Hourglass(nn.Module):
    """Features of one resolution plus those of an hourglass at half of it."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.up1 = Residual(WIDTH, WIDTH)
        self.low1 = Residual(WIDTH, WIDTH)
        self.low2 = Hourglass(depth - 1) if depth > 1 else Residual(WIDTH, WIDTH)
        self.low3 = Residual(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        low = self.low3(self.low2(self.low1(F.max_pool2d(x, 2))))
        return self.up1(x) + F.interpolate(low, scale_factor=2, mode="nearest")


class StackedHourglass(PoseModel):
    """Hourglasses in sequence; each predicts heat maps, which the next one refines."""

    namings: ClassVar = [Naming("official", original_key, dropped=is_unused_skip)]

    def __init__(self, stacks: int, num_keypoints: int) -> None:
        super().__init__()
        self.pre = nn.Sequential(
            _conv_bn_relu(3, 64, 7, stride=2),
            Residual(64, 128),
            nn.MaxPool2d(2),
            Residual(128, 128),
            Residual(128, WIDTH),
        )
        self.hgs = nn.ModuleList(Hourglass(DEPTH) for _ in range(stacks))
        self.features = nn.ModuleList(
            nn.Sequential(Residual(WIDTH, WIDTH), _conv_bn_relu(WIDTH, WIDTH, 1))
            for _ in range(stacks)
        )
        self.outs = nn.ModuleList(nn.Conv2d(WIDTH, num_keypoints, 1) for _ in range(stacks))
        self.merge_features = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 1) for _ in range(stacks - 1))
        self.merge_preds = nn.ModuleList(
            nn.Conv2d(num_keypoints, WIDTH, 1) for _ in range(stacks - 1)
        )

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Images (B, 3, H, W) to heat maps (B, K, H/4, W/4); in training those of every stack.

        The last of the list is the prediction. Raises PoseError unless H and W are multiples of 64.
        """
        require_multiple(images, MULTIPLE, "Hourglass")
        x = self.pre(images)
        predictions = []
        for i, (hourglass, features, out) in enumerate(
            zip(self.hgs, self.features, self.outs, strict=True)
        ):
            refined = features(hourglass(x))
            predictions.append(out(refined))
            if i < len(self.merge_preds):
                x = x + self.merge_preds[i](predictions[i]) + self.merge_features[i](refined)
        return predictions if self.training else predictions[-1]


def hourglass(stacks: int, *, num_keypoints: int) -> StackedHourglass:
    """Build a net of 8 or 2 stacks, as published, with PyTorch's own initialisation, likewise."""
    return StackedHourglass(stacks, num_keypoints)


def _conv_bn_relu(in_width: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_width, width, kernel, stride, padding=kernel // 2),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


FAMILY = Family(
    models={f"hourglass-{stacks}": partial(hourglass, stacks) for stacks in (8, 2)},
    source="princeton-vl/pytorch_stacked_hourglass ceedc14",
    licence="BSD-3-Clause",
    bibtex="""@inproceedings{newell2016hourglass,
  title={Stacked Hourglass Networks for Human Pose Estimation},
  author={Newell, Alejandro and Yang, Kaiyu and Deng, Jia},
  booktitle={ECCV},
  year={2016}
}""",
    parity={"hourglass-2": "heat maps", "hourglass-8": "statistics"},
)
