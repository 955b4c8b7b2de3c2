"""Reading images, from folders or straight from a zip archive.

The path of an image in an archive goes on through it: ``coco/val2017.zip/val2017/0139.jpg``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from pose.data.image_decode import decode_image, orientation
from pose.data.zipped import MAX_BYTES, open_archive
from pose.support.errors import PoseError


def image_paths(annotations: Path, folder: Path, names: Iterable[str]) -> np.ndarray:
    """The paths (M,), as text, of the images in ``folder`` that ``annotations`` name.

    PoseError for a name that is no path below the folder: an absolute one, or one with "..".
    """
    names = list(names)
    for name in names:
        if name.startswith("/") or (".." in name and ".." in name.split("/")):
            raise PoseError(
                f"{annotations}: image {name!r} would lie outside {folder};"
                " names are paths below that folder"
            )
    return np.array([f"{folder}/{name}" for name in names])


def read_image(path: str | Path, within: Sequence[str] = ()) -> np.ndarray:
    """The image (H, W, 3) uint8 BGR; PoseError when it is missing, damaged or not allowed.

    See :func:`read_bytes` and :func:`pose.data.image_decode.decode_image`.
    """
    return decode_image(read_bytes(path, within), path)


def read_bytes(path: str | Path, within: Sequence[str] = ()) -> bytes:
    """The content of a file, or of a member of a zip archive on the path.

    ``within``: resolved folders; a path that leads out of all of them through a link is a
    PoseError, as is one that leads to a folder, device, pipe or socket, and a missing or huge file.
    """
    archive, inside, member = str(path).rpartition(".zip/")
    try:
        if within:
            _check_within(path, within)
        if inside and os.path.isfile(f"{archive}.zip"):
            return open_archive(f"{archive}.zip").read(member)
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            raise PoseError(f"image {path}: a folder, device, pipe or socket, not a file")
        if about.st_size > MAX_BYTES:
            raise PoseError(f"image {path}: {about.st_size} bytes are too many for an image")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        reason = getattr(error, "strerror", None) or error
        raise PoseError(f"image {path}: {reason}; check data_root") from None


def _check_within(path: str | Path, folders: Sequence[str]) -> None:
    if os.path.islink(path):
        real = os.path.realpath(path)
    else:
        folder, name = os.path.split(path)
        real = os.path.join(_resolved(folder), name)
    if not any(real.startswith(f"{folder.rstrip(os.sep)}{os.sep}") for folder in folders):
        raise PoseError(
            f"image {path}: leads out of the data folder, to {real};"
            " put the image itself there, or link the whole folder"
        )


@lru_cache(maxsize=1024)
def _resolved(folder: str) -> str:
    return os.path.realpath(folder)


def check_size(image: np.ndarray, annotated: Sequence[int], path: str | Path) -> None:
    """PoseError unless ``image`` has the ``annotated`` width and height: joints would be wrong."""
    height, width = image.shape[:2]
    if (width, height) == tuple(annotated):
        return
    remedy = "fetch the original again"
    if (height, width) == tuple(annotated) and (turned := _orientation_at(path)) > 4:
        remedy = (
            f"these are the sides after its EXIF orientation {turned}, which data sets do not"
            " follow: annotate the pixels as stored, or store them upright"
        )
    said = "x".join(map(str, annotated))
    raise PoseError(f"image {path}: {width}x{height} pixels, annotated as {said}; {remedy}")


def _orientation_at(path: str | Path) -> int:
    try:
        return orientation(read_bytes(path))
    except PoseError:
        return 1
