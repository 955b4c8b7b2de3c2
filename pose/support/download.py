"""Downloads that arrive whole or not at all, and go on where they broke off."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from pose.support.errors import PoseError

TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of the file
CHUNK = 1 << 16  # bytes; what a broken transfer loses at most
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
    url: str,
    path: Path,
    name: str,
    mismatch: Callable[[Path], str],
    elsewhere: str,
    transfers: Transfers,
    persist: bool = False,
) -> None:
    """Fetch ``url`` to ``path``, or wait for another process that does.

    ``mismatch(file)`` tells how a file differs from what it should be, "" if it does not; one that
    differs is removed. ``elsewhere`` says how to choose another disk. A transfer that breaks off
    is resumed by the next call, and with ``persist`` at once. Raises PoseError.
    """
    partial = path.with_name(f"{path.name}.part")
    by_hand = f"or place the file at {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.exists():  # another process fetched it meanwhile
                return
            transfer = _persistently if persist else _transfer
            transfer(url, partial, name, elsewhere, transfers)
            if problem := mismatch(partial):
                partial.unlink()
                raise PoseError(f"{url} is not the published {name}: {problem}; retry, {by_hand}")
            os.replace(partial, path)
    except requests.RequestException as error:  # is an OSError
        reason = _reason(error, url)
        raise PoseError(f"cannot fetch {name} from {url}: {reason}; retry, {by_hand}") from None
    except OSError as error:
        raise PoseError(
            f"cannot write {partial}: {error.strerror}; free some space or {elsewhere}"
        ) from None


def _persistently(url: str, partial: Path, name: str, elsewhere: str, transfers: Transfers) -> None:
    """Resume a transfer that has begun for as long as that brings something."""
    fruitless, first = 0, _size(partial)
    while True:
        before = _size(partial)
        try:
            return _transfer(url, partial, name, elsewhere, transfers)
        except requests.RequestException as error:
            now = _size(partial)
            fruitless = 0 if now > before else fruitless + 1
            refused = isinstance(error, requests.HTTPError) and error.response.status_code < 500
            if refused or now == first or fruitless == FRUITLESS:
                raise
            time.sleep(PAUSE * 2**fruitless)


def _transfer(url: str, partial: Path, name: str, elsewhere: str, transfers: Transfers) -> None:
    """Append to ``partial`` what it lacks, or write it anew where the server cannot resume."""
    done = _size(partial)
    headers = {"Accept-Encoding": "identity"}  # ranges and lengths of the file itself
    if done:
        headers["Range"] = f"bytes={done}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if done and response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # no byte is left to fetch; the checksum tells whether that is so
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            done = 0
        length = response.headers.get("Content-Length")
        if length:
            check_space(partial, int(length), name, elsewhere)
        total = done + int(length) if length else None
        advance = transfers.begin("fetching", name, done, total)
        with partial.open("ab" if done else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                advance(len(chunk))


def check_space(path: Path, needed: int, name: str, elsewhere: str) -> None:
    """PoseError unless the disk of ``path`` has room for ``needed`` more bytes."""
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise PoseError(
            f"{name} needs {needed / 1e9:.1f} GB more in {path.parent}, where {free / 1e9:.1f} GB"
            f" are free; free some space or {elsewhere}"
        )


def _size(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _reason(error: requests.RequestException, url: str) -> str:
    if isinstance(error, requests.HTTPError):
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the transfer broke off (a retry resumes it)"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return f"no connection to {urlsplit(url).netloc}"
    return str(error)
