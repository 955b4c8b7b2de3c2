"""What a check is given and what it finds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor


class SkipError(Exception):
    """The reason why a check cannot run here."""


@dataclass(frozen=True)
class Setup:
    """Where a check runs. A CPU, which stands for a GPU to try the check, gets the least of it."""

    device: torch.device

    @property
    def quick(self) -> bool:
        return self.device.type == "cpu"

    def require_gpu(self, why: str) -> None:
        """SkipError on a CPU."""
        if self.quick:
            raise SkipError(why)


@dataclass
class Findings:
    """Figures by name, and which of them are beyond their limits."""

    figures: dict[str, object] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def note(self, name: str, value: object) -> None:
        """A figure without a limit."""
        self.figures[name] = round(value, 9) if isinstance(value, float) else value

    def at_most(self, name: str, value: float, limit: float) -> None:
        self.note(name, value)
        self.require(value <= limit, f"{name} is {value:.3g}, above {limit:g}")

    def above(self, name: str, value: float, limit: float) -> None:
        self.note(name, value)
        self.require(value > limit, f"{name} is {value:.3g}, not above {limit:g}")

    def require(self, holds: bool, failure: str) -> None:
        """``failure`` says what is wrong where something does not hold."""
        if not holds:
            self.failures.append(failure)


def largest_error(value: Tensor, truth: Tensor) -> float:
    """The largest difference, relative to the largest number; infinite where one is not finite."""
    return _finite((value.cpu().double() - truth).abs().max() / truth.abs().max())


def error(value: Tensor, truth: Tensor) -> float:
    """The length of the difference of two vectors, relative to the length of ``truth``."""
    return _finite((value.cpu().double() - truth).norm() / truth.norm())


def _finite(value: Tensor) -> float:
    return value.item() if value.isfinite() else math.inf
