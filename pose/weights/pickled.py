"""Read what torch.save wrote, a state_dict or a whole net, without unpickling it.

Unpickling makes objects and calls functions. Here the pickle's instructions are followed with
plain stand-ins: tensors are views of the file's storages, layers of torch.nn and whatever training
states hold beside tensors become an :class:`Object`. Nothing that the file names is imported or
called, nothing is hashed that may take forever, and no memory is taken that the file does not
fill. torch.load, however restricted, makes tensors of values that no file gave.
"""

from __future__ import annotations

import pickletools
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.serialization import MAGIC_NUMBER, PROTOCOL_VERSION

WHOLE_NETS = ("MainModel.KitModel",)  # MMdnn's name of every net that it converts
STORAGES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128,
}
TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
PARAMETERS = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",  # of PyTorch 0.3
)
SUBCLASS = "torch._tensor._rebuild_from_type_v2"  # of a tensor that has attributes, too
CONTAINERS = {"collections.OrderedDict": dict, "__builtin__.set": set, "builtins.set": set}
GETATTR = ("__builtin__.getattr", "builtins.getattr")
HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"  # OpenMMLab's training log
# What else training states name: other tensors, facts about tensors, counters of a schedule, and
# NumPy's numbers and arrays under the names of its versions 1 and 2.
HARMLESS = re.compile(
    r"torch\.(_utils\._rebuild_\w+|(storage\.)?\w+Storage|serialization\._get_layout|Size|device"
    r"|Tensor|bool|b?float\d\w*|q?u?int\d\w*|complex\d+|per_(tensor|channel)_\w+"
    r"|nn\.backends\.thnn\._get_thnn_function_backend)"
    r"|collections\.Counter|_codecs\.encode|(__builtin__|builtins)\.complex"
    r"|numpy\.(ndarray|dtype|_?core\.multiarray\.(scalar|_reconstruct))"
)
TEXTS = ("BINUNICODE", "BINSTRING", "SHORT_BINSTRING")
NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
PLAIN = (str, int, float, bool, type(None))
DIMENSIONS = 8
LONGEST_NAME = 1000
INSTRUCTIONS = 10_000_000  # of a pickle; nets with all their training state have less than a tenth


class Refused(UnpicklingError):
    """What the file says is not of tensors, layers and training states, or not what it holds."""


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle names; one that has no meaning here is refused."""

    text: str


@dataclass(eq=False)
class Object:
    """Stands for an object that is not made: what would have made it, and its attributes."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)

    def named(self, kind: str) -> dict[str, Any]:
        """A layer's ``_parameters``, ``_buffers`` or ``_modules`` that are not None."""
        found = self.state.get(kind, {})
        if not isinstance(found, dict):
            raise Refused(f"{kind} is a {type(found).__name__}")
        return {name: value for name, value in found.items() if value is not None}


@dataclass(eq=False)
class Storage:
    """Numbers in a row, which tensors share out."""

    values: Tensor

    def tensor(self, offset: Any, size: tuple[Any, ...], stride: tuple[Any, ...]) -> Tensor:
        """The tensor that the pickle describes so, on the CPU."""
        numbers = (offset, *size, *stride)
        if len(size) != len(stride) or len(size) > DIMENSIONS:
            raise Refused("a tensor has another number of sizes than of strides")
        if not all(
            type(number) is int and 0 <= number < 2**63 for number in (*numbers, prod(size))
        ):
            raise Refused("a tensor's offset, sizes and strides are no whole numbers")
        last = sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if offset + last >= len(self.values) and prod(size):
            raise Refused(f"a tensor claims the shape {size}, but has fewer values")
        return self.values.as_strided(size, stride, offset if prod(size) else 0)


FindStorage = Callable[[str, torch.dtype, int], Storage]
"""The storage of that key; it need not be of that dtype and length."""


def is_layer(name: str) -> bool:
    """Whether a class of that name is one of torch.nn's layers, or of a net made of them."""
    module, _, kind = name.rpartition(".")
    layer = vars(nn).get(kind)
    plain = isinstance(layer, type) and issubclass(layer, nn.Module) and layer.__module__ == module
    return plain or name in WHOLE_NETS


def read(path: Path) -> Any:
    """What was saved, with its tensors on the CPU; of a net of torch.nn's layers, its state_dict.

    Takes both of PyTorch's formats. Raises UnpicklingError for what the file may not hold, and
    other exceptions for a damaged file.
    """
    if tarfile.is_tarfile(path):
        raise UnpicklingError(".tar format")
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        content = _zipped(path) if data[:4] == b"PK\3\4" else _in_a_row(data)
    return _state_dict(content) if isinstance(content, Object) else content


