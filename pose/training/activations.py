"""Counting what a forward pass keeps for the backward pass, without a GPU and without computing.

The net is made of fake tensors, which have a device, a size and a type but no content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from pose.training.memory import BYTES_A_PARAMETER, Need

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def count(
    build: Callable[[], nn.Module], size: tuple[int, int], precision: str, images: int
) -> Need:
    """The need of training the net that ``build`` makes, at an input of ``size``, on a GPU.

    Counted for a chunk of that many ``images``, whose share of the copies of weights in 16 bits
    each one bears.
    """
    with torch.device("meta"):
        model = build().train()
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cuda")
        kept = _kept(model, torch.empty(images, 3, *size, device="cuda"), precision)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Need(BYTES_A_PARAMETER * parameters, kept / images)


def _kept(model: nn.Module, images: Tensor, precision: str) -> int:
    """Bytes that a forward pass keeps, weights excepted."""
    kept: dict[int, Tensor] = {}  # the tensors live on, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with _autocast(AUTOCAST.get(precision)), saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images)
    for tensor in model.state_dict().values():
        kept.pop(tensor.untyped_storage()._cdata, None)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@contextmanager
def _autocast(dtype: torch.dtype | None) -> Iterator[None]:
    """``torch.autocast("cuda")``, which refuses to work where there is no GPU."""
    if dtype is None:
        yield
        return
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)
