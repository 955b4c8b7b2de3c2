"""Unpacking zip and tar archives without trusting them."""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple

from filelock import FileLock, Timeout

from pose.data.zipped import UNREADABLE, refused
from pose.support.download import Transfers, check_space
from pose.support.errors import PoseError

ELSEWHERE = "choose another --root"
DAMAGED = (*UNREADABLE, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)
LARGEST_HEADER = 1 << 20  # bytes of a long name or other notes on a tar's member
LOCK = "lock-of-pose.data.obtain"


class Member(NamedTuple):
    """A regular file of an archive; ``open()`` gives its content."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


class CheckedHeader(tarfile.TarInfo):
    """A tar's header whose damage is an error; tarfile takes one for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
        note = header.type not in tarfile.REGULAR_TYPES
        if header.size < 0 or (note and header.size > LARGEST_HEADER):
            raise tarfile.ReadError(f"a header says {header.size} bytes")
        return header


def extract_folder(archive: Path, folder: str, root: Path, transfers: Transfers) -> None:
    """Unpack the archive's top folder of that name to ``root``, where it appears whole.

    Raises PoseError, and nothing appears, for a damaged archive, one without the folder, one with
    a member that would land elsewhere or is not a plain file, and where something has its name.
    """
    target = root / folder
    if os.path.lexists(target):
        raise PoseError(f"{target} is there already; move it away to unpack {archive}")
    with _scratch(archive, root) as scratch, _members(archive) as (members, total):
        check_space(target, total or 0, archive.name, ELSEWHERE)
        advance = transfers.begin("unpacking", archive.name, 0, total)
        for member in members:
            _write(archive, member, scratch / member.name)
            advance(member.size)
        if not (scratch / folder).is_dir():
            raise PoseError(f"{archive}: no folder {folder} in it; is it the right file?")
        (scratch / folder).rename(target)


def extract_files(archive: Path, names: dict[str, str], root: Path, transfers: Transfers) -> None:
    """Unpack single files: the member whose path ends with a key becomes ``root /`` its value.

    Raises PoseError as :func:`extract_folder` does.
    """
    with _scratch(archive, root) as scratch, _members(archive) as (members, total):
        advance = transfers.begin("unpacking", archive.name, 0, total)
        found = set()
        for member in members:
            advance(member.size)
            for end in [end for end in names if f"/{member.name}".endswith(f"/{end}")]:
                _write(archive, member, scratch / names[end])
                found.add(end)
        if lacking := [name for name in names if name not in found]:
            raise PoseError(f"{archive}: no {', '.join(lacking)} in it; is it the right file?")
        for name in names.values():
            if os.path.lexists(root / name):
                raise PoseError(f"{root / name} is there already; move it away to unpack {archive}")
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).replace(root / name)


@contextmanager
def _scratch(archive: Path, root: Path) -> Iterator[Path]:
    """A folder below ``root`` that is gone afterwards; what breaks in it is a PoseError."""
    try:
        _remove_left_over(root)
        with (
            TemporaryDirectory(prefix=".unpack.", dir=root) as folder,
            FileLock(Path(folder, LOCK)),
        ):
            content = Path(folder, "content")
            content.mkdir()
            yield content
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # gzip's and bzip2's; a place before the file
            raise PoseError(_damaged(archive, error)) from None
        raise PoseError(
            f"cannot unpack {archive} in {root}: {error.strerror}; free some space or {ELSEWHERE}"
        ) from None
    except DAMAGED as error:
        raise PoseError(_damaged(archive, error)) from None


def _damaged(archive: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"{archive}: damaged ({reason.rstrip(':')}); delete it and fetch it again"


def _remove_left_over(root: Path) -> None:
    """Remove what killed runs left: folders of our making whose lock nobody holds."""
    for folder in root.glob(".unpack.????????"):
        with suppress(Timeout, OSError):  # it is in use, or another user's
            ours = not folder.is_symlink() and (folder / LOCK).is_file()
            if ours and {entry.name for entry in folder.iterdir()} <= {LOCK, "content"}:
                with FileLock(folder / LOCK, timeout=0):
                    shutil.rmtree(folder)


@contextmanager
def _members(archive: Path) -> Iterator[tuple[Iterator[Member], int | None]]:
    """The regular files of an archive, whose names are safe to write to, and their size if known.

    A zip or a tar, the latter also by gzip, bzip2 or LZMA. Who takes all members has read all
    checksums that it has.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            total = sum(member.file_size for member in file.infolist())
            yield _zip_members(archive, file), total
    else:
        with tarfile.open(archive, tarinfo=CheckedHeader) as file:
            yield _tar_members(archive, file), None


def _zip_members(archive: Path, file: zipfile.ZipFile) -> Iterator[Member]:
    for member in file.infolist():
        mode = member.external_attr >> 16
        _check(archive, member.filename, stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR))
        if problem := refused(member.compress_type, member.flag_bits):
            raise PoseError(f"{archive}: its member {member.filename!r}: {problem}")
        if not member.is_dir():
            yield Member(member.filename, member.file_size, lambda m=member: file.open(m))


def _tar_members(archive: Path, file: tarfile.TarFile) -> Iterator[Member]:
    for member in file:
        _check(archive, member.name, member.isfile() or member.isdir())
        if member.size < 0:  # tarfile would go backwards, for ever
            raise tarfile.ReadError(f"{member.name!r} says {member.size} bytes")
        if member.isfile():
            yield Member(member.name, member.size, lambda m=member: file.extractfile(m))
    while file.fileobj.read(1 << 20):  # the checksum of a compressed tar lies at its end
        pass


def _check(archive: Path, name: str, plain: bool) -> None:
    parts = PurePosixPath(name).parts
    inside = not name.startswith("/") and ".." not in parts and not {"\\", ":"} & set(name)
    if not (inside and plain):
        what = "is not a plain file" if inside else "would be written elsewhere"
        raise PoseError(f"{archive}: its member {name!r} {what}; nothing of it was kept")


def _write(archive: Path, member: Member, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = path.open("xb")
    except (FileExistsError, NotADirectoryError):
        raise PoseError(
            f"{archive}: it has {member.name!r} twice, or as a file and a folder;"
            " nothing of it was kept"
        ) from None
    with target, member.open() as source:
        check_space(path, member.size, member.name, ELSEWHERE)
        shutil.copyfileobj(source, target, 1 << 20)
