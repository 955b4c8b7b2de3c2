"""EffNet and its mutually enhanced EEffNet (paper section 3.1).

Both give features S2, S3, S4 at 1/4, 1/8, 1/16 of the input: the stem's stride is 1, not 2.
"""

from __future__ import annotations

from copy import deepcopy

import timm
from timm.layers import DropPath
from torch import Tensor, nn

from pose.models.eeffpose.fusion import TotalFusion

CLOSES_SCALE = {2: 0, 4: 1, 6: 2}
"""Stage -> the scale whose feature its last block gives."""


class EffNet(nn.Module):
    """TensorFlow-port EfficientNet without its last 1x1 convolution, stem at stride 1.

    Parameter names are timm's, so that its ImageNet weights and the backbone part of
    EfficientDet's load as they are.
    """

    def __init__(self, trunk: str, activation: str = "silu") -> None:
        """``activation`` is EEffNet's; an EffNet has no AddUp."""
        super().__init__()
        net = timm.create_model(trunk, drop_path_rate=0.2)
        self.conv_stem = nn.Conv2d(3, net.conv_stem.out_channels, 3, padding=1, bias=False)
        self.conv_stem.weight = net.conv_stem.weight
        self.bn1 = net.bn1
        self.blocks = net.blocks
        self.widths = [_width(self.blocks[stage]) for stage in CLOSES_SCALE]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to [S2, S3, S4]."""
        x = self.bn1(self.conv_stem(images))
        features = []
        for stage, blocks in enumerate(self.blocks):
            x = blocks(x)
            if stage in CLOSES_SCALE:
                features.append(x)
        return features


class EEffNet(EffNet):
    """EffNet with extended convolutions on each closed scale and cross-scale fusion.

    From stage 3 on, while the trunk's blocks run on the lowest branch, every closed scale passes
    as many copies of its own last block, and TotalFusion mixes all branches after the stage.
    """

    def __init__(self, trunk: str, activation: str) -> None:
        super().__init__(trunk, activation)
        self.extended = nn.ModuleDict()
        self.fusions = nn.ModuleDict()
        donors, widths = [], []
        for stage, blocks in enumerate(self.blocks):
            if donors:
                self.extended[str(stage)] = nn.ModuleList(
                    nn.Sequential(*(_extended(donor, block) for block in blocks))
                    for donor in donors
                )
                branches = [*widths, _width(blocks)]
                drop_path = _drop_rate(blocks[-1])
                self.fusions[str(stage)] = TotalFusion(branches, branches, drop_path, activation)
            if stage in CLOSES_SCALE:
                donors.append(blocks[-1])
                widths.append(_width(blocks))

    def copy_donors(self) -> None:
        """Set every extended convolution to the present weights of the block it extends."""
        donors = [self.blocks[stage][-1] for stage in CLOSES_SCALE]
        for branches in self.extended.values():
            for donor, copies in zip(donors, branches, strict=False):
                for copied in copies:
                    copied.load_state_dict(donor.state_dict())

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to [S2, S3, S4]."""
        x = self.bn1(self.conv_stem(images))
        closed: list[Tensor] = []
        for stage, blocks in enumerate(self.blocks):
            x = blocks(x)
            if closed:
                extended = self.extended[str(stage)]
                closed = [copies(c) for copies, c in zip(extended, closed, strict=True)]
                *closed, x = self.fusions[str(stage)]([*closed, x])
            if stage in CLOSES_SCALE:
                closed.append(x)
        return closed


def _extended(donor: nn.Module, beside: nn.Module) -> nn.Module:
    copied = deepcopy(donor)
    copied.drop_path = DropPath(_drop_rate(beside))
    return copied


def _width(blocks: nn.Sequential) -> int:
    return blocks[-1].conv_pwl.out_channels


def _drop_rate(block: nn.Module) -> float:
    return getattr(block.drop_path, "drop_prob", 0.0)
