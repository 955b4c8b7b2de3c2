"""Progress that suits where the output goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(description: str, total: int, shown: bool = True) -> Iterator[Any]:
    """A live bar on a terminal, nothing elsewhere; yields ``advance(samples, note=None)``.

    The last note given stays.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not (shown and console.is_terminal)
    ) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(samples: int, note: str | None = None) -> None:
            bar.update(task, advance=samples, **({} if note is None else {"note": note}))

        yield advance
