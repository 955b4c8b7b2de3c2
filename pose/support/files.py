"""Reading JSON and writing whole files: nothing half-written is ever seen under its final name."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from pose.support.errors import PoseError

REFUSED = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
}
"""How a system refuses to write: a full disk, a quota, a folder that is read-only."""


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
    """A temporary path beside ``path`` (same suffix) that replaces it when the block succeeds.

    A full disk or a read-only folder is a PoseError, and leaves ``path`` as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid4().hex[:8]}{path.suffix}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
