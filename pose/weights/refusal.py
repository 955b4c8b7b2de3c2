"""Why a checkpoint cannot be read, in words that do not advise to run what is in it."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import IO

PICKLES = 5  # in a file of PyTorch's format before its version 1.6, the tensors' values after them
TENSORS = re.compile(r"torch\.(_utils\.|\w+$)|collections\.|copy_?reg\.")  # of any state_dict


def reason(path: Path, error: Exception) -> str:
    """Why reading ``path`` by ``torch.load`` or safetensors raised ``error``.

    PyTorch's own messages tell how to load a refused file all the same, which may run any code.
    """
    text = str(error)
    if "TorchScript" in text:
        return "it is a TorchScript program; export the state_dict of its model"
    if ".tar format" in text:
        return "it is in PyTorch's first format, a tar archive; save it with a newer PyTorch"
    refused = re.search(r"GLOBAL (\S+)|operand", text)  # a class or function, or a newer pickle
    if name := refused and (_beside_tensors([refused[1]]) or _beside_tensors(names(path))):
        shown = ascii(name[:100])[1:-1]
        return (
            f"it holds a pickled object of class {shown}, which is not read, as it could run code;"
            " export the state_dict alone"
        )
    # pickled.Refused says what is wrong; Python's own errors only tell at which byte they stopped.
    if type(error) in (UnpicklingError, ValueError, KeyError, IndexError):
        return "it is damaged, or not written by torch.save with its default protocol"
    return text.strip().partition("\n")[0] or "it is empty or cut"


def _beside_tensors(names: Iterable[str | None]) -> str:
    """The first of the names that belongs to no state_dict."""
    return next((name for name in names if name and not TENSORS.match(name)), "")


def names(path: Path) -> Iterator[str]:
    """The classes and functions that pickles of any protocol name, as far as they can be read."""
    texts: list[str] = []
    try:
        for file in _pickles_of(path):
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name in ("GLOBAL", "INST"):
                    yield argument.replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    yield ".".join(texts[-2:])
                elif isinstance(argument, str):
                    texts.append(argument)
    except Exception:  # damage raises errors of many types, and the caller tells of it
        return


def _pickles_of(path: Path) -> Iterator[IO[bytes]]:
    """The file or a part of it, each at the beginning of a pickle."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            file.seek(0)
            yield from [file] * PICKLES
            return
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.filename.endswith("data.pkl"):
                with archive.open(part) as file:
                    yield file