def _in_a_row(data: mmap) -> Any:
    """The content of the format before PyTorch 1.6: pickles, and then each storage's values."""
    storages: dict[str, Storage] = {}
    free = len(data)

    def storage(key: str, dtype: torch.dtype, length: int) -> Storage:
        nonlocal free
        if key not in storages:
            free -= length * dtype.itemsize
            if length < 0 or free < 0:
                raise Refused(f"a storage claims {length} values, which are not in the file")
            storages[key] = Storage(torch.empty(length, dtype=dtype))
        return storages[key]

    magic, protocol, system, content = (_build(data, storage) for _ in range(4))
    if (magic, protocol) != (MAGIC_NUMBER, PROTOCOL_VERSION):
        raise UnpicklingError("not a file of torch.save")
    if not (isinstance(system, dict) and system.get("little_endian") is True):
        raise Refused("its numbers are not little-endian")
    missing = set(storages)
    for key in _build(data, storage):
        values = storages[key].values
        if int.from_bytes(data.read(8), "little") != len(values):
            raise Refused("a storage has another length than the file says at first")
        values.copy_(_values(data.read(values.nbytes), values.dtype, len(values)))
        missing.discard(key)
    if missing:
        raise Refused("a tensor's storage is not in the file")
    return content


def _zipped(path: Path) -> Any:
    """The content of the format since PyTorch 1.6: a zip archive with a file for each storage."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickled = next(name for name in names if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        if f"{folder}constants.pkl" in names:
            raise UnpicklingError("TorchScript")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise Refused("its numbers are not little-endian")
        storages: dict[str, Storage] = {}

        def storage(key: str, dtype: torch.dtype, length: int) -> Storage:
            if key not in storages:
                content = archive.read(f"{folder}data/{key}")
                storages[key] = Storage(_values(content, dtype, length))
            return storages[key]

        with archive.open(pickled) as file:
            return _build(file, storage)


def _values(content: bytes, dtype: torch.dtype, length: int) -> Tensor:
    """The numbers as the file holds them, little-endian."""
    if len(content) != length * dtype.itemsize:
        raise Refused(f"a storage claims {length} values, but has others")
    return (
        torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0).to(dtype)
    )


def _state_dict(net: Object) -> dict[str, Tensor]:
    """The tensors of ``net`` and its parts by name, each of which stands once."""
    found: dict[str, Tensor] = {}
    waiting, seen = [("", net)], set()
    for prefix, module in waiting:  # grows on the way
        if not is_layer(module.name) or module in seen:
            where = f"its part {prefix!r}" if prefix else "the whole"
            raise Refused(f"{where} is no layer of torch.nn, or stands there twice")
        seen.add(module)
        unsaved = module.state.get("_non_persistent_buffers_set", ())
        for kind, of in (("_parameters", Tensor), ("_buffers", Tensor), ("_modules", Object)):
            for name, value in module.named(kind).items():
                if not isinstance(name, str) or len(prefix) + len(name) > LONGEST_NAME:
                    raise Refused("a part has no name, or an endless one")
                if not isinstance(value, of):
                    raise Refused(f"its part {prefix + name!r} is a {type(value).__name__}")
                if of is Object:
                    waiting.append((f"{prefix}{name}.", value))
                elif kind != "_buffers" or name not in unsaved:
                    found[prefix + name] = value
    return found


def _build(file: Any, storage: FindStorage) -> Any:
    """What the pickle that begins at the position of ``file`` describes."""
    stack: list[Any] = []
    outer: list[list[Any]] = []  # the stacks below each open mark
    memo: dict[int, Any] = {}
    for opcode, argument, _ in islice(pickletools.genops(file), INSTRUCTIONS):
        match opcode.name:
            case "PROTO":
                continue
            case "STOP":
                return stack.pop()
            case "MARK":
                outer.append(stack)
                stack = []
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE" as truth:
                stack.append(truth == "NEWTRUE")
            case name if name in TEXTS + NUMBERS:
                stack.append(argument)
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "TUPLE":
                items, stack = stack, outer.pop()
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                length = int(name[-1])
                stack[-length:] = [tuple(stack[-length:])]
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _set_items(stack[-1], [key, value])
            case "SETITEMS":
                items, stack = stack, outer.pop()
                _set_items(stack[-1], items)
            case "APPEND":
                item = stack.pop()
                _append(stack[-1], [item])
            case "APPENDS":
                items, stack = stack, outer.pop()
                _append(stack[-1], items)
            case "GLOBAL":
                stack.append(_known(argument.replace(" ", ".")))
            case "BINPERSID":
                stack.append(_persistent(stack.pop(), storage))
            case "REDUCE" | "NEWOBJ" as instruction:
                arguments = stack.pop()
                stack.append(_made(instruction, stack.pop(), arguments))
            case "BUILD":
                state = stack.pop()
                _set_state(stack[-1], state)
            case name:
                raise UnpicklingError(f"Unsupported operand {name}")
    raise UnpicklingError("it is cut, or endless")


def _set_items(target: Any, items: list[Any]) -> None:
    if type(target) is not dict or not all(map(_is_plain, items[::2])):
        raise Refused("something else than names and values is in a dictionary")
    target.update(zip(items[::2], items[1::2], strict=True))


def _is_plain(key: Any) -> bool:
    """Whether it is hashed at once; tuples of tuples may take forever."""
    return type(key) in PLAIN or (type(key) is tuple and all(type(part) in PLAIN for part in key))


def _append(target: Any, items: list[Any]) -> None:
    if type(target) is not list:
        raise Refused("a list is continued that is none")
    target += items


def _set_state(target: Any, state: Any) -> None:
    """Take a layer's attributes; those of other objects, of dictionaries and tensors are unused."""
    match target, state:
        case Object(name=name), dict() if is_layer(name):
            target.state.update(state)
        case Object(name=name), _ if not is_layer(name):
            pass
        case dict(), dict():  # the versions of a state_dict's layers
            pass
        case Tensor(), (bool(), bool(), dict()):  # whether a parameter is learned, in PyTorch 0.3
            pass
        case _:
            raise Refused("a state is set that is not a layer's")


