"""MobileNetV2 and ShuffleNetV2 for poses, as in MMPose: the trunk and SimpleBaseline's head."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator

import torchvision
from torch import nn

from pose.models.deconv_head import DeconvNet
from pose.models.family import Family, Start
from pose.models.naming import mmpose

# MMPose's names of torchvision's blocks 0 to 18.
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


def mobilenetv2_key(model: nn.Module, key: str) -> str:
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


def shufflenetv2_key(model: nn.Module, key: str) -> str:
    """torchvision has stages 2-4 and conv5 where MMPose counts layers from 0."""
    key = re.sub(r"^backbone\.conv1\.(.+)", lambda m: f"backbone.conv1.{_named(m[1])}", key)
    key = re.sub(r"^backbone\.conv5\.(.+)", lambda m: f"backbone.layers.3.{_named(m[1])}", key)

    def branch(match: re.Match[str]) -> str:
        stage, block, name, place = match.groups()
        layer = SHUFFLE_BRANCHES[name][int(place)]
        return f"backbone.layers.{int(stage) - 2}.{block}.{name}.{layer}."

    return re.sub(r"^backbone\.stage(\d)\.(\d+)\.(branch\d)\.(\d+)\.", branch, key)


def _named(key: str) -> str:
    """``0.weight`` to ``conv.weight``, ``1.weight`` to ``bn.weight``."""
    place, _, rest = key.partition(".")
    return f"{('conv', 'bn')[int(place)]}.{rest}"


class MobileNet(DeconvNet):
    """A net whose trunk is torchvision's."""

    def imagenet_starts(self, file: str) -> Iterator[Start]:
        yield Start(self.backbone, file, trunk_key)


class MobileNetV2Pose(MobileNet):
    """MobileNetV2 1.0 with its last convolution, to 1280 channels, and the head."""

    namings = mmpose(mobilenetv2_key)
    imagenet = "mobilenet_v2"


class ShuffleNetV2Pose(MobileNet):
    """ShuffleNetV2 1.0x with its last convolution, to 1024 channels, and the head."""

    namings = mmpose(shufflenetv2_key)
    imagenet = "shufflenet_v2_x1_0"


def mobilenetv2(*, num_keypoints: int) -> MobileNetV2Pose:
    """Build it; published weights of the trunk are torchvision's."""
    return MobileNetV2Pose(torchvision.models.mobilenet_v2().features, 1280, num_keypoints)


def shufflenetv2(*, num_keypoints: int) -> ShuffleNetV2Pose:
    """Build it; published weights of the trunk are torchvision's."""
    shufflenet = torchvision.models.shufflenet_v2_x1_0()
    trunk = OrderedDict((name, part) for name, part in shufflenet.named_children() if name != "fc")
    return ShuffleNetV2Pose(nn.Sequential(trunk), 1024, num_keypoints)


FAMILY = Family(
    models={"mobilenetv2": mobilenetv2, "shufflenetv2": shufflenetv2},
    source="open-mmlab/mmpose 759b39c, configs/body_2d_keypoint/topdown_heatmap",
    licence="Apache-2.0",
    bibtex="""@misc{mmpose2020,
  title={OpenMMLab Pose Estimation Toolbox and Benchmark},
  author={MMPose Contributors},
  howpublished={https://github.com/open-mmlab/mmpose},
  year={2020}
}""",
    parity={"mobilenetv2": "heat maps", "shufflenetv2": "statistics"},
)
