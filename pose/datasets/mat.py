"""MATLAB files: their variables, and arrays of numbers among them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from pose.datasets.fields import LIMIT
from pose.support.errors import PoseError
from pose.support.packages import package


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file, structs as objects, without axes of length 1.

    PoseError when it cannot be read.
    """
    try:
        file = io.BytesIO(Path(path).read_bytes())
    except OSError as error:
        raise PoseError(f"{path}: {error.strerror}") from None
    loadmat = package("scipy.io").loadmat
    try:
        return loadmat(file, struct_as_record=False, squeeze_me=True)
    except NotImplementedError:
        raise PoseError(f"{path}: a MATLAB 7.3 file; save it in MATLAB with -v7") from None
    except Exception as error:  # a torn or foreign file shows itself in many exception types
        raise PoseError(f"{path}: not a readable .mat file ({error}); fetch it again") from None


def variable(path: Path, content: dict[str, Any], name: str) -> Any:
    """One of :func:`read_mat`'s variables."""
    if name not in content:
        raise PoseError(f"{path}: no variable {name} in it; is it the right file?")
    return content[name]


def numbers(path: Path, content: dict[str, Any], name: str) -> np.ndarray:
    """A variable that is a dense array of real numbers within :data:`LIMIT`, as float64."""
    value = variable(path, content, name)
    kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "uif":
        raise PoseError(f"{path}: {name} is not a dense array of real numbers but {kind}")
    value = value.astype(float)
    sound = np.abs(value) <= LIMIT  # NaN is not
    if not sound.all():
        place = tuple(np.argwhere(~sound)[0].tolist())
        kind = f"{name}{list(place)} is {value[place]:g}, not a finite number up to {LIMIT:g}"
        raise PoseError(f"{path}: {kind}")
    return value
