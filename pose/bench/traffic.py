"""What limits a step: its arithmetic, the bytes that its operators move, and their calls.

The bytes are counted while a step runs; the rates are measured on this machine in the same run.
"""

from __future__ import annotations

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


class Traffic(TorchDispatchMode):
    """Notes the bytes of each operator's inputs and outputs, once each; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[int] = []

    def note(self, tensors: Any) -> None:
        found = (leaf for leaf in tree_leaves(tensors) if isinstance(leaf, Tensor))
        self.operators.append(sum(min(t.nbytes, t.untyped_storage().nbytes()) for t in found))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in func.name():
            self.note((args, kwargs, output))
        return output


def traffic(step: Callable[[], object]) -> list[int]:
    """The bytes that each operator of ``step`` reads and writes at the least, our kernels' too."""
    counted, call = Traffic(), mbconv._call

    def kernel(name: str, shape: object, *tensors: Tensor | None) -> None:
        counted.note(tensors)
        call(name, shape, *tensors)

    with mock.patch.object(mbconv, "_call", kernel), counted:
        step()
    return counted.operators


@cache
def _adding(size: int) -> float:
    """Seconds of adding two arrays into a third, ``size`` bytes together, at best."""
    arrays = torch.ones(3, size // 12)
    return min(interleave({"": lambda: torch.add(arrays[0], arrays[1], out=arrays[2])}, 20)[""])


def moving(operators: list[int]) -> float:
    """Seconds of as many additions that read and write as many bytes: in a cache if so many fit."""
    sizes = (1 << min(max(size.bit_length(), 8), 28) for size in operators)
    return sum(_adding(whole) * size / whole for size, whole in zip(operators, sizes, strict=True))


def roofline(operators: list[int], arithmetic: float, seconds: float, times: float = 1.0) -> str:
    """Which shares of ``seconds`` the arithmetic and the traffic take at the rates measured here.

    ``arithmetic``: seconds at the peak. ``operators``: what :func:`traffic` gave, of ``1 / times``
    of the step.
    """
    gigabytes, count = times * sum(operators) / 1e9, times * len(operators)
    return (
        f"of {seconds:.3g} s the convolutions' arithmetic at the measured peak takes"
        f" {arithmetic / seconds:.0%}; additions that move the {gigabytes:.3g} GB of its"
        f" {count:.0f} operators take {times * moving(operators) / seconds:.0%}"
    )
