"""SimpleBaseline (Xiao et al., ECCV 2018): a ResNet and three transposed convolutions."""

from __future__ import annotations

from collections import OrderedDict

import torchvision
from torch import nn

from pose.models.deconv_head import DeconvNet
from pose.models.initialisation import from_imagenet, normal_

WIDTH = 2048


class SimpleBaseline(DeconvNet):
    """A ResNet, whose blocks of stride 2 have it on the 3x3 convolution, and the head."""


def simplebaseline(depth: int, *, num_keypoints: int, init: str = "scratch") -> SimpleBaseline:
    """Build SimpleBaseline on ResNet-50 or -152.

    ``init``: "scratch", all from N(0, 0.001^2) as published; or "imagenet", where the trunk's are
    torchvision's (see :func:`pose.weights.fetch`).
    """
    resnet = getattr(torchvision.models, f"resnet{depth}")()
    parts = resnet.named_children()
    trunk = OrderedDict((name, part) for name, part in parts if name not in ("avgpool", "fc"))
    model = SimpleBaseline(nn.Sequential(trunk), WIDTH, num_keypoints)
    normal_(model.backbone)
    if from_imagenet(init):
        from pose.weights import load_backbone  # the published files are needed only here
        from pose.weights.simplebaseline import trunk_key

        load_backbone(model.backbone, f"resnet{depth}", trunk_key)
    return model
