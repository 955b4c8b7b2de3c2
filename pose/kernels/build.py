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

from pose.support.cache_folder import cache_folder
from pose.support.errors import PoseError
from pose.support.files import OTHERS_MAY_WRITE, atomic, own_folder

FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fopenmp", "-fPIC", "-shared", "-Wno-psabi")


@cache
def library(source: Path) -> ctypes.CDLL | None:
    """The compiled source, or None, after one line on stderr, where there is no way to it.

    It lies in ``kernels`` below the cache folder, under a name made of source, compiler and CPU.
    Code that another user may have written is not loaded.
    """
    compiler = os.environ.get("CC", "cc")
    key = "\0".join([source.read_text(), compiler, *FLAGS, _cpu()])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    try:
        folder = own_folder(cache_folder("kernels"), "set POSE_CACHE to a folder of yours")
        target = folder / f"{source.stem}-{digest}.so"
        if not target.exists():
            with atomic(target) as partial:
                command = [compiler, *FLAGS, str(source), "-o", str(partial)]
                subprocess.run(command, check=True, capture_output=True, text=True)
                partial.chmod(0o700)
        status = target.lstat()
        if status.st_uid != os.geteuid() or status.st_mode & OTHERS_MAY_WRITE:
            raise PoseError(f"other users may write to {target}; remove it")
        return ctypes.CDLL(str(target))
    except (PoseError, OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        ours = isinstance(error, PoseError)
        what = "is not loaded" if ours else "could not be compiled"
        remedy = "" if ours else "; install a C compiler such as gcc"
        print(
            f"{source.name} {what} ({reason.splitlines()[0]}): training on this CPU takes"
            f" PyTorch's slower operators{remedy}",
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
