"""The one exception that a user of the command line should ever see, and how it is shown."""

from __future__ import annotations

import difflib
import functools
import io
import select
import sys
from collections.abc import Callable, Iterable


class PoseError(Exception):
    """Something the user can mend: the message names the thing and the remedy in one line."""


def nearest(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for the known word nearest to ``word``, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


def command(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate a ``main``: what a user or the machine can cause is one line on stderr.

    The exit status is then 1; 130 after Ctrl-C; and 141, with no line, where the reader of our
    output has left, as ``head`` does. Other exceptions are mistakes of ours and keep their
    traceback.
    """

    @functools.wraps(main)
    def wrapped(*args: object) -> None:
        sys.stdout = sys.stdout or io.StringIO()  # None where it was closed
        if hasattr(sys.stdout, "reconfigure"):  # a file's name may not fit its encoding
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            try:
                main(*args)
            finally:
                sys.stdout.flush()
        except PoseError as error:
            sys.exit(f"error: {_one_line(error)}")
        except KeyboardInterrupt:
            print("error: interrupted", file=sys.stderr)
            sys.exit(130)
        except MemoryError:
            sys.exit("error: out of memory; use a machine with more, or fewer --workers")
        except UnicodeEncodeError as error:
            sys.exit(f"error: {error.object[:200]!r} is no text in {error.encoding}; rename it")
        except OSError as error:
            if error.errno is None:
                raise
            if not _can_print():
                # At exit, Python would write the rest of the output and complain once more.
                sys.stdout = io.StringIO()
            if isinstance(error, BrokenPipeError) and reader_left():
                sys.exit(141)
            name = f"{error.filename}: " if error.filename else ""
            sys.exit(f"error: {name}{error.strerror}")

    return wrapped


def _one_line(error: PoseError) -> str:
    # One that crossed from a loader's worker comes with a traceback before it.
    text = str(error).rpartition(f"\n{__name__}.PoseError: ")[2]
    return "; ".join(filter(None, map(str.strip, text.splitlines())))


def _can_print() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def reader_left() -> bool:
    """Whether nobody reads the pipe that is our standard output any more."""
    output = select.poll()
    output.register(1, 0)  # poll tells of errors without being asked to
    return bool(output.poll(0))
