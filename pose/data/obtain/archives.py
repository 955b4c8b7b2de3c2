"""Unpacking zip and tar archives without trusting them."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple

from pose.support.download import Transfers, check_space
from pose.support.errors import PoseError

ELSEWHERE = "choose another --root"
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error)


class Member(NamedTuple):
    """A regular file of an archive; ``open()`` gives its content."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def extract_folder(archive: Path, folder: str, root: Path, transfers: Transfers) -> None:
    """Unpack the archive's top folder of that name to ``root``, where it appears whole.

    Raises PoseError, before anything is written to ``root / folder``, for a damaged archive, one
    without the folder, and one with a member that would land elsewhere or is not a plain file.
    """
    with _scratch(archive, root) as scratch, _members(archive) as members:
        advance = _begin(archive, transfers)
        for member in members:
            path = scratch / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(member, path)
            advance(member.size)
        if not (scratch / folder).is_dir():
            raise PoseError(f"{archive}: no folder {folder} in it; is it the right file?")
        (scratch / folder).rename(root / folder)


def extract_files(archive: Path, names: dict[str, str], root: Path, transfers: Transfers) -> None:
    """Unpack single files: the member whose path ends with a key becomes ``root /`` its value."""
    with _scratch(archive, root) as scratch, _members(archive) as members:
        advance = _begin(archive, transfers)
        wanted = dict(names)
        for member in members:
            advance(member.size)
            for end in [end for end in wanted if f"/{member.name}".endswith(f"/{end}")]:
                _write(member, scratch / "file")
                target = root / wanted.pop(end)
                target.parent.mkdir(parents=True, exist_ok=True)
                (scratch / "file").replace(target)
        if wanted:
            raise PoseError(f"{archive}: no {', '.join(wanted)} in it; is it the right file?")


@contextmanager
def _scratch(archive: Path, root: Path) -> Iterator[Path]:
    """A folder below ``root`` that is gone afterwards; what breaks in it is a PoseError."""
    try:
        with TemporaryDirectory(prefix=".unpack.", dir=root) as scratch:
            yield Path(scratch)
    except DAMAGED as error:
        raise PoseError(f"{archive}: damaged ({error}); delete it and fetch it again") from None
    except OSError as error:
        raise PoseError(
            f"cannot unpack {archive} in {root}: {error.strerror or error};"
            f" free some space or {ELSEWHERE}"
        ) from None


def _begin(archive: Path, transfers: Transfers) -> Callable[[int], None]:
    total = None
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            total = sum(member.file_size for member in file.infolist())
    return transfers.begin("unpacking", archive.name, 0, total)


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    """The regular files of a zip or tar archive, whose names are safe to write to."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield _zip_members(archive, file)
    else:
        with tarfile.open(archive) as file:
            yield _tar_members(archive, file)


def _zip_members(archive: Path, file: zipfile.ZipFile) -> Iterator[Member]:
    for member in file.infolist():
        mode = member.external_attr >> 16
        _check(archive, member.filename, stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR))
        if not member.is_dir():
            yield Member(member.filename, member.file_size, lambda m=member: file.open(m))


def _tar_members(archive: Path, file: tarfile.TarFile) -> Iterator[Member]:
    for member in file:
        _check(archive, member.name, member.isfile() or member.isdir())
        if member.isfile():
            yield Member(member.name, member.size, lambda m=member: file.extractfile(m))


def _check(archive: Path, name: str, plain: bool) -> None:
    parts = PurePosixPath(name).parts
    inside = not name.startswith("/") and ".." not in parts and not {"\\", ":"} & set(name)
    if not (inside and plain):
        what = "is not a plain file" if inside else "would be written elsewhere"
        raise PoseError(f"{archive}: its member {name!r} {what}; nothing of it was kept")


def _write(member: Member, path: Path) -> None:
    check_space(path, member.size, member.name, ELSEWHERE)
    with member.open() as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
