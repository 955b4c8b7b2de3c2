"""How far a training has come, and the losses on the way."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

SMALLEST_SCALE = 1.0
"""Of a loss in fp16: where gradients overflow even so, they are no numbers at any scale."""


@dataclass
class Position:
    """Finished epochs, warm-up included, and steps into the next.

    ``infinite``: of these steps, those without a finite loss, which the sum leaves out;
    ``skipped``: those that fp16 skipped.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    infinite: int = 0
    skipped: int = 0

    @property
    def loss(self) -> float:
        """The mean loss of these steps."""
        finite = self.step - self.infinite
        return self.loss_sum / finite if finite else float("nan")


class SpoiltError(Exception):
    """The numbers of a step of the epoch, from which no later one recovers."""

    def __init__(self, what: str, step: int, rate: float) -> None:
        super().__init__(what)
        self.step, self.rate = step, rate


class Losses:
    """The losses of the steps since they were last read, still on the device.

    ``scaled``: fp16 skips a step that is not finite, and lowers ``scale``, that of the loss.
    """

    def __init__(self, scaled: bool, scale: float) -> None:
        self.scaled, self.scale = scaled, scale
        self.unread: list[tuple[int, float, Tensor, Tensor]] = []

    def add(self, step: int, rate: float, loss: Tensor, scale: Tensor) -> None:
        """Note a step: its learning rate and loss, and the loss's scale after it."""
        self.unread.append((step, rate, loss, scale))

    def read(self, position: Position) -> list[float]:
        """Wait for the device, count what is unread in ``position``, and return the finite losses.

        SpoiltError at the first loss that is not finite or, where they are scaled, once the scale
        has collapsed.
        """
        steps, rates, losses, scales = zip(*self.unread, strict=True)
        self.unread = []
        losses, scales = torch.stack([torch.stack(losses), torch.stack(scales)]).tolist()
        for step, rate, loss, scale in zip(steps, rates, losses, scales, strict=True):
            if isfinite(loss):
                position.loss_sum += loss
            elif not self.scaled:
                raise SpoiltError(f"loss is {loss}", step, rate)
            if scale < SMALLEST_SCALE:
                raise SpoiltError(f"the loss's scale has fallen to {scale:g}", step, rate)
            position.infinite += not isfinite(loss)
            position.skipped += scale < self.scale
            self.scale = scale
        return [loss for loss in losses if isfinite(loss)]
