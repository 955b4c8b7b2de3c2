"""Read the tensors of a checkpoint file, whatever its project wrapped around them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import safe_globals

from pose.support.errors import PoseError

WRAPPERS = ("state_dict", "model_state_dict", "model")  # what training scripts call the tensors
PREFIX = re.compile(r"(?:model\.|module\.)+")  # a trainer's attribute, DataParallel's


class _Unread:
    """Stands for an object of OpenMMLab's training log, of which nothing is wanted."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# What OpenMMLab's checkpoints hold beside tensors: arrays that describe the data set, under the
# names of NumPy 1 and 2, and the training log's buffers. None of these can run code.
HARMLESS = [
    *(
        (function, f"numpy.{core}.multiarray.{function.__name__}")
        for function in (np._core.multiarray._reconstruct, np._core.multiarray.scalar)
        for core in ("core", "_core")
    ),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdU"},
    (_Unread, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_Unread, "builtins.getattr"),
]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    Reads safetensors and torch files, of which nothing that could run code is unpickled. Takes the
    tensors out of a training checkpoint's ``state_dict``, ``model_state_dict`` or ``model``, and
    drops the prefixes ``module.`` and ``model.`` where all names have them. Raises PoseError for a
    missing or unreadable file and for one that holds anything but tensors there.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            with safe_globals(HARMLESS):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise PoseError(f"{path}: no such file; fetch it first") from None
    except Exception as error:  # a torn or foreign file shows itself in many exception types
        reason = str(error).partition("\n")[0]
        raise PoseError(f"{path}: not a readable file of tensors only ({reason})") from None
    state = _unwrapped(content)
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise PoseError(f"{path}: holds something other than named tensors, which is not loaded")
    if all(PREFIX.match(key) for key in state):
        state = {PREFIX.sub("", key, count=1): tensor for key, tensor in state.items()}
    return state


def _unwrapped(content: object) -> object:
    if isinstance(content, dict):
        for wrapper in WRAPPERS:
            if isinstance(content.get(wrapper), dict):
                return content[wrapper]
    return content
