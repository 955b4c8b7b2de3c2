"""The published files that we know: address, checksum and the model that each fits."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from pose.errors import PoseError, nearest


@dataclass(frozen=True)
class PublishedFile:
    """A row of ``published.csv``.

    ``model`` is a name of :func:`pose.models.list_models`, or timm's name of a backbone; ``input``
    is HxW, empty for a backbone. ``size`` in bytes, empty where nobody states it. ``checksum`` is
    ``git-blob-sha1:HEX`` or ``sha256-prefix:HEX`` (the digits in the file names of timm's zoo).
    """

    name: str
    model: str
    dataset: str
    input: str
    url: str
    size: str
    checksum: str
    licence: str

    def mismatch(self, path: Path) -> str:
        """How the file at ``path`` differs from the published one; empty if it does not."""
        size = path.stat().st_size
        if self.size and size != int(self.size):
            return f"expected {self.size} bytes, got {size}"
        kind, _, expected = self.checksum.partition(":")
        # git names a file's content by the hash of a header and the content
        digest = hashlib.sha1(b"blob %d\0" % size) if kind == "git-blob-sha1" else hashlib.sha256()
        with path.open("rb") as file:
            got = hashlib.file_digest(file, lambda: digest).hexdigest()[: len(expected)]
        return "" if got == expected else f"expected {kind} {expected}, got {got}"


@cache
def catalogue() -> dict[str, PublishedFile]:
    """Every published file by name, in the order of ``published.csv``."""
    with resources.files(__package__).joinpath("published.csv").open(newline="") as file:
        return {row["name"]: PublishedFile(**row) for row in csv.DictReader(file)}


def checkpoints() -> list[PublishedFile]:
    """The published whole models, in the catalogue's order; the other files are backbones."""
    return [file for file in catalogue().values() if file.input]


def published_file(name: str) -> PublishedFile:
    """The file of that name; PoseError for an unknown one."""
    if name not in catalogue():
        raise PoseError(f"no published weights are named {name!r}{nearest(name, catalogue())}")
    return catalogue()[name]
