"""What SimpleBaseline's tensors are called in the authors' and in MMPose's checkpoints."""

from __future__ import annotations

from torch import nn

from pose.weights.naming import Naming, mmpose


def trunk_key(key: str) -> str | None:
    """Our name of a tensor of torchvision's ResNet files; None for the classifier's."""
    return None if key.startswith("fc.") else key


def official(model: nn.Module, key: str) -> str:
    """The authors keep the trunk's and the head's tensors side by side."""
    return key.removeprefix("backbone.").removeprefix("head.")


NAMINGS = [Naming("official", official), *mmpose()]
