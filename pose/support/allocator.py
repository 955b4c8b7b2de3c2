"""How memory is handed out.

Freed memory is kept: what glibc gives back, the system clears and maps again page by page.
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
OF_THE_USER = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
OF_THE_USER += ("GLIBC_TUNABLES",)
OF_PYTORCH = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # the second is the older name


def keep_freed_memory() -> bool:
    """Let this process keep what it frees for its next large tensors; whether it does.

    glibc returns every tensor above 32 MiB to the system, a net has a few in each operator, and
    getting them again costs more than many operators do. A user's own value of any of the
    variables :data:`OF_THE_USER` wins, and other C libraries stay as they are.
    """
    libc = ctypes.CDLL(None)
    if any(name in os.environ for name in OF_THE_USER) or not hasattr(libc, "gnu_get_libc_version"):
        return False
    return bool(libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, -1))


def use_expandable_segments() -> None:
    """Let PyTorch take a GPU's memory in segments that grow; before it takes any.

    A user's own value of a variable of :data:`OF_PYTORCH` wins.
    """
    if not any(name in os.environ for name in OF_PYTORCH):
        os.environ[OF_PYTORCH[0]] = "expandable_segments:True"
