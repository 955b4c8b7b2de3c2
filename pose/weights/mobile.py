"""What the mobile nets' tensors are called in MMPose's checkpoints; ours are torchvision's."""

from __future__ import annotations

import re

from torch import nn

from pose.weights.naming import Naming, mmpose

# Where MMPose has what torchvision counts from 0 to 18.
PLACES = (
    "conv1",
    *(f"layer{i}.{block}" for i, n in enumerate((1, 2, 3, 4, 3, 3, 1), 1) for block in range(n)),
    "conv2",
)
# A BN follows its convolution, at the next place; ReLUs take places in between.
SHUFFLE_BRANCHES = {
    "branch1": ("0.conv", "0.bn", "1.conv", "1.bn"),
    "branch2": ("0.conv", "0.bn", "", "1.conv", "1.bn", "2.conv", "2.bn"),
}


def trunk_key(key: str) -> str | None:
    """Our name of a tensor of torchvision's files; None for the classifier's."""
    return None if key.startswith(("classifier.", "fc.")) else key.removeprefix("features.")


def mobilenetv2(model: nn.Module, key: str) -> str:
    """torchvision counts all blocks in one sequence, MMPose by layers."""
    match = re.fullmatch(r"backbone\.(\d+)\.(?:conv\.)?(.+)", key)
    if match is None:
        return key
    place, rest = PLACES[int(match[1])], match[2]
    if place.startswith("conv"):
        return f"backbone.{place}.{_named(rest)}"
    position, _, last = rest.partition(".")
    projection = 1 if place == "layer1.0" else 2  # the first block does not expand
    if int(position) < projection:
        return f"backbone.{place}.conv.{position}.{_named(last)}"
    rest = f"{int(position) - projection}.{last}"
    return f"backbone.{place}.conv.{projection}.{_named(rest)}"


def shufflenetv2(model: nn.Module, key: str) -> str:
    """torchvision has stages 2-4 and conv5 where MMPose counts layers from 0."""
    key = re.sub(r"^backbone\.conv1\.(.+)", lambda m: f"backbone.conv1.{_named(m[1])}", key)
    key = re.sub(r"^backbone\.conv5\.(.+)", lambda m: f"backbone.layers.3.{_named(m[1])}", key)

    def branch(match: re.Match[str]) -> str:
        stage, block, name, place = match.groups()
        layer = SHUFFLE_BRANCHES[name][int(place)]
        return f"backbone.layers.{int(stage) - 2}.{block}.{name}.{layer}."

    return re.sub(r"^backbone\.stage(\d)\.(\d+)\.(branch\d)\.(\d+)\.", branch, key)


def mobilenetv3(model: nn.Module, key: str) -> str:
    """No checkpoint of the fitted net exists; these are the names in its parity fixture."""
    key = re.sub(r"^backbone\.conv2\.", "backbone.c.", key)
    key = re.sub(r"^backbone\.(conv1|layer)", r"backbone.b.\1", key)
    return re.sub(r"\.se\.(conv\d)\.", r".se.\1.conv.", key)


def _named(key: str) -> str:
    """``0.weight`` to ``conv.weight``, ``1.weight`` to ``bn.weight``."""
    place, _, rest = key.partition(".")
    return f"{('conv', 'bn')[int(place)]}.{rest}"


MOBILENETV2 = mmpose(mobilenetv2)
SHUFFLENETV2 = mmpose(shufflenetv2)
MOBILENETV3 = [Naming("fitted", mobilenetv3)]
