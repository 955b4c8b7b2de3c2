"""The files that COCO and MPII come in: address, size, checksum, and what becomes of each."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

from pose.support.checksum import Published
from pose.support.errors import PoseError, nearest

DEFAULT_PARTS = {
    "coco": ("annotations", "val2017", "train2017"),
    "mpii": ("annotations", "images"),
}
"""What is fetched of a data set unless told otherwise."""

DETECTED = {"val": 104_125}
"""Persons that HRNet's detector found; nobody states the number for test-dev."""


@dataclass(frozen=True)
class Source(Published):
    """A row of ``sources.csv``; ``stated_by`` says where its size and checksum are from.

    ``path``: where the file lies below the data set's root. ``size`` in bytes and ``checksum``
    (``md5:HEX`` or ``sha256:HEX``) are empty where nobody states one. ``use`` is what it is for:
    ``images:FOLDER`` (images read straight from the zip, or unpacked), ``folder:FOLDER`` (to be
    unpacked), ``files:NAME NAME`` (these are unpacked), ``release:NAME`` (MPII's .mat file, to be
    converted), ``keep:``, or ``by_hand:SPLIT`` (persons detected in a split; the host serves
    browsers only).
    """

    dataset: str
    part: str
    path: str
    use: str
    stated_by: str

    @property
    def kind(self) -> str:
        return self.use.partition(":")[0]

    @property
    def contents(self) -> list[str]:
        """The folder, files or split of ``use``."""
        return self.use.partition(":")[2].split()


@cache
def sources() -> tuple[Source, ...]:
    """Every file, in the order of ``sources.csv``."""
    with resources.files(__package__).joinpath("sources.csv").open(newline="") as file:
        return tuple(Source(**row) for row in csv.DictReader(file))


def parts_of(dataset: str) -> list[str]:
    """The parts that a data set can be obtained in."""
    return list(dict.fromkeys(source.part for source in sources() if source.dataset == dataset))


def part(dataset: str, name: str) -> list[Source]:
    """The files of one part; PoseError for an unknown one."""
    found = [source for source in sources() if (source.dataset, source.part) == (dataset, name)]
    if not found:
        known = parts_of(dataset)
        raise PoseError(
            f"{dataset} has no part {name!r}{nearest(name, known)}; it has {', '.join(known)}"
        )
    return found
