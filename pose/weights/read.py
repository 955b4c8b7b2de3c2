"""Read the tensors of a checkpoint file, whatever its project wrapped around them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from pose.support.errors import PoseError
from pose.weights import pickled
from pose.weights.refusal import reason

WRAPPERS = ("state_dict", "model_state_dict", "model")  # preferred where there are others, too
# What torch.compile calls a model or a part of one, and DataParallel a part.
WRAPPED = re.compile(r"(?<![^.])_orig_mod\.|(?<=\.)module\.")
PREFIX = re.compile(r"(?:model\.|module\.)+")  # DataParallel's, or a trainer's attribute
DEPTH = 8  # of dictionaries in each other that are searched for tensors
UNPACKED = 20  # times its size; what a file may unpack to, as weights hardly compress
NUMBERS = {
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    Reads safetensors and torch files, of which nothing is unpickled. Takes the
    tensors out of the one mapping in the file that holds some, or of the ``state_dict``,
    ``model_state_dict`` or ``model`` among several, or of a net of torch.nn's layers that was
    pickled whole. Drops the prefixes ``module.`` and ``_orig_mod.``, and ``model.`` where all names
    have it. Raises PoseError for a missing or unreadable file, for one that holds anything but
    tensors there, and for values that are not finite.
    """
    path = Path(path)
    state = _state_dict(_content(path), path)
    names = {key: WRAPPED.sub("", key) for key in state}
    if all(PREFIX.match(name) for name in names.values()):
        names = {key: PREFIX.sub("", name, count=1) for key, name in names.items()}
    if len(set(names.values())) < len(names):
        raise PoseError(f"{path}: has tensors whose names differ only in a trainer's prefix")
    if sum(tensor.nbytes for tensor in state.values()) > UNPACKED * path.stat().st_size:
        raise PoseError(f"{path}: its tensors claim more values than the file can have")
    for key, tensor in state.items():
        if problem := _problem(key, tensor):
            raise PoseError(f"{path}: its tensor {key!r} {problem}")
    return {names[key]: tensor for key, tensor in state.items()}


def _content(path: Path) -> object:
    if not path.exists():
        raise PoseError(f"{path}: no such file; fetch it first")
    if not path.is_file():
        raise PoseError(f"{path}: not a plain file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _refuse_bomb(path)
        return pickled.read(path)
    except Exception as error:  # a torn or foreign file shows itself in many exception types
        raise PoseError(
            f"{path}: not a readable file of tensors only: {reason(path, error)}"
        ) from None


def _refuse_bomb(path: Path) -> None:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > UNPACKED * path.stat().st_size:
            raise pickled.Refused(
                f"it would unpack to {unpacked / 1e9:.1f} GB, which no weights do"
            )


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    """The mapping in ``content`` that holds the model's tensors."""
    found = dict(_mappings_of_tensors(content, (), set()))
    known = [place for place in found if set(place) <= set(WRAPPERS)]
    if known:
        return found[min(known, key=lambda place: [*map(WRAPPERS.index, place)])]
    if len(found) > 1:
        places = ", ".join(".".join(place) for place in found)
        raise PoseError(f"{path}: holds tensors in {places}; keep the model's as 'state_dict'")
    if not found:
        raise PoseError(
            f"{path}: holds something other than named tensors ({_other(content)}), which is not"
            " loaded"
        )
    return found.popitem()[1]


def _mappings_of_tensors(
    content: object, place: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Each dictionary of nothing but named tensors in ``content``, by the keys that lead to it."""
    if not isinstance(content, dict) or id(content) in seen or len(place) > DEPTH:
        return
    seen.add(id(content))  # one that is there under two names counts once
    if content and all(isinstance(k, str) and isinstance(content[k], Tensor) for k in content):
        yield place, content
    for key, value in content.items():
        if isinstance(key, str):  # an optimizer's state has its parameters' numbers for keys
            yield from _mappings_of_tensors(value, (*place, key), seen)


def _other(content: object) -> str:
    """What ``content`` holds where named tensors are expected."""
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    for key, value in content.items():
        if isinstance(value, pickled.Object):
            return f"{key!r} is an object of {value.name}"
        if not (isinstance(key, str) and isinstance(value, Tensor)):
            return f"{key!r} is a {type(value).__name__}"
    return "nothing"


def _problem(name: str, tensor: Tensor) -> str:
    """What forbids to use the values of a tensor, or nothing."""
    if tensor.dtype not in NUMBERS:
        return f"is not of plain numbers ({tensor.dtype})"
    if tensor.nbytes > tensor.untyped_storage().nbytes():
        return f"claims the shape {tuple(tensor.shape)}, but has fewer values"
    # BN's step counters, which nobody reads, overflow where all was cast to half precision.
    counter = name.endswith("num_batches_tracked")
    if tensor.is_floating_point() and not counter and not tensor.isfinite().all():
        return "has values that are not finite numbers"
    return ""
