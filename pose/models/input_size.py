"""The input sizes that a network takes."""

from __future__ import annotations

from torch import Tensor

from pose.support.errors import PoseError


def require_multiple(images: Tensor, multiple: int, network: str) -> None:
    """Raise PoseError unless H and W of ``images`` (B, C, H, W) are multiples of ``multiple``."""
    height, width = images.shape[-2:]
    if height % multiple or width % multiple:
        raise PoseError(
            f"{network} takes images whose sides are multiples of {multiple}, not {height}x{width}"
        )
