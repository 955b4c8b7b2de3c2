"""Annotations as arrays on disk, so that a file of 240 MB is parsed once and then read in no time.

A cached file is named by what was read (the content's checksum) and how (the reader's code), so
it never has to be deleted; a damaged one is made again.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from pose.datasets.records import Records
from pose.support.cache_folder import cache_folder
from pose.support.errors import PoseError
from pose.support.files import atomic
from pose.support.fingerprint import code_of

SMALL = 4_000_000  # bytes; below, parsing takes a blink
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def cached(read: Callable[[Path], Records], path: Path, also: bytes = b"") -> Records:
    """``read(path)``, or what it gave for the same content before.

    ``also`` stands for whatever else the result depends on. Where the cache cannot be written,
    the file is read anew each time.
    """
    path = Path(path)
    if not path.is_file() or path.stat().st_size < SMALL:
        return read(path)
    how = code_of(read.__module__).fingerprint + read.__name__
    what = hashlib.sha256(how.encode() + checksum(path).encode() + also).hexdigest()[:24]
    store = cache_folder("annotations") / f"{path.stem}-{what}.npz"
    try:
        return _load(store)
    except (FileNotFoundError, NotADirectoryError):
        print(f"reading {path}; the next time it comes from {store.parent}", file=sys.stderr)
    except DAMAGED:
        print(f"{store} is damaged and made again", file=sys.stderr)
    records = read(path)
    try:
        _save(store, records)
    except (PoseError, OSError) as error:
        print(f"annotations are not cached: {error}", file=sys.stderr)
    return records


def checksum(path: Path) -> str:
    """The SHA-256 of a file's content, remembered for as long as the file is not touched."""
    status = path.stat()
    identity = [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    identity = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
    note = cache_folder("annotations") / f"{path.stem}-{identity}.sha256"
    try:
        known = note.read_text()
    except OSError:
        known = ""
    if len(known) == 64:
        return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # Where it cannot be noted, it is computed again the next time.
    with suppress(PoseError, OSError), atomic(note) as temporary:
        temporary.write_text(digest)
    return digest


def _load(store: Path) -> Records:
    with np.load(store, allow_pickle=False) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    skipped = json.loads(str(columns.pop("skipped")))
    return Records(columns, skipped)


def _save(store: Path, records: Records) -> None:
    with atomic(store) as temporary:
        np.savez(temporary, **records.columns, skipped=np.array(json.dumps(records.skipped)))
