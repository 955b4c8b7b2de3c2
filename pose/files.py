"""Reading JSON and writing whole files: nothing half-written is ever seen under its final name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from pose.errors import PoseError


def read_json(path: Path) -> Any:
    """The content of a JSON file; PoseError when it is absent or malformed."""
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise PoseError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise PoseError(f"{path}: not valid JSON ({error}); fetch or write it again") from None


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` (same suffix) that replaces it when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
