"""Locks that last as long as their process, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

from pose.support.errors import PoseError
from pose.support.files import writing

MARK = "process "  # a lock's file is empty or begins so


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
        """Take the lock if it is free.

        PoseError when the file cannot be written or locked, or is no lock of ours.
        """
        file = self._open()
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise PoseError(
                f"{self.path} cannot be locked: {error.strerror}; choose a folder on a file system"
                " that has POSIX locks"
            ) from None
        os.truncate(file, 0)
        os.write(file, f"{MARK}{os.getpid()} on {socket.gethostname()}".encode())
        self._file = file
        return True

    def _open(self) -> int:
        """The file's descriptor. Another user's link or file is neither followed nor changed."""
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            owners = os.geteuid(), self.path.parent.stat().st_uid
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            try:
                file = os.open(self.path, flags, 0o600)
            except OSError as error:
                if error.errno != errno.ELOOP:  # a symbolic link
                    raise
                raise self._not_ours() from None
        status = os.fstat(file)
        plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if not (
            plain
            and status.st_uid in owners
            and MARK.encode().startswith(os.pread(file, len(MARK), 0))
        ):
            os.close(file)
            raise self._not_ours()
        return file

    def _not_ours(self) -> PoseError:
        return PoseError(f"{self.path} is no lock of ours; move it away or choose another folder")

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
