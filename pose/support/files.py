"""Reading JSON and writing whole files: nothing half-written is ever seen under its final name."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO
from uuid import uuid4

from pose.support.errors import PoseError

REFUSED = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EPERM,
    errno.EPIPE,
    errno.EROFS,
}
"""How a system refuses to write: a full disk, a quota, a folder that is read-only or a file."""
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def read_text(path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16, with or without a byte order mark.

    PoseError when it is absent or in neither.
    """
    try:
        data = Path(path).read_bytes()
        return data.decode(json.detect_encoding(data))  # it looks for marks and for zero bytes
    except OSError as error:
        raise PoseError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise PoseError(
            f"{path}: not text in UTF-8 or UTF-16 (byte {error.start}: {error.reason});"
            " unpack it or save it as UTF-8"
        ) from None


def read_json(path: Path) -> Any:
    """The content of a JSON file; PoseError when it is absent, malformed or has a key twice."""
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise PoseError(f"{path}: JSON that is nested too deeply; is it the right file?") from None
    except ValueError as error:
        raise PoseError(f"{path}: not valid JSON ({error}); fetch or write it again") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} stands twice in one object")
    return content


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write ``path`` into a PoseError."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        raise PoseError(
            f"cannot write {path}: {error.strerror}; make room there or choose another folder"
        ) from None


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path with the suffix of ``path``, which it replaces when the block succeeds.

    The new file has the old one's permissions; a symbolic link stays, and the file that it names
    is replaced. A pipe or a device, such as /dev/stdout, is written to and never replaced. A full
    disk or a read-only folder is a PoseError, and leaves ``path`` as it was.
    """
    path = Path(path)
    with writing(path):
        old = path.stat() if path.exists() else None
        if is_stream(path):
            with TemporaryDirectory() as folder:
                temporary = Path(folder, f"output{path.suffix}")
                yield temporary
                with temporary.open("rb") as source, _open_stream(path) as target:
                    shutil.copyfileobj(source, target)
            return
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        stem = os.fsdecode(os.fsencode(target.stem)[:200])  # a name has at most 255 bytes
        temporary = target.with_name(f".{stem}.{uuid4().hex[:8]}{target.suffix}")
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            if old:
                temporary.chmod(stat.S_IMODE(old.st_mode))
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a whole file, text as UTF-8, in the way of :func:`atomic`."""
    # A name of a file may hold bytes that are no text.
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def is_stream(path: Path) -> bool:
    """Whether ``path`` is a pipe, a device or an open file of this process, like /dev/stdout."""
    special = not path.is_file() and not path.is_dir()
    return path.exists() and (special or _descriptor(path) is not None)


def _descriptor(path: Path) -> int | None:
    """The number of the open file that a path such as /dev/stdout or /dev/fd/3 stands for."""
    path = Path(os.path.realpath(path.parent), path.name)
    if str(path.parent) == f"/proc/{os.getpid()}/fd" and path.name.isdecimal():
        return int(path.name)
    return _descriptor(path.parent / path.readlink()) if path.is_symlink() else None


def _open_stream(path: Path) -> BinaryIO:
    """An open file is written on where it stands, behind what was printed to it so far."""
    number = _descriptor(path)
    if number is None:
        return os.fdopen(os.open(path, os.O_WRONLY), "wb")
    sys.stdout.flush()
    return os.fdopen(os.dup(number), "wb")


def own_folder(path: Path, remedy: str) -> Path:
    """``path``, made for this user alone where it is missing.

    PoseError with the ``remedy`` where it is another user's, or others may write to it.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        link, folder = path.lstat(), path.stat()
    if {link.st_uid, folder.st_uid} != {os.geteuid()}:
        raise PoseError(f"{path} belongs to another user; {remedy}")
    if folder.st_mode & OTHERS_MAY_WRITE:
        raise PoseError(f"other users may write to {path}; chmod 700 it or {remedy}")
    return path
