"""Random access to the images in a zip archive, by any number of processes."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from pose.support.errors import PoseError

LOCAL_HEADER = 30  # bytes before a member's name; bytes 26..29 hold the lengths that follow it
LONGEST_NAME = 1024  # characters; longer names, which no folder can hold, are left out
MAX_BYTES = 1 << 30
"""Larger files are no images: they are refused before memory is taken."""
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
UNREADABLE = (
    zipfile.BadZipFile,
    NotImplementedError,  # a format of the far future
    OverflowError,
    ValueError,
    struct.error,
)
"""What zipfile raises for a file that is no zip archive, or a damaged one."""
ENCRYPTED = 1  # this bit of a member's flags


def refused(method: int, flags: int) -> str:
    """Why a member of this compression and these flags is not read; empty if it is."""
    if flags & ENCRYPTED:
        return "encrypted; pack it without a password"
    if method not in READABLE:
        name = zipfile.compressor_names.get(method, method)
        return f"unsupported compression ({name}); pack it again, stored or deflated"
    return ""


class Archive:
    """Random access to the members of a zip file.

    Its directory is held in flat arrays, which forked workers share without copying, and its bytes
    are read at given offsets, so that a file opened before a fork serves every process.
    """

    def __init__(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                members = [m for m in archive.infolist() if len(m.filename) <= LONGEST_NAME]
            members = [member for member in members if not member.is_dir()]
            columns = [
                (
                    max(m.header_offset, 0),  # less is damage, which the checksum will tell
                    m.compress_size,
                    m.file_size,
                    m.compress_type,
                    m.flag_bits,
                    m.CRC,
                )
                for m in members
            ]
            places = np.array(columns, np.int64).reshape(-1, 6)
        except UNREADABLE:
            raise PoseError(f"{path}: not a whole zip archive; fetch it again") from None
        names = np.array([member.filename.encode() for member in members], dtype=bytes)
        order = np.argsort(names)
        self.path = Path(path)
        self.names = names[order]
        self._places = places[order]
        twice = (self.names[1:] == self.names[:-1]) & np.diff(self._places[:, -1]).astype(bool)
        if twice.any():
            name = self.names[:-1][twice][0].decode()
            raise PoseError(f"{path}: holds two different {name!r}; remove one from the archive")
        self._file = os.open(path, os.O_RDONLY)

    def __contains__(self, name: str) -> bool:
        return self._position(name) is not None

    def read(self, name: str) -> bytes:
        """A member's content; FileNotFoundError, or PoseError when it is damaged."""
        position = self._position(name)
        if position is None:
            raise FileNotFoundError(f"no {name} in {self.path}")
        offset, packed, size, method, flags, checksum = map(int, self._places[position])
        if problem := refused(method, flags):
            raise PoseError(f"{self.path}: {name}: {problem}")
        if max(packed, size) > MAX_BYTES:
            raise PoseError(f"{self.path}: {name}: {size} bytes are too many for an image")
        try:
            header = os.pread(self._file, LOCAL_HEADER, offset)
            lengths = np.frombuffer(header, "<u2", 2, 26).sum(dtype=int)
            data = os.pread(self._file, packed, offset + LOCAL_HEADER + lengths)
            if method == zipfile.ZIP_DEFLATED:
                inflate = zlib.decompressobj(-zlib.MAX_WBITS)
                data = inflate.decompress(data, size + 1)  # not more, whatever it would become
        except (zlib.error, ValueError):
            data = b""
        if len(data) != size or zlib.crc32(data) != checksum:
            raise PoseError(f"{self.path}: {name} is damaged; fetch the archive again")
        return data

    def _position(self, name: str) -> int | None:
        key = name.encode()
        if len(key) > self.names.itemsize:
            return None  # searchsorted would copy all names to make them as long as the key
        position = int(np.searchsorted(self.names, np.array(key, self.names.dtype)))
        found = position < len(self.names) and self.names[position] == key
        return position if found else None


@lru_cache(maxsize=8)
def open_archive(path: str) -> Archive:
    """The archive at ``path``, opened once in each process (a forked one inherits it)."""
    return Archive(Path(path))
