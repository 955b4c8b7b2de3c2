"""Less memory for more time: what a block computed is computed again in the backward pass.

Of each block only its input is kept (Chen et al., Training Deep Nets with Sublinear Memory Cost,
2016). Random numbers are drawn again as they were, and running statistics are left alone the second
time, so that nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The outermost members of ``model``'s sequences and lists that hold several convolutions."""
    for layer in model.children():
        if isinstance(model, CONTAINERS) and not isinstance(layer, CONTAINERS) and _deep(layer):
            yield layer
        else:
            yield from blocks(layer)


def _deep(layer: nn.Module) -> bool:
    return sum(isinstance(inner, nn.Conv2d) for inner in layer.modules()) > 1


def recompute_blocks(model: nn.Module) -> None:
    """Let every block of ``model`` keep its input alone, in training."""
    for block in blocks(model):
        block.forward = partial(_checkpointed, block, block.forward)


def _checkpointed(block: nn.Module, forward: Any, *inputs: Any) -> Any:
    if not block.training:
        return forward(*inputs)
    contexts = lambda: (nullcontext(), _without_statistics(block))  # noqa: E731
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def _without_statistics(block: nn.Module) -> Iterator[None]:
    norms = [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:  # PyTorch ends a block early by an exception, once it has what it needs
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
