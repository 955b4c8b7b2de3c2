"""Choosing the device."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pose.support.errors import PoseError

if TYPE_CHECKING:
    import torch


def device_name(text: str) -> str:
    """``text`` if it names a device; PoseError otherwise."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise PoseError(f"device {text!r}: give auto, cpu, cuda or cuda:NUMBER")
    return text


def select_device(name: str) -> torch.device:
    """``auto`` is a GPU where one works, else the CPU, said in a line; PoseError for a missing GPU.

    Of the processes that torchrun starts on a machine, each takes the GPU of its number.
    """
    import torch  # here, so that a wrong name is told without waiting for it

    number = int(os.environ.get("LOCAL_RANK", 0))
    index = int(device_name(name).partition(":")[2] or number)
    problem = "" if name == "cpu" else _problem(index)
    if problem and name == "auto":
        if number == 0:
            print(f"device auto: {problem}; running on the CPU", file=sys.stderr)
        name = "cpu"
    elif problem:
        raise PoseError(f"device {name} was asked for but {problem}; set device: cpu or auto")
    device = torch.device("cpu") if name == "cpu" else torch.device("cuda", index)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Tiny activations far below float32's normal range cost CPUs up to a hundredfold.
    torch.set_flush_denormal(True)
    return device


def hardware(device: torch.device) -> str:
    """What a GPU or the CPU calls itself."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())


def _problem(index: int) -> str:
    """Why CUDA cannot be used on this machine, or nothing; PoseError for a GPU too many."""
    import torch

    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not visible:
        return "no GPU is visible"
    if index >= visible:
        raise PoseError(
            f"no GPU {index}: only {visible} visible; name another, or lower --nproc-per-node"
        )
    try:
        torch.zeros(1, device=f"cuda:{index}")
    except RuntimeError as error:
        return f"CUDA does not work ({str(error).splitlines()[0]})"
    return ""
