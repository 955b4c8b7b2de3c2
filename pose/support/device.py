"""Choosing the device."""

from __future__ import annotations

import os

import torch

from pose.support.errors import PoseError


def select_device(name: str) -> torch.device:
    """``auto`` is a GPU where there is one, else the CPU; PoseError for a missing GPU.

    Of the processes that torchrun starts on a machine, each takes the GPU of its number.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise PoseError(
                "device cuda was asked for but no GPU is visible; set device: cpu or auto"
            )
        number, visible = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if number >= visible:
            raise PoseError(
                f"process {number} has no GPU: only {visible} visible; lower --nproc-per-node"
            )
        if device.index is None:
            device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    # Tiny activations far below float32's normal range cost CPUs up to a hundredfold.
    torch.set_flush_denormal(True)
    return device
