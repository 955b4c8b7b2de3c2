"""What limits a step: its arithmetic, the bytes that its operators move, and their calls.

The bytes are counted while a step runs; the rates are measured on this machine in the same run.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pose.bench.measure import interleave
from pose.kernels import mbconv

PRODUCT = re.compile("aten::(conv|linear)|mm|mkldnn_conv")


class Traffic(TorchDispatchMode):
    """Notes the bytes of each operator's inputs and outputs, once each; views move none.

    ``operators``: these bytes. ``seconds``: how long matrix products and convolutions, our kernels
    and all others took.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[int] = []
        self.seconds = {"products": 0.0, "kernels": 0.0, "others": 0.0}

    def note(self, kind: str, seconds: float, tensors: Any) -> None:
        self.seconds[kind] += seconds
        found = (leaf for leaf in tree_leaves(tensors) if isinstance(leaf, Tensor))
        self.operators.append(sum(min(t.nbytes, t.untyped_storage().nbytes()) for t in found))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        started = time.perf_counter()
        output = func(*args, **(kwargs or {}))
        seconds = time.perf_counter() - started
        if not func.is_view and "empty" not in func.name():
            kind = "products" if PRODUCT.search(func.name()) else "others"
            self.note(kind, seconds, (args, kwargs, output))
        return output


def traffic(step: Callable[[], object]) -> Traffic:
    """What the operators of ``step``, our kernels among them, move at the least and their time."""
    counted, call = Traffic(), mbconv._call

    def kernel(name: str, shape: object, *tensors: Tensor | None) -> None:
        started = time.perf_counter()
        call(name, shape, *tensors)
        counted.note("kernels", time.perf_counter() - started, tensors)

    with mock.patch.object(mbconv, "_call", kernel), counted:
        step()
    return counted


@cache
def _adding(size: int) -> float:
    """Seconds of adding two arrays into a third, ``size`` bytes together, at best."""
    arrays = torch.ones(3, size // 12)
    return min(interleave({"": lambda: torch.add(arrays[0], arrays[1], out=arrays[2])}, 20)[""])


def moving(operators: list[int]) -> float:
    """Seconds of as many additions that read and write as many bytes: in a cache if so many fit."""
    sizes = (1 << min(max(size.bit_length(), 8), 28) for size in operators)
    return sum(_adding(whole) * size / whole for size, whole in zip(operators, sizes, strict=True))


def roofline(counted: Traffic, arithmetic: float, seconds: float, times: float = 1.0) -> str:
    """Which shares of ``seconds`` the arithmetic and the traffic take at the rates measured here.

    ``arithmetic``: seconds at the peak. ``counted``: what :func:`traffic` gave, of ``1 / times``
    of the step; last come the shares of its own operators' time.
    """
    gigabytes, count = times * sum(counted.operators) / 1e9, times * len(counted.operators)
    moved, whole = times * moving(counted.operators) / seconds, sum(counted.seconds.values())
    parts = {kind: f"{part / whole:.0%}" for kind, part in counted.seconds.items()}
    return (
        f"of {seconds:.3g} s the convolutions' arithmetic at the measured peak takes"
        f" {arithmetic / seconds:.0%}; additions that move the {gigabytes:.3g} GB of its"
        f" {count:.0f} operators take {moved:.0%}. Of the operators' time products and convolutions"
        f" take {parts['products']}, our kernels {parts['kernels']}, the others {parts['others']}"
    )
