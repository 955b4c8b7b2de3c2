"""Choosing the device."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pose.support.allocator import keep_freed_memory
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
    keep_freed_memory()
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


@contextmanager
def arithmetic(
    tf32: bool = False, benchmark: bool = False, deterministic: bool = False
) -> Iterator[None]:
    """How GPUs compute until the block ends; by default in fp32 where fp32 is asked for.

    PyTorch's own default is TF32 for convolutions, 10 bits of mantissa instead of 23. ``benchmark``
    and ``deterministic`` are those of :class:`pose.config.Training`.
    """
    import torch

    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=benchmark, deterministic=deterministic, allow_tf32=tf32
        ):
            yield
    finally:
        torch.use_deterministic_algorithms(before)


OTHER_TORCH = "install a torch of an older CUDA (docs/cluster.md), or set device: cpu"


def require_driver(message: str, cuda: str) -> None:
    """PoseError where torch's ``message`` tells that the driver is older than its ``cuda``."""
    if found := re.search(r"driver on your system is too old \(found version (\d+)\)", message):
        major, minor = divmod(int(found[1]) // 10, 100)
        raise PoseError(
            f"the GPU's driver knows CUDA up to {major}.{minor}, and the installed torch needs"
            f" {cuda}: update the driver, {OTHER_TORCH}"
        )


def require_capability(name: str, capability: tuple[int, int], built_for: list[str]) -> None:
    """PoseError for a GPU of a compute capability for which none of ``built_for`` has code.

    ``sm_80`` runs on 8.0 and 8.6 but not on 9.0; ``compute_80`` on all from 8.0 on.
    """
    for kind, major, minor in re.findall(r"(sm|compute)_(\d+)(\d)", " ".join(built_for)):
        known = int(major), int(minor)
        if known <= capability and (kind == "compute" or known[0] == capability[0]):
            return
    raise PoseError(
        f"{name} has compute capability {'{}.{}'.format(*capability)}, for which the installed"
        f" torch has no code ({', '.join(built_for)}): {OTHER_TORCH}"
    )


def _problem(index: int) -> str:
    """Why CUDA cannot be used on this machine, or nothing.

    PoseError for a GPU too many, and for one that is there but not for the installed torch.
    """
    import torch

    if not torch.cuda.is_available():
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:
            require_driver(str(error), str(torch.version.cuda))
        return "no GPU is visible"
    visible = torch.cuda.device_count()
    if index >= visible:
        raise PoseError(
            f"no GPU {index}: only {visible} visible; name another, or lower --nproc-per-node"
        )
    name, built_for = torch.cuda.get_device_name(index), torch.cuda.get_arch_list()
    require_capability(name, torch.cuda.get_device_capability(index), built_for)
    try:
        torch.zeros(1, device=f"cuda:{index}")
    except RuntimeError as error:
        return f"CUDA does not work ({str(error).splitlines()[0]})"
    return ""
