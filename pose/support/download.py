"""Downloads that arrive whole or not at all, and go on where they broke off."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import requests
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from pose.support.checksum import Published
from pose.support.errors import PoseError
from pose.support.transfer import Refused, Slow, Transfer

PAUSE = 2.0  # seconds before a broken transfer is resumed; doubled after each fruitless attempt
FRUITLESS = 4  # attempts in a row that may bring nothing


class Transfers:
    """Shows the transfers under way: a bar each on a terminal, elsewhere a line for each tenth.

    Use it as a context; several threads may share it. After :meth:`cancel`, every transfer ends.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._lines = not console.is_terminal
        self._cancelled = threading.Event()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            disable=self._lines,
        )

    def __enter__(self) -> Transfers:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def cancel(self) -> None:
        self._cancelled.set()

    def begin(self, verb: str, name: str, done: int, total: int | None) -> Callable[[int], None]:
        """Show one more, of ``done`` bytes so far; returns ``advance(bytes)``."""
        if self._lines:
            size = f"{total / 1e6:.1f} MB" if total else "unknown size"
            resumed = f", resumed at {done / 1e6:.1f} MB" if done else ""
            print(f"{verb} {name} ({size}{resumed})", file=sys.stderr, flush=True)
        task = self._bars.add_task(f"{verb} {name}", total=total, completed=done)
        tenth = 10 * done // total if total else 0

        def advance(received: int) -> None:
            nonlocal done, tenth
            if self._cancelled.is_set():
                raise PoseError(f"{verb} {name}: stopped; start again to go on")
            done += received
            self._bars.advance(task, received)
            if self._lines and total and tenth < 10 * done // total < 10:
                tenth = 10 * done // total
                print(f"{verb} {name}: {10 * tenth} %", file=sys.stderr, flush=True)

        return advance


def download(
    published: Published,
    url: str,
    path: Path,
    name: str,
    elsewhere: str,
    transfers: Transfers,
    persist: bool = False,
) -> None:
    """Fetch a published file from ``url`` to ``path``, or wait for another process that does.

    What has come and is not the published file is removed. ``elsewhere`` says how to choose another
    disk. A transfer that breaks off is resumed by the next call, and with ``persist`` at once; what
    came of it lies in ``path`` with ``.part`` until then, by what the server knows it in
    ``.part.json``. Raises PoseError.
    """
    partial, origin = (path.with_name(f"{path.name}.part{end}") for end in ("", ".json"))
    by_hand = f"or place the file at {path}"

    def begin(done: int, total: int | None) -> Callable[[int], None]:
        if total:
            check_space(path, total - done, name, elsewhere)
        return transfers.begin("fetching", name, done, total)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.exists():  # another process fetched it meanwhile
                return
            if path.is_symlink():
                raise PoseError(f"{path} is a link to a file that is not there; mend or remove it")
            with _own_file(partial) as file, _own_file(origin) as known:
                size = int(published.size) if published.size else None
                transfer = Transfer(url, file, known, size, bool(published.checksum), begin)
                try:
                    _persist(transfer) if persist else transfer.attempt()
                    file.flush()
                    os.fsync(file.fileno())
                finally:
                    if not transfer.done():
                        known.truncate(0)
                problem = published.mismatch(partial)
                if problem:
                    file.truncate(0)
                else:
                    os.replace(partial, path)
                known.truncate(0)
        if problem:
            raise PoseError(f"{url} is not the published {name}: {problem}; retry, {by_hand}")
    except requests.RequestException as error:  # ahead of OSError, of which it is one
        reason = _reason(error, url)
        raise PoseError(f"cannot fetch {name} from {url}: {reason}; retry, {by_hand}") from None
    except OSError as error:
        file = error.filename or partial
        if error.errno == errno.ELOOP:
            raise PoseError(f"{file} is a link, which is not followed; remove it") from None
        raise PoseError(
            f"cannot write {file}: {error.strerror}; free some space or {elsewhere}"
        ) from None


@contextmanager
def _own_file(path: Path) -> Iterator[IO[bytes]]:
    """A file of ours to read and write, made if it is not there, removed if it is left empty.

    Neither a link is followed nor another user's file used, whatever somebody placed there.
    """
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    status = os.fstat(number)
    # On some network file systems all files belong to whoever owns the folder.
    owners = (os.geteuid(), path.parent.stat().st_uid)
    if not (stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid in owners):
        os.close(number)
        raise PoseError(f"{path} is not a plain file of yours; remove it")
    with os.fdopen(number, "r+b") as file:
        try:
            yield file
        finally:
            if not os.fstat(number).st_size:
                path.unlink()


def _persist(transfer: Transfer) -> None:
    """Resume a transfer that has begun for as long as that brings something."""
    fruitless, first = 0, transfer.done()
    while True:
        before = transfer.done()
        try:
            return transfer.attempt()
        except requests.RequestException as error:
            now = transfer.done()
            fruitless = 0 if now > before and not isinstance(error, Slow) else fruitless + 1
            refused = isinstance(error, Refused) or (
                isinstance(error, requests.HTTPError) and error.response.status_code < 500
            )
            if refused or now == first or fruitless == FRUITLESS:
                raise
            time.sleep(PAUSE * 2**fruitless)


def check_space(path: Path, needed: int, name: str, elsewhere: str) -> None:
    """PoseError unless the disk of ``path`` has room for ``needed`` more bytes."""
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise PoseError(
            f"{name} needs {needed / 1e9:.1f} GB more in {path.parent}, where {free / 1e9:.1f} GB"
            f" are free; free some space or {elsewhere}"
        )


def _reason(error: requests.RequestException, url: str) -> str:
    if isinstance(error, requests.HTTPError):
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return f"no connection to {urlsplit(url).netloc}"
    return str(error)
