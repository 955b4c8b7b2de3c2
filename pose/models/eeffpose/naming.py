"""The names and shapes that EEffPose's tensors have in the authors' checkpoints."""

from __future__ import annotations

import re

from torch import Tensor, nn

from pose.models.eeffpose.backbone import EEffNet
from pose.models.naming import Naming

# The released EEffNet is one sequence: stem, BN, activation, then the seven stages.
FIRST_STAGE = 3

EXTENSIONS = ("extended.", "fusions.")  # EEffNet's own parts, which no published trunk has
BEYOND_TRUNK = ("conv_head.", "bn2.", "classifier.", "fpn.", "class_net.", "box_net.")


def original_key(model: nn.Module, key: str) -> str:
    """The released name of ``key``, one of ``model.state_dict()``'s."""
    part, _, rest = key.partition(".")
    if part == "backbone":
        extended = isinstance(model.backbone, EEffNet)
        return "hr_backbone." + (_eeffnet(rest, model.backbone) if extended else rest)
    if part == "head":
        return rest.replace("project.", "final_layer.layers.")
    if rest.startswith(("coarser", "cells")):
        return "fpn." + _bifpn(rest)
    repeat, _, rest = rest.partition(".")
    return f"fpn.{repeat}.{_total_fusion(rest)}"


def to_original(key: str, tensor: Tensor) -> Tensor:
    """The tensor as the released checkpoint shapes it: AddUp's weights are (1, C, inputs, 1, 1)."""
    return tensor.T[None, :, :, None, None] if _is_addup_weight(key) else tensor


def from_original(key: str, tensor: Tensor) -> Tensor:
    """The inverse of :func:`to_original`; a tensor of another rank is left as it is."""
    return tensor[0, :, :, 0, 0].T if _is_addup_weight(key) and tensor.ndim == 5 else tensor


def trunk_key(key: str) -> str | None:
    """EffNet's name of a tensor of timm's ImageNet or EfficientDet's files; None: it has none."""
    return None if key.startswith(BEYOND_TRUNK) else key.removeprefix("backbone.")


def _is_addup_weight(key: str) -> bool:
    return re.search(r"\baddup\.\d+\.weights$", key) is not None


def _eeffnet(key: str, backbone: EEffNet) -> str:
    part, _, rest = key.partition(".")
    if part in ("conv_stem", "bn1"):
        return f"{0 if part == 'conv_stem' else 1}.{rest}"
    stage, _, rest = rest.partition(".")
    position = FIRST_STAGE + int(stage)
    if part == "fusions":
        return f"{position}.fuse_layers.{_total_fusion(rest)}"
    if part == "blocks":  # the trunk is the lowest branch
        rest = f"{len(backbone.extended[stage]) if stage in backbone.extended else 0}.{rest}"
    return f"{position}.branches.{rest}"


def _total_fusion(key: str) -> str:
    def addup(match: re.Match[str]) -> str:
        scale, j, layer = match.groups()
        finer = int(int(j) < int(scale))  # a finer input is pooled first, at place 0
        return f"addup_layers.{scale}.sample_layers.{j}.{finer}.conv.{layer}"

    key = re.sub(r"^addup\.(\d+)\.project\.(\d+)\.([01])", addup, key)
    key = re.sub(r"^addup\.(\d+)\.weights", r"addup_layers.\1.weights", key)
    key = re.sub(r"^mixup\.", "mixup_layers.", key)
    return re.sub(r"^fixup\.(\d+)\.([01])", r"fixup_layers.\1.conv.\2", key)


def _bifpn(key: str) -> str:
    key = re.sub(r"^coarser\.", "resample.3.conv.", key)
    key = re.sub(r"^cells\.(\d+)\.nodes\.(\d+)\.", r"cell.\1.fnode.\2.", key)
    key = re.sub(r"\.weights$", ".combine.edge_weights", key)
    key = re.sub(r"\.project\.(\d+)\.", r".combine.resample.\1.conv.", key)
    key = re.sub(r"\.depthwise\.", ".after_combine.conv.conv_dw.", key)
    key = re.sub(r"\.pointwise\.0\.", ".after_combine.conv.conv_pw.", key)
    key = re.sub(r"\.pointwise\.1\.", ".after_combine.conv.bn.", key)
    return re.sub(r"((?:^|\.)resample\.\d+\.conv)\.([01])\.", _conv_bn, key)


def _conv_bn(match: re.Match[str]) -> str:
    return f"{match[1]}.{('conv', 'bn')[int(match[2])]}."


NAMING = Naming("released", original_key, to_original, from_original)