def _known(name: str) -> Name:
    """The name, if it has a meaning here. The message is in the words of PyTorch's own."""
    known = (*TENSORS, *PARAMETERS, SUBCLASS, *CONTAINERS, *GETATTR, HISTORY)
    if name not in known and not HARMLESS.fullmatch(name) and not is_layer(name):
        raise UnpicklingError(f"GLOBAL {name} was not an allowed global")
    return Name(name)


def _made(instruction: str, name: Any, arguments: Any) -> Any:
    """What calling ``name``, or making an object of it, stands for."""
    if not (isinstance(name, Name) and isinstance(arguments, tuple)):
        raise Refused("something is called that has no name")
    match name.text, arguments:
        case text, () if instruction == "NEWOBJ" and (text == HISTORY or is_layer(text)):
            return Object(text)
        case text, (Storage() as storage, offset, tuple() as size, tuple() as stride, *_):
            if text in TENSORS:
                return storage.tensor(offset, size, stride)
        case text, (Tensor() as tensor, *_) if text in PARAMETERS:
            return tensor
        case text, (Name() as function, Name(), tuple() as own, _) if text == SUBCLASS:
            return _made(instruction, function, own)
        case text, () | (list(),) if text in CONTAINERS:
            return _container(CONTAINERS[text], *arguments)
        case text, (Name(of), str()) if text in GETATTR and of == HISTORY:
            return Object(text)
        case text, (Object(), *_) if text in TENSORS:  # such as quantised ones
            return Object(text)
        case text, _ if HARMLESS.fullmatch(text) and text not in (*TENSORS, *PARAMETERS):
            if not text.endswith(("Tensor", "Storage")):  # their values are in no file
                return Object(text)
    raise Refused(f"{name.text} is called as no net's layers and tensors are")


def _container(kind: type, items: list[Any] = ()) -> Any:
    """A dictionary of pairs, or a set of names."""
    found: dict[Any, Any] = {}
    for item in items:
        is_pair = kind is dict and isinstance(item, list | tuple)
        _set_items(found, list(item) if is_pair else [item, None])
    return found if kind is dict else set(found)


def _persistent(reference: Any, storage: FindStorage) -> Any:
    """A storage, or the class of a layer, which PyTorch sets down with its source code."""
    match reference:
        case "module", Name() as layer, _, _:
            return layer
        case "storage", Name(text), str(key), _, int(length), *views if not any(views):
            if text not in STORAGES and text.endswith("Storage"):
                return Object(text)
            if text in STORAGES:
                found = storage(key, STORAGES[text], length)
                if (found.values.dtype, len(found.values)) == (STORAGES[text], length):
                    return found
    raise Refused("something else than a storage or a layer is kept apart")
