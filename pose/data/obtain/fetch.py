"""Fetching what is missing of a data set, several files at a time, each checked and noted."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from pose.data.obtain.archives import ELSEWHERE, extract_files, extract_folder
from pose.data.obtain.mpii_release import convert
from pose.data.obtain.sources import DETECTED, Source, part
from pose.datasets import dataset_of
from pose.support.download import Transfers, download
from pose.support.errors import PoseError
from pose.support.files import atomic, read_json

SUMS = "SHA256SUMS"


def obtain(
    dataset: str,
    root: Path,
    parts: Iterable[str],
    connections: int = 4,
    unpack: bool = False,
    mirror: str | None = None,
) -> None:
    """Fetch the ``parts`` of a data set to ``root``, as far as they are not there.

    ``unpack``: also the zip archives of images, which can be read as they are. ``mirror``, by
    default ``$POSE_DATA_MIRROR``, replaces scheme and host of the addresses. Raises PoseError.
    """
    files = [source for name in parts for source in part(dataset, name)]
    mirror = mirror or os.environ.get("POSE_DATA_MIRROR")
    try:
        root.mkdir(parents=True, exist_ok=True)
        _obtain_files(files, root, connections, unpack, mirror)
    except OSError as error:
        place = error.filename or root
        raise PoseError(f"{place}: {error.strerror or error}; mend that or {ELSEWHERE}") from None
    _convert(root, [source for source in files if source.kind == "release"])
    _check_by_hand(root, [source for source in files if source.kind == "by_hand"])


def _obtain_files(
    files: list[Source], root: Path, connections: int, unpack: bool, mirror: str | None
) -> None:
    with Transfers() as transfers, ThreadPoolExecutor(connections) as pool:
        jobs = [
            pool.submit(_obtain_file, source, root, unpack, mirror, transfers)
            for source in files
            if source.kind != "by_hand"
        ]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:
            transfers.cancel()
            pool.shutdown(cancel_futures=True)
            raise


def is_there(source: Source, root: Path, unpack: bool = False) -> bool:
    """Whether what the file is for lies below ``root``, from here or from elsewhere."""
    if source.kind == "images":
        (folder,) = source.contents
        folders = [root / folder, root / "images" / folder]
        archives = [] if unpack else [path.with_suffix(".zip") for path in folders]
        return any(path.is_dir() for path in folders) or any(path.is_file() for path in archives)
    if source.kind == "release":
        splits = [dataset_of(source.dataset).annotations(root, split) for split in ("train", "val")]
        return all(path.is_file() for path in splits)
    wanted = source.contents if source.kind in ("folder", "files") else [source.path]
    return all((root / name).exists() for name in wanted)


def _obtain_file(
    source: Source, root: Path, unpack: bool, mirror: str | None, transfers: Transfers
) -> None:
    path = root / source.path
    there = is_there(source, root, unpack)
    if not there and not path.exists():
        url = mirror.rstrip("/") + urlsplit(source.url).path if mirror else source.url
        download(source, url, path, path.name, ELSEWHERE, transfers, persist=True)
        _note(root, source)
    elif path.exists() and not any(_names(line, source) for line in _noted(root)):
        if problem := source.mismatch(path):
            raise PoseError(f"{path} is not the published file: {problem}; delete it and try again")
        if os.access(root, os.W_OK):  # a read-only copy is checked each time
            _note(root, source)
    if there:
        return
    if source.kind == "folder" or (source.kind == "images" and unpack):
        (folder,) = source.contents
        extract_folder(path, folder, root, transfers)
    elif source.kind in ("files", "release"):
        missing = {name: name for name in source.contents if not (root / name).exists()}
        extract_files(path, missing, root, transfers)


def _noted(root: Path) -> list[str]:
    """The lines of the list that ``sha256sum --check`` reads; some may not be ours."""
    sums = root / SUMS
    return sums.read_text(errors="surrogateescape").splitlines() if sums.exists() else []


def _names(line: str, source: Source) -> bool:
    """Whether a line of the list is about the file: ``DIGEST  PATH``, or ``DIGEST *PATH``."""
    return re.fullmatch(rf"[0-9a-fA-F]{{64}} [ *]{re.escape(source.path)}", line) is not None


def _note(root: Path, source: Source) -> None:
    with (root / source.path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with FileLock(root / f"{SUMS}.lock"):
        lines = [line for line in _noted(root) if not _names(line, source)]
        lines.append(f"{digest}  {source.path}")
        with atomic(root / SUMS) as path:
            path.write_text("".join(f"{line}\n" for line in lines), errors="surrogateescape")


def _convert(root: Path, files: list[Source]) -> None:
    """Make HRNet's annotations of MPII's release, unless they are there."""
    for source in files:
        if not is_there(source, root):
            (release,) = source.contents
            folder = root / "annot"
            counts = convert(root / release, folder / "gt_valid.mat", folder)
            print(f"{folder}: {counts['train']} train and {counts['valid']} val persons")


def _check_by_hand(root: Path, files: list[Source]) -> None:
    """Check the files whose host serves browsers only, or say where to get and to put them."""
    for source in files:
        path = root / source.path
        if not path.exists():
            raise PoseError(
                f"{path} has to be fetched by hand: download {path.name} from {source.url} with a"
                " browser, put it there and run this again"
            )
        boxes, expected = read_json(path), DETECTED.get(*source.contents)
        if not isinstance(boxes, list) or len(boxes) != (expected or len(boxes)):
            raise PoseError(f"{path}: not HRNet's list of {expected} boxes; download it again")
        if problem := source.mismatch(path):
            print(f"{path}: {len(boxes)} boxes, but another file than the known one: {problem}")
