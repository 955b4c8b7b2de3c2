"""SimpleBaseline (Xiao et al., ECCV 2018): a ResNet and three transposed convolutions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import torchvision
from torch import nn

from pose.models.deconv_head import DeconvNet
from pose.models.family import Family, Start
from pose.models.initialisation import normal_
from pose.models.naming import Naming, mmpose

WIDTH = 2048


def trunk_key(key: str) -> str | None:
    """Our name of a tensor of torchvision's ResNet files; None for the classifier's."""
    return None if key.startswith("fc.") else key


def official(model: nn.Module, key: str) -> str:
    """The authors keep the trunk's and the head's tensors side by side."""
    return key.removeprefix("backbone.").removeprefix("head.")


class SimpleBaseline(DeconvNet):
    """A ResNet, whose blocks of stride 2 have it on the 3x3 convolution, and the head."""

    namings: ClassVar = [Naming("official", official), *mmpose()]

    def imagenet_starts(self, file: str) -> Iterator[Start]:
        yield Start(self.backbone, file, trunk_key)


def simplebaseline(depth: int, *, num_keypoints: int) -> SimpleBaseline:
    """Build SimpleBaseline on ResNet-50 or -152; weights from N(0, 0.001^2) as published."""
    resnet = getattr(torchvision.models, f"resnet{depth}")()
    parts = resnet.named_children()
    trunk = OrderedDict((name, part) for name, part in parts if name not in ("avgpool", "fc"))
    model = SimpleBaseline(nn.Sequential(trunk), WIDTH, num_keypoints)
    model.imagenet = f"resnet{depth}"
    normal_(model.backbone)
    return model


FAMILY = Family(
    models={f"simplebaseline-r{depth}": partial(simplebaseline, depth) for depth in (50, 152)},
    source="microsoft/human-pose-estimation.pytorch 49f3f44",
    licence="MIT",
    bibtex="""@inproceedings{xiao2018simple,
  title={Simple Baselines for Human Pose Estimation and Tracking},
  author={Xiao, Bin and Wu, Haiping and Wei, Yichen},
  booktitle={ECCV},
  year={2018}
}""",
    parity={"simplebaseline-r50": "heat maps", "simplebaseline-r152": "statistics"},
)
