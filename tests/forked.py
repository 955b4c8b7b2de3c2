"""Run a function in a forked copy of this process, which may change limits, user and streams."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import NamedTuple


class Ended(NamedTuple):
    status: int
    output: str
    errors: str


def forked(function: Callable[[], None], reader: bool = True) -> Ended:
    """How ``function`` ended, as a program would. ``reader``: whether anyone reads its output.

    Its output and errors must fit into a pipe, 64 kB.
    """
    output, errors = os.pipe(), os.pipe()
    if not reader:
        os.close(output[0])
    if (child := os.fork()) == 0:
        os._exit(_run(function, output[1], errors[1]))
    os.close(output[1])
    os.close(errors[1])
    _, status = os.waitpid(child, 0)
    return Ended(
        os.waitstatus_to_exitcode(status),
        os.fdopen(output[0], errors="replace").read() if reader else "",
        os.fdopen(errors[0], errors="replace").read(),
    )


def _run(function: Callable[[], None], output: int, errors: int) -> int:
    os.dup2(output, 1)
    os.dup2(errors, 2)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1)
    try:
        function()
        sys.stdout.flush()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
