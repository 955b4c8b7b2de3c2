"""The optimiser of a training."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

from pose.config import Training


def create_optimizer(model: nn.Module, settings: Training) -> Optimizer:
    """The optimiser over all parameters of ``model``, at the highest learning rate."""
    chosen = settings.optimizer
    common = {
        "lr": settings.lr,
        "weight_decay": chosen.weight_decay,
        "fused": settings.fused,
    }
    if chosen.name == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=chosen.momentum, **common)
    return torch.optim.Adam(model.parameters(), **common)
