"""Choosing the device."""

from __future__ import annotations

import torch

from pose.errors import PoseError


def select_device(name: str) -> torch.device:
    """``auto`` is the first GPU where there is one, else the CPU; PoseError for a missing GPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise PoseError("device cuda was asked for but no GPU is visible; set device: cpu or auto")
    # Tiny activations far below float32's normal range cost CPUs up to a hundredfold.
    torch.set_flush_denormal(True)
    return device
