"""Download published files into a cache; a file that is there already is verified and used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from pose.errors import PoseError
from pose.weights.published import published_file

TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of the file
CHUNK = 1 << 16  # bytes; what a broken transfer loses at most


def fetch(name: str, cache: Path | None = None, base_url: str | None = None) -> Path:
    """The local path of a published file, downloaded if it is not in the cache yet.

    ``cache``: the folder, by default ``$POSE_CACHE`` or ``~/.cache/pose/weights``. ``base_url``, by
    default ``$POSE_WEIGHTS_MIRROR``, replaces scheme and host of the file's address. An interrupted
    download goes on where it stopped. Raises PoseError for an unknown name, a failed download, and
    a file whose size or checksum is not the published one; a downloaded one is then removed.
    """
    published = published_file(name)
    path = cached_path(name, cache)
    if not path.exists():
        mirror = base_url or os.environ.get("POSE_WEIGHTS_MIRROR")
        url = published.url
        if mirror:
            url = mirror.rstrip("/") + urlsplit(url).path
        _fetch_into(path, name, url)
    elif problem := published.mismatch(path):
        raise PoseError(
            f"{path} is not the published {name}: {problem}; delete it to fetch it anew"
        )
    return path


def cached_path(name: str, cache: Path | None = None) -> Path:
    """Where the published file of that name lies, or is to be placed by hand."""
    home = Path("~/.cache/pose/weights").expanduser()
    return Path(cache or os.environ.get("POSE_CACHE") or home) / f"{name}.pth"


def _fetch_into(path: Path, name: str, url: str) -> None:
    partial = path.with_name(f"{path.name}.part")
    by_hand = f"or place the file at {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.exists():  # another process fetched it meanwhile
                return
            _download(url, partial, name)
            if problem := published_file(name).mismatch(partial):
                partial.unlink()
                raise PoseError(f"{url} is not the published {name}: {problem}; retry, {by_hand}")
            os.replace(partial, path)
    except requests.RequestException as error:  # is an OSError
        reason = _reason(error, url)
        raise PoseError(f"cannot fetch {name} from {url}: {reason}; retry, {by_hand}") from None
    except OSError as error:
        raise PoseError(
            f"cannot write {partial}: {error.strerror}; free some space or set POSE_CACHE to "
            "another folder"
        ) from None


def _download(url: str, partial: Path, name: str) -> None:
    """Append to ``partial`` what it lacks, or write it anew where the server cannot resume."""
    done = partial.stat().st_size if partial.exists() else 0
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
        total = done + int(length) if length else None
        with partial.open("ab" if done else "wb") as file, _progress(name, done, total) as advance:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                advance(len(chunk))


def _reason(error: requests.RequestException, url: str) -> str:
    if isinstance(error, requests.HTTPError):
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the transfer broke off (a retry resumes it)"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return f"no connection to {urlsplit(url).netloc}"
    return str(error)


@contextmanager
def _progress(name: str, done: int, total: int | None) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        size = f"{total / 1e6:.1f} MB" if total else "unknown size"
        resumed = f", resumed at {done / 1e6:.1f} MB" if done else ""
        print(f"fetching {name} ({size}{resumed})", file=sys.stderr)
        yield lambda received: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=total, completed=done)
        yield lambda received: progress.advance(task, received)
