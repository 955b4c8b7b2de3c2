"""Read the tensors of a net that was pickled whole, without unpickling it.

Unpickling makes objects and calls functions. Here the pickle's instructions are followed with plain
dictionaries in place of modules, and only the few names below have a meaning: layers of torch.nn
become :class:`Module`, tensors become claims on the file's storages, which are checked in the end.
Nothing that the file names is imported or called, and no memory is taken that the file does not
fill. Python's own unpickler, however restricted, would still make room for what a file claims.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.serialization import MAGIC_NUMBER, PROTOCOL_VERSION

WHOLE_NETS = ("MainModel.KitModel",)  # MMdnn's name of each net that it converts: EfficientPose's
STORAGES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
}
TENSOR, PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
CONTAINERS = {"collections.OrderedDict": dict, "__builtin__.set": set, "builtins.set": set}
BACKEND = "torch.nn.backends.thnn._get_thnn_function_backend"  # an attribute of old layers
TEXTS = ("BINUNICODE", "BINSTRING", "SHORT_BINSTRING")
NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
DIMENSIONS = 8
LONGEST_NAME = 1000


class Refused(UnpicklingError):
    """What the file says is not a net of plain layers, or not what it holds."""


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle names; one that has no meaning here is refused."""

    text: str


@dataclass(eq=False)
class Module:
    """Stands for a layer: its attributes."""

    state: dict[str, Any] = field(default_factory=dict)

    def named(self, kind: str) -> dict[str, Any]:
        """Its ``_parameters``, ``_buffers`` or ``_modules`` that are not None."""
        found = self.state.get(kind, {})
        if not isinstance(found, dict):
            raise Refused(f"{kind} is a {type(found).__name__}")
        return {name: value for name, value in found.items() if value is not None}


@dataclass(eq=False)
class Storage:
    """Numbers in a row, of which the file holds as many as it says; tensors share them out."""

    dtype: torch.dtype
    length: int
    values: Tensor | None = None
    claimed: int = 0

    def fill(self, content: bytes) -> None:
        """Take the numbers as the file holds them, little-endian."""
        if len(content) != self.length * self.dtype.itemsize:
            raise Refused(f"a storage claims {self.length} values, but has others")
        found = torch.frombuffer(bytearray(content), dtype=self.dtype) if content else None
        self.values = torch.empty(0, dtype=self.dtype) if found is None else found


@dataclass(eq=False)
class Claim:
    """A tensor as the pickle describes it."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.size, *self.stride)
        if len(self.size) != len(self.stride) or len(self.size) > DIMENSIONS:
            raise Refused("a tensor has another number of sizes than of strides")
        if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
            raise Refused("a tensor's offset, sizes and strides are no whole numbers")
        last = sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        self.storage.claimed += prod(self.size)
        within = self.offset + last < self.storage.length if prod(self.size) else True
        if not within or self.storage.claimed > self.storage.length:
            raise Refused(f"a tensor claims the shape {self.size}, but has fewer values")

    def tensor(self) -> Tensor:
        """The values, on the CPU."""
        if self.storage.values is None:
            raise Refused("a tensor's storage is not in the file")
        return self.storage.values.as_strided(self.size, self.stride, self.offset)


def is_layer(name: str) -> bool:
    """Whether a class of that name is one of torch.nn's layers, or of a net made of them."""
    module, _, kind = name.rpartition(".")
    layer = vars(nn).get(kind)
    plain = isinstance(layer, type) and issubclass(layer, nn.Module) and layer.__module__ == module
    return plain or name in WHOLE_NETS


def read(path: Path) -> dict[str, Tensor]:
    """The parameters and buffers of the net in ``path`` by name, as its ``state_dict`` has them.

    Takes both of PyTorch's formats. Raises UnpicklingError for whatever is not a net of torch.nn's
    layers, and other exceptions for a damaged file.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        claims = dict(_zipped(path) if data[:4] == b"PK\3\4" else _in_a_row(data))
    return {name: claim.tensor() for name, claim in claims.items()}


def _in_a_row(data: mmap) -> Iterator[tuple[str, Claim]]:
    """The claims of the format before PyTorch 1.6: pickles, and then each storage's values."""
    storages: dict[str, Storage] = {}
    magic, protocol, system, net = (_build(data, storages) for _ in range(4))
    if (magic, protocol) != (MAGIC_NUMBER, PROTOCOL_VERSION):
        raise UnpicklingError("not a file of torch.save")
    if not (isinstance(system, dict) and system.get("little_endian") is True):
        raise Refused("its numbers are not little-endian")
    for key in _build(data, {}):
        storage = storages[key]
        if int.from_bytes(data.read(8), "little") != storage.length:
            raise Refused("a storage has another length than the net says")
        storage.fill(data.read(storage.length * storage.dtype.itemsize))
    return _claims(net)


