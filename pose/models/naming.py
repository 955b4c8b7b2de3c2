"""How a project calls and shapes the tensors of one of our models in its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


def _same_tensor(key: str, tensor: Tensor) -> Tensor:
    return tensor


def _never(key: str) -> bool:
    return False


def own_names(model: nn.Module, key: str) -> str:
    """The ``original_key`` of a naming that is ours too."""
    return key


@dataclass(frozen=True)
class Naming:
    """The names and shapes of a model's tensors in one project's checkpoints.

    ``original_key(model, key)``: the project's name of ``key``, one of ``model.state_dict()``'s.
    ``to_original(key, tensor)``: the tensor of that (our) key as the project shapes it, and
    ``from_original`` the way back. ``dropped(key)``: whether the project's ``key`` names a tensor
    that its checkpoints may hold and that our model does without. ``advice`` is added to the error
    when a checkpoint does not fit.
    """

    name: str
    original_key: Callable[[nn.Module, str], str] = own_names
    to_original: Callable[[str, Tensor], Tensor] = _same_tensor
    from_original: Callable[[str, Tensor], Tensor] = _same_tensor
    dropped: Callable[[str], bool] = _never
    advice: str = ""


def mmpose(original_key: Callable[[nn.Module, str], str] = own_names) -> list[Naming]:
    """MMPose's two namings of a model, given that of version 1.0 on.

    There the parts are ``backbone`` and ``head``; before, the latter was ``keypoint_head``.
    """

    def before(model: nn.Module, key: str) -> str:
        key = original_key(model, key)
        return f"keypoint_{key}" if key.startswith("head.") else key

    return [Naming("mmpose-1", original_key), Naming("mmpose-0", before)]
