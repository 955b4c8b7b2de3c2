"""Locks that last as long as their process, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from pose.support.files import writing


class Lock:
    """An exclusive lock on a file, on one machine or over a shared file system.

    A POSIX record lock: the system drops it when the process ends, even by SIGKILL; the loader's
    forked workers, which outlive a killed trainer by seconds, do not inherit it; it survives
    ``exec``. The file names the holder. A process holds a file's lock through one Lock only.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._file: int | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free; PoseError when the file cannot be written."""
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(file)
            return False
        os.truncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
        self._file = file
        return True

    def holder(self) -> str:
        """``"process 123 on host"``, as the last one to take the lock wrote it."""
        return self.path.read_text(errors="replace") or "another process"

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def outlive_exec(self) -> None:
        """Let the program that replaces this process go on holding the lock."""
        os.set_inheritable(self._file, True)
