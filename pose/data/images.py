"""Reading images, from folders or straight from a zip archive.

The path of an image in an archive goes on through it: ``coco/val2017.zip/val2017/0139.jpg``.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from pose.support.errors import PoseError

# EXIF orientation is ignored: COCO and MPII were annotated on the pixels as stored.
READ_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

JPEG = b"\xff\xd8"

cv2.setNumThreads(0)  # the loader's processes are the parallelism

LOCAL_HEADER = 30  # bytes before a member's name; bytes 26..29 hold the lengths that follow it


def read_image(path: str | Path) -> np.ndarray:
    """The image (H, W, 3) uint8 BGR; PoseError when it is missing, truncated or undecodable."""
    return decode_image(read_bytes(path), path)


def read_bytes(path: str | Path) -> bytes:
    """A file's content, or that of a member of a zip archive on the path."""
    archive, inside, member = str(path).rpartition(".zip/")
    try:
        if inside and not Path(path).exists():
            return open_archive(f"{archive}.zip").read(member)
        return Path(path).read_bytes()
    except OSError as error:
        raise PoseError(f"image {path}: {error.strerror or error}; check data_root") from None


def decode_image(data: bytes, path: str | Path, flags: int = READ_FLAGS) -> np.ndarray:
    """The image (H, W, 3) uint8 BGR that ``data`` encodes; ``path`` names it in a PoseError."""
    # OpenCV fills the rest of a truncated JPEG with grey and says nothing.
    if data.startswith(JPEG) and data.rfind(b"\xff\xd9", len(data) // 2) < 0:
        raise PoseError(f"image {path}: truncated JPEG; fetch it again")
    image = _decode_jpeg(data) if flags == READ_FLAGS and data.startswith(JPEG) else None
    if image is None and data:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise PoseError(f"image {path}: cannot be decoded; fetch it again")
    return image


def _decode_jpeg(data: bytes) -> np.ndarray | None:
    """The same pixels as OpenCV's, sooner; None for what OpenCV alone may know, such as CMYK."""
    try:
        return simplejpeg.decode_jpeg(data, "BGR", strict=False)
    except ValueError:
        return None


def check_size(image: np.ndarray, annotated: Sequence[int], path: str | Path) -> None:
    """PoseError unless ``image`` has the ``annotated`` width and height: joints would be wrong."""
    height, width = image.shape[:2]
    if (width, height) != tuple(annotated):
        said = "x".join(map(str, annotated))
        raise PoseError(
            f"image {path}: {width}x{height} pixels, annotated as {said}; fetch the original again"
        )


class Archive:
    """Random access to the members of a zip file.

    Its directory is held in flat arrays, which forked workers share without copying, and its bytes
    are read at given offsets, so that a file opened before a fork serves every process.
    """

    def __init__(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
        except zipfile.BadZipFile:
            raise PoseError(f"{path}: not a whole zip archive; fetch it again") from None
        names = np.array([member.filename.encode() for member in members], dtype=bytes)
        order = np.argsort(names)
        columns = [(m.header_offset, m.compress_size, m.compress_type, m.CRC) for m in members]
        self.path = Path(path)
        self.names = names[order]
        self._places = np.array(columns, np.int64).reshape(-1, 4)[order]
        self._file = os.open(path, os.O_RDONLY)

    def __contains__(self, name: str) -> bool:
        return self._position(name) is not None

    def read(self, name: str) -> bytes:
        """A member's content; FileNotFoundError, or PoseError when it is damaged."""
        position = self._position(name)
        if position is None:
            raise FileNotFoundError(f"no {name} in {self.path}")
        offset, size, method, checksum = map(int, self._places[position])
        header = os.pread(self._file, LOCAL_HEADER, offset)
        lengths = np.frombuffer(header, "<u2", 2, 26).sum(dtype=int)
        data = os.pread(self._file, size, offset + LOCAL_HEADER + lengths)
        try:
            if method == zipfile.ZIP_DEFLATED:
                data = zlib.decompress(data, wbits=-zlib.MAX_WBITS)
        except zlib.error:
            data = b""
        if zlib.crc32(data) != checksum:
            raise PoseError(f"{self.path}: {name} is damaged; fetch the archive again")
        return data

    def _position(self, name: str) -> int | None:
        key = name.encode()
        if len(key) > self.names.itemsize:
            return None  # nor would numpy cut the key, it would widen a copy of all names
        position = int(np.searchsorted(self.names, np.array(key, self.names.dtype)))
        found = position < len(self.names) and self.names[position] == key
        return position if found else None


@lru_cache(maxsize=8)
def open_archive(path: str) -> Archive:
    """The archive at ``path``, opened once in each process (a forked one inherits it)."""
    return Archive(Path(path))
