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
from torch.utils._pytree import tree_map_only

from pose.training.memory import BYTES_A_PARAMETER, Need
from pose.training.recompute import blocks, recompute_blocks

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def count(
    build: Callable[[], nn.Module],
    size: tuple[int, int],
    precision: str,
    images: int,
    recompute: bool = False,
) -> Need:
    """The need of training the net that ``build`` makes, at an input of ``size``, on a GPU.

    Counted for a chunk of that many ``images``, whose share of the copies of weights in 16 bits
    each one bears. With ``recompute``, what one block at a time computes again is not counted.
    """
    with torch.device("meta"):
        model = build().train()
    if recompute:
        recompute_blocks(model)
    entered = list(blocks(model)) if recompute else []
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cuda")
        kept = _kept(model, torch.empty(images, 3, *size, device="cuda"), precision, entered)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Need(BYTES_A_PARAMETER * parameters, kept / images)


def _kept(model: nn.Module, images: Tensor, precision: str, entered: list[nn.Module]) -> int:
    """Bytes that a forward pass keeps, weights excepted; the inputs of ``entered`` among them."""
    kept: dict[int, Tensor] = {}  # the tensors live on, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    for block in entered:
        block.register_forward_pre_hook(lambda _, inputs: tree_map_only(Tensor, pack, inputs))
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