def _zipped(path: Path) -> Iterator[tuple[str, Claim]]:
    """The claims of the format since PyTorch 1.6: a zip archive with a file for each storage."""
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise Refused("its numbers are not little-endian")
        storages: dict[str, Storage] = {}
        with archive.open(pickled) as file:
            net = _build(file, storages)
        for key, storage in storages.items():
            storage.fill(archive.read(f"{folder}data/{key}"))
    return _claims(net)


def _claims(net: Any) -> Iterator[tuple[str, Claim]]:
    """Name and claim of each tensor of ``net`` and its parts, each of which stands once."""
    waiting, seen = [("", net)], set()
    for prefix, module in waiting:  # grows on the way
        if not isinstance(module, Module) or id(module) in seen:
            where = f"its part {prefix!r}" if prefix else "the whole"
            raise Refused(
                f"layers of torch.nn are in it, but {where} is none, or stands there twice"
            )
        seen.add(id(module))
        unsaved = module.state.get("_non_persistent_buffers_set", ())
        for kind, of in (("_parameters", Claim), ("_buffers", Claim), ("_modules", Module)):
            for name, value in module.named(kind).items():
                if not isinstance(name, str) or len(prefix) + len(name) > LONGEST_NAME:
                    raise Refused("a part has no name, or an endless one")
                if not isinstance(value, of):
                    raise Refused(f"its part {prefix + name!r} is a {type(value).__name__}")
                if of is Module:
                    waiting.append((f"{prefix}{name}.", value))
                elif kind != "_buffers" or name not in unsaved:
                    yield prefix + name, value


def _build(file: Any, storages: dict[str, Storage]) -> Any:
    """What the pickle that begins at the position of ``file`` describes."""
    stack: list[Any] = []
    outer: list[list[Any]] = []  # the stacks below each open mark
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(file):
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
                stack.append(_persistent(stack.pop(), storages))
            case "REDUCE" | "NEWOBJ" as instruction:
                arguments = stack.pop()
                stack.append(_made(instruction, stack.pop(), arguments))
            case "BUILD":
                state = stack.pop()
                if not (isinstance(stack[-1], Module) and isinstance(state, dict)):
                    raise Refused("a state is set that is not a layer's")
                stack[-1].state.update(state)
            case name:
                raise UnpicklingError(f"Unsupported operand {name}")
    raise UnpicklingError("it is cut")


def _set_items(target: Any, items: list[Any]) -> None:
    if type(target) is not dict or not all(type(key) in (str, int) for key in items[::2]):
        raise Refused("something else than names and values is in a dictionary")
    target.update(zip(items[::2], items[1::2], strict=True))


def _append(target: Any, items: list[Any]) -> None:
    if type(target) is not list:
        raise Refused("a list is continued that is none")
    target += items


def _known(name: str) -> Name:
    """The name, if it has a meaning here. The message is in the words of PyTorch's own."""
    known = (*STORAGES, *CONTAINERS, TENSOR, PARAMETER, BACKEND)
    if name not in known and not is_layer(name):
        raise UnpicklingError(f"GLOBAL {name} was not an allowed global")
    return Name(name)


def _made(instruction: str, name: Any, arguments: Any) -> Any:
    """What calling ``name``, or making an object of it, stands for."""
    if not (isinstance(name, Name) and isinstance(arguments, tuple)):
        raise Refused("something is called that has no name")
    match instruction, name.text, arguments:
        case "NEWOBJ", text, () if is_layer(text):
            return Module()
        case "REDUCE", text, (Storage() as storage, offset, tuple() as size, tuple() as stride, *_):
            if text == TENSOR:
                return Claim(storage, offset, size, stride)
        case "REDUCE", text, (Claim() as claim, _, _) if text == PARAMETER:
            return claim
        case "REDUCE", text, () | (list(),) if text in CONTAINERS:
            return _container(CONTAINERS[text], *arguments)
        case "REDUCE", text, () if text == BACKEND:
            return None
    raise Refused(f"{name.text} is called as no net's layers and tensors are")


def _container(kind: type, items: list[Any] = ()) -> Any:
    """A dictionary of pairs, or a set of names."""
    found: dict[Any, Any] = {}
    for item in items:
        is_pair = kind is dict and isinstance(item, list | tuple)
        _set_items(found, list(item) if is_pair else [item, None])
    return found if kind is dict else set(found)


def _persistent(reference: Any, storages: dict[str, Storage]) -> Any:
    """A storage, or the class of a layer, which PyTorch sets down with its source code."""
    match reference:
        case "module", Name() as layer, _, _:
            return layer
        case "storage", Name(text), str(key), _, int(length), *views if not any(views):
            if text in STORAGES:
                storage = storages.setdefault(key, Storage(STORAGES[text], length))
                if (storage.dtype, storage.length) == (STORAGES[text], length):
                    return storage
    raise Refused("something else than a storage or a layer is kept apart")
