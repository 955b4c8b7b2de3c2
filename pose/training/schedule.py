"""The learning rate of every step: linear warm-up, then one of the schedules of the config."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pose.config import Cyclical, Plateau, Steps, Training


class Schedule:
    """Sets the rate of one optimiser before each step, as a function of the step.

    Only the plateau rule looks at the val score besides. It is PyTorch's with its default relative
    threshold, stepped on the negated score as the released code does; it also watches the warm-up
    epochs, and sees, and lowers, the rate that the warm-up leads to.
    """

    def __init__(self, optimizer: Optimizer, settings: Training, steps_per_epoch: int) -> None:
        self.optimizer, self.settings = optimizer, settings
        self.steps_per_epoch = steps_per_epoch
        self.rate = settings.lr
        plan = settings.schedule
        self.plateau = (
            ReduceLROnPlateau(optimizer, factor=plan.factor, patience=plan.patience)
            if isinstance(plan, Plateau)
            else None
        )

    def before_step(self, step: int) -> float:
        """Set and return the rate of optimisation step ``step``, counted over the training."""
        rate = self._planned(step) * self._warmth(step)
        self._set(rate)
        return rate

    def after_epoch(self, score: float) -> None:
        """Let the plateau rule see ``score`` (higher is better)."""
        if self.plateau is None:
            return
        self._set(self.rate)
        self.plateau.step(-score)
        self.rate = self.optimizer.param_groups[0]["lr"]

    def _planned(self, step: int) -> float:
        settings = self.settings
        epoch = step / self.steps_per_epoch - settings.warmup_epochs
        match settings.schedule:
            case Steps() as plan:
                return settings.lr * steps(epoch, plan)
            case Cyclical() as plan:
                return settings.lr * cyclical(epoch, plan)
        return self.rate

    def _warmth(self, step: int) -> float:
        settings = self.settings
        length = settings.warmup_steps or settings.warmup_epochs * self.steps_per_epoch
        return min(1.0, (step + 1) / length) if length else 1.0

    def _set(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """What the step does not tell."""
        if self.plateau is None:
            return {}
        return {
            "rate": self.rate,
            "best": self.plateau.best,
            "stalled": self.plateau.num_bad_epochs,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        if self.plateau is not None:
            self.rate = state["rate"]
            self.plateau.best = state["best"]
            self.plateau.num_bad_epochs = state["stalled"]


def steps(epoch: float, plan: Steps) -> float:
    """The share of the highest rate at ``epoch``, a fraction of which has passed."""
    if plan.restart_every is not None:
        epoch %= plan.restart_every
    return plan.factor ** bisect_right(plan.milestones, epoch)


def cyclical(epoch: float, plan: Cyclical) -> float:
    """The same: from 1 / range up to 1 and back in every cycle (Smith, WACV 2017, triangular)."""
    phase = max(epoch, 0.0) / plan.cycle_epochs % 1
    height = 1 - abs(2 * phase - 1)
    lowest = 1 / plan.range
    return lowest + (1 - lowest) * height
