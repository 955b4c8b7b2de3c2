"""What all command lines share: options that are checked before any work begins."""

from __future__ import annotations

import argparse
import math
import os
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pose.support.errors import command
from pose.support.files import is_stream, writing

DATA_ROOT = "folder of the data, laid out as in docs/data.md"
DEVICE = "auto (a GPU where one works), cpu, cuda or cuda:NUMBER"
WEIGHTS = "weights.safetensors of pose.train or pose.weights convert"
"""Help for options that several commands have."""


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, without the whole usage; no output may replace an input."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")

    def parse_known_args(self, *args: Any) -> tuple[argparse.Namespace, list[str]]:
        values, rest = super().parse_known_args(*args)
        options: dict[str, argparse.Action] = {}  # by the file that they name
        for action in self._actions:
            value = getattr(values, action.dest, None)
            for path in value if isinstance(value, list) else [value]:
                if not isinstance(path, Path) and (not path or action.dest != "experiment"):
                    continue
                other = options.setdefault(os.path.realpath(path), action)
                writes = getattr(other.type, "writes", False) or getattr(
                    action.type, "writes", False
                )
                if other is not action and writes and not is_stream(Path(path)):
                    names = " and ".join((*a.option_strings, a.dest)[0] for a in (other, action))
                    self.error(f"{names} are the same file, {path}: choose another for the output")
        return values, rest


def parser(module: str, description: str) -> Parser:
    """The command line of ``python -m module``, which its docstring describes."""
    return Parser(prog=f"python -m {module}", description=description)


def answer_early(name: str, command_line: Callable[[], Parser]) -> None:
    """Answer --help and mistakes of the program ``name`` before its further imports.

    A command that imports what takes a second, such as PyTorch, calls it in between with its
    ``__name__``: in a module that is imported nothing happens.
    """
    if name == "__main__":
        command(lambda: command_line().parse_args())()


def whole(least: int, most: int) -> Callable[[str], int]:
    """The type of an option that is a whole number in a range."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return value

    return read


def number(least: float, most: float) -> Callable[[str], float]:
    """The type of an option that is a number in a range."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise ArgumentTypeError(f"{text!r} is not a number from {least:g} to {most:g}")
        return value

    return read


MINUTES = number(0.001, 1e6)
WORKERS = whole(0, 1000)  # 0: none, the process itself does the work


def output_file(*suffixes: str) -> Callable[[str], Path]:
    """The type of an option that is a file to write, if need be in folders that are made for it.

    Its name ends in one of ``suffixes``, if any are given; a pipe or a device has any name.
    """

    def read(text: str) -> Path:
        path = Path(text)
        with writing(path):
            if is_stream(path):
                return path
            if path.is_dir():
                raise ArgumentTypeError(f"{path} is a folder; name a file in it")
        if suffixes and path.suffix not in suffixes:
            raise ArgumentTypeError(f"{path} does not end in {' or '.join(suffixes)}")
        output_folder(Path(os.path.realpath(path)).parent)
        return path

    read.writes = True
    return read


def output_folder(text: str | Path) -> Path:
    """The type of an option that is a folder to write files in; it is made where it is missing."""
    path = Path(text)
    with writing(path):
        there = next(
            folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists()
        )
    if not there.is_dir():
        raise ArgumentTypeError(f"cannot write in {path}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ArgumentTypeError(f"cannot write in {path}: {there} is read-only")
    return path
