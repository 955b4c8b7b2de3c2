"""The learning rate: linear warm-up, then lowered whenever the val score stalls."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pose.config import Training


class Schedule:
    """Warm-up by step and plateau by epoch over one optimiser.

    The plateau rule is PyTorch's with its default relative threshold, stepped on the negated
    score as the released code does. It also watches the warm-up epochs; it sees, and lowers, the
    rate that the warm-up leads to.
    """

    def __init__(self, optimizer: Optimizer, settings: Training, steps_per_epoch: int) -> None:
        self.optimizer = optimizer
        self.warmup_steps = settings.warmup_epochs * steps_per_epoch
        self.plateau = ReduceLROnPlateau(
            optimizer, factor=settings.plateau_factor, patience=settings.plateau_patience
        )
        self.rate = settings.lr

    def before_step(self, step: int) -> float:
        """Set and return the rate of optimisation step ``step``, counted over the training."""
        warmth = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        self._set(self.rate * warmth)
        return self.rate * warmth

    def after_epoch(self, score: float) -> None:
        """Lower the rate if ``score`` (higher is better) has stalled."""
        self._set(self.rate)
        self.plateau.step(-score)
        self.rate = self.optimizer.param_groups[0]["lr"]

    def _set(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        plateau = self.plateau
        return {"rate": self.rate, "best": plateau.best, "stalled": plateau.num_bad_epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rate = state["rate"]
        self.plateau.best = state["best"]
        self.plateau.num_bad_epochs = state["stalled"]
