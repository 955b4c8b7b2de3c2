"""Initial weights that the published recipes share."""

from __future__ import annotations

from torch import nn

from pose.support.errors import PoseError, nearest

INITS = ("scratch", "imagenet")


def from_imagenet(init: str) -> bool:
    """Whether ``init``, "scratch" or "imagenet", asks for published weights; else PoseError."""
    if init not in INITS:
        raise PoseError(f"unknown init {init!r}{nearest(init, INITS)}")
    return init == "imagenet"


def normal_(module: nn.Module, std: float = 0.001) -> None:
    """Draw every (transposed) convolution from N(0, std^2); biases 0, batch normalisation 1 and 0.

    HRNet and SimpleBaseline initialise their whole nets so, and what ImageNet cannot initialise.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
