"""What HRNet's tensors are called in the authors' and in MMPose's checkpoints."""

from __future__ import annotations

from torch import nn

from pose.weights.naming import Naming, mmpose

HEAD = ("final_layer.",)
# The ImageNet files fuse into all branches at the end, and have a classifier above them.
TRUNK = ("conv1.", "bn1.", "conv2.", "bn2.", "layer1.", "transition", "stage")
UNUSED = tuple(f"stage4.2.fuse_layers.{branch}." for branch in (1, 2, 3))


def trunk_key(key: str) -> str | None:
    """Our name of a tensor of the authors' ImageNet files; None for what is not of the trunk."""
    return key if key.startswith(TRUNK) and not key.startswith(UNUSED) else None


def in_parts(model: nn.Module, key: str) -> str:
    """The authors keep the trunk's and the head's tensors side by side, MMPose does not."""
    return f"{'head' if key.startswith(HEAD) else 'backbone'}.{key}"


NAMINGS = [Naming("official"), *mmpose(in_parts)]
