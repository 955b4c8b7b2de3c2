"""The machine's peak: float32 matrix products of a size that its caches like."""

from __future__ import annotations

from functools import cache

import torch

from pose.bench.measure import Row, Settings, interleave, summary

SIDE = 1024


def measure(settings: Settings) -> list[Row]:
    rates = _rates(4 * settings.repeats)
    return [Row("gemm", f"torch.mm {SIDE}", *summary(rates), len(rates), "GFLOP/s")]


@cache
def peak() -> float:
    """The best rate seen in this run, GFLOP/s with the present number of threads."""
    return max(_rates(20))


def _rates(repeats: int) -> list[float]:
    a, b = torch.randn(2, SIDE, SIDE)
    seconds = interleave({"mm": lambda: torch.mm(a, b)}, repeats, warmup=3)["mm"]
    return [2 * SIDE**3 / s / 1e9 for s in seconds]
