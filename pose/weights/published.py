"""The published files that we know: address, checksum and the model that each fits."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from pose.config import Experiment, experiment
from pose.config.model_sheet import model_sheet
from pose.support.checksum import Published, digest
from pose.support.errors import PoseError, nearest


@dataclass(frozen=True)
class PublishedFile(Published):
    """A row of ``published.csv``.

    ``model`` is a name of :func:`pose.models.list_models`, or timm's name of a backbone; ``input``
    is HxW, empty for a backbone. ``by_hand``: which file at ``url``, where only a browser can fetch
    it. ``size`` in bytes, empty where nobody states it. ``checksum`` is ``git-blob-sha1:HEX``,
    ``sha256-prefix:HEX`` (the digits in the file names of many zoos) or empty where none is known.
    ``expected``: the published AP on COCO val2017 or PCKh@0.5 on MPII val, in percent, with the
    ``boxes`` it was reached with ("gt", "det" or empty where nobody says). ``overrides``: JSON of
    the settings in which these weights differ from their model's own recipe.
    """

    name: str
    model: str
    dataset: str
    input: str
    by_hand: str
    licence: str
    expected: str
    boxes: str
    overrides: str

    def file_names(self) -> set[str]:
        """How the file is called where it is published, and in the cache."""
        where = self.by_hand or unquote(urlsplit(self.url).path)
        return {PurePosixPath(where).name, f"{self.name}.pth"}

    def experiment(self) -> Experiment:
        """How a whole model's weights are evaluated: its own recipe, tested as released."""
        size = tuple(int(side) for side in self.input.split("x"))
        overrides = json.loads(self.overrides or "{}")
        return experiment(self.model, self.dataset, size, overrides=overrides)


@cache
def catalogue() -> dict[str, PublishedFile]:
    """Every published file by name, in the order of ``published.csv``."""
    with resources.files(__package__).joinpath("published.csv").open(newline="") as file:
        return {row["name"]: PublishedFile(**row) for row in csv.DictReader(file)}


def whole_models() -> list[PublishedFile]:
    """The files that hold a whole model, in the catalogue's order."""
    return [file for file in catalogue().values() if file.input]


def checkpoints() -> list[PublishedFile]:
    """The whole models of the paper's authors, in the catalogue's order."""
    families = {model: row["family"] for model, row in model_sheet().items()}
    return [file for file in whole_models() if families.get(file.model) == "eeffpose"]


def recognised(path: Path) -> PublishedFile | None:
    """The published whole model that a file is, by its content or else by its own or our name.

    None for another file. Raises PoseError where the name is of a file with another content.
    """
    known = [(*file.checksum.split(":"), file) for file in whole_models() if file.checksum]
    with path.open("rb") as content:
        found = {kind: digest(content, kind) for kind in {kind for kind, _, _ in known}}
    for kind, expected, file in known:
        if found[kind].startswith(expected):
            return file
    named = [file for file in whole_models() if path.name in file.file_names()]
    if len(named) != 1:
        return None
    if problem := named[0].mismatch(path):
        raise PoseError(f"{path} is not the published {named[0].name}: {problem}")
    return named[0]


def published_file(name: str) -> PublishedFile:
    """The file of that name; PoseError for an unknown one."""
    if name not in catalogue():
        raise PoseError(f"no published weights are named {name!r}{meant_by(name)}")
    return catalogue()[name]


def meant_by(name: str) -> str:
    """What an unknown name may stand for, to end an error with: a model's checkpoints, a typo."""
    of_model = [file.name for file in whole_models() if file.model == name]
    if of_model:
        return f"; of {name} there are {', '.join(of_model)}"
    return nearest(name, catalogue())
