"""MobileNetV2 and ShuffleNetV2 for poses, as in MMPose: the trunk and SimpleBaseline's head."""

from __future__ import annotations

from collections import OrderedDict

import torchvision
from torch import nn

from pose.models.deconv_head import DeconvNet
from pose.models.initialisation import from_imagenet


class MobileNetV2Pose(DeconvNet):
    """MobileNetV2 1.0 with its last convolution, to 1280 channels, and the head."""


class ShuffleNetV2Pose(DeconvNet):
    """ShuffleNetV2 1.0x with its last convolution, to 1024 channels, and the head."""


def mobilenetv2(*, num_keypoints: int, init: str = "scratch") -> MobileNetV2Pose:
    """Build it; ``init``: "scratch" or, as published, "imagenet" (torchvision's weights)."""
    trunk = torchvision.models.mobilenet_v2().features
    model = MobileNetV2Pose(trunk, 1280, num_keypoints)
    _initialise(model, init, "mobilenet_v2")
    return model


def shufflenetv2(*, num_keypoints: int, init: str = "scratch") -> ShuffleNetV2Pose:
    """Build it; ``init``: "scratch" or, as published, "imagenet" (torchvision's weights)."""
    shufflenet = torchvision.models.shufflenet_v2_x1_0()
    trunk = OrderedDict((name, part) for name, part in shufflenet.named_children() if name != "fc")
    model = ShuffleNetV2Pose(nn.Sequential(trunk), 1024, num_keypoints)
    _initialise(model, init, "shufflenet_v2_x1_0")
    return model


def _initialise(model: DeconvNet, init: str, name: str) -> None:
    if from_imagenet(init):
        from pose.weights import load_backbone  # the published files are needed only here
        from pose.weights.mobile import trunk_key

        load_backbone(model.backbone, name, trunk_key)
