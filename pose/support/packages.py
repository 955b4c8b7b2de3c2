"""Packages that only some parts need: imported where they are used."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from pose.support.errors import PoseError


def package(name: str) -> ModuleType:
    """The module of that dotted name; PoseError where its package is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        wanted = name.partition(".")[0]
        raise PoseError(f"{wanted} is not installed: pip install {wanted}") from None
