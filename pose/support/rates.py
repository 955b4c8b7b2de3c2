"""Timing on a CPU or a GPU, and what the device can do at best."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def seconds(run: Callable[[], object], device: torch.device, calls: int = 1) -> float:
    """Seconds a call takes, of ``calls`` one after the other, as the device itself counts them."""
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - began) / calls
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    for _ in range(calls):
        run()
    ended.record()
    ended.synchronize()
    return began.elapsed_time(ended) / 1e3 / calls


def bandwidth(device: torch.device) -> float:
    """GB/s of memory read and written, by the copy of a tensor larger than any cache."""
    size = 2**28 if device.type == "cuda" else 2**24
    source = torch.zeros(size // 4, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * size / seconds(lambda: target.copy_(source), device, 20) / 1e9


def product_rate(device: torch.device) -> float:
    """TFLOP/s of products of large square matrices in bfloat16."""
    side = 8192 if device.type == "cuda" else 256
    left = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    left @ left
    return 2 * side**3 / seconds(lambda: left @ left, device, 20) / 1e12
