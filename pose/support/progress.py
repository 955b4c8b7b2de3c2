"""Progress that suits where the output goes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pose.support.packages import package


@contextmanager
def progress_bar(description: str, total: int, shown: bool = True) -> Iterator[Any]:
    """A live bar on a terminal, nothing elsewhere; yields ``advance(samples, note=None)``.

    The last note given stays.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda samples, note=None: None
        return
    rich = package("rich.progress")
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[note]}"),
        rich.TimeRemainingColumn(),
    )
    console = package("rich.console").Console(stderr=True)
    with rich.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(samples: int, note: str | None = None) -> None:
            bar.update(task, advance=samples, **({} if note is None else {"note": note}))

        yield advance
