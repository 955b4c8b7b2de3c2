"""Choosing the device, and progress that suits where the output goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pose.errors import PoseError


def select_device(name: str) -> torch.device:
    """``auto`` is the first GPU where there is one, else the CPU; PoseError for a missing GPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise PoseError("device cuda was asked for but no GPU is visible; set device: cpu or auto")
    # Tiny activations far below float32's normal range cost CPUs up to a hundredfold.
    torch.set_flush_denormal(True)
    return device


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Any]:
    """A live bar on a terminal, nothing elsewhere; yields ``advance(samples, note="")``."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(samples: int, note: str = "") -> None:
            bar.update(task, advance=samples, note=note)

        yield advance
