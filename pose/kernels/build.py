"""Compiles the C kernels on first use, for this machine's CPU, and loads them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

from pose.support.errors import PoseError
from pose.support.files import atomic

FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fopenmp", "-fPIC", "-shared", "-Wno-psabi")


@cache
def library(source: Path) -> ctypes.CDLL | None:
    """The compiled source, or None, after one line on stderr, where it cannot be compiled.

    It lies in ``kernels`` below ``$POSE_CACHE``, ``$XDG_CACHE_HOME/pose`` or ``~/.cache/pose``,
    under a name made of source, compiler and CPU.
    """
    compiler = os.environ.get("CC", "cc")
    key = "\0".join([source.read_text(), compiler, *FLAGS, _cpu()])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pose"
    folder = Path(os.environ.get("POSE_CACHE") or home) / "kernels"
    target = folder / f"{source.stem}-{digest}.so"
    try:
        if not target.exists():
            with atomic(target) as partial:
                command = [compiler, *FLAGS, str(source), "-o", str(partial)]
                subprocess.run(command, check=True, capture_output=True, text=True)
        return ctypes.CDLL(str(target))
    except (PoseError, OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        print(
            f"{source.name} could not be compiled ({reason.splitlines()[0]}): training on this CPU"
            " takes PyTorch's slower operators; install a C compiler such as gcc",
            file=sys.stderr,
        )
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.system()} {platform.machine()} {features}"
