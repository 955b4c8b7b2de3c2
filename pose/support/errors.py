"""The one exception that a user of the command line should ever see, and how it is shown."""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Callable, Iterable


class PoseError(Exception):
    """Something the user can mend: the message names the thing and the remedy in one line."""


def nearest(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for the known word nearest to ``word``, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


def command(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate a ``main``: a PoseError becomes one line on stderr and exit status 1."""

    @functools.wraps(main)
    def wrapped(*args: object) -> None:
        try:
            main(*args)
        except PoseError as error:
            # One that crossed from a loader's worker comes wrapped in a traceback; it ends it.
            line = str(error).splitlines()[-1]
            sys.exit(f"error: {line.removeprefix(f'{__name__}.PoseError: ')}")

    return wrapped
