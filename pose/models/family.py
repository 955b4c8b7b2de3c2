"""What a model tells of itself besides its net."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from torch import nn

from pose.models.naming import Naming
from pose.support.errors import PoseError, nearest

INITS = ("scratch", "imagenet")
Parity = Literal["heat maps", "statistics", "counts"]
"""What of a model the tests compare with its source; each includes those after it."""


class Start(NamedTuple):
    """A part of a model that starts from a published file.

    ``own_key`` maps the file's names to the part's, and to None what the part does without, such as
    a classifier. ``fresh``: beginnings of the part's names that the file cannot know.
    """

    part: nn.Module
    file: str
    own_key: Callable[[str], str | None]
    fresh: tuple[str, ...] = ()


class PoseModel(nn.Module):
    """A net from images (B, 3, H, W) to heat maps (B, K, h, w).

    ``name`` is the sheet's. ``namings``: how projects call its tensors in their checkpoints, its
    own project's first. ``training_only``: dictionaries of modules that take part in training
    alone, so that published weights may lack them.
    ``imagenet``: the published file of its trunk's weights, None where there is none.
    """

    name: str = ""
    namings: ClassVar[Sequence[Naming]] = ()
    training_only: ClassVar[Sequence[str]] = ()
    imagenet: str | None = None

    def starts(self, init: str) -> Iterator[Start]:
        """The parts that start from published files, each loaded before the next is asked for.

        None for "scratch". PoseError for an unknown ``init``, and for one without files.
        """
        if init not in INITS:
            raise PoseError(f"unknown init {init!r}{nearest(init, INITS)}")
        if init == "scratch":
            return
        if self.imagenet is None:
            raise PoseError(
                f"{self.name}: no ImageNet weights of its trunk exist; use init=scratch"
            )
        yield from self.imagenet_starts(self.imagenet)

    def start_head(self, weight: float) -> None:
        """Set the ``head_weight`` of the config; nothing in a net without such a head."""

    def imagenet_starts(self, file: str) -> Iterator[Start]:
        """Which parts the file of ImageNet weights is for."""
        raise NotImplementedError


@dataclass(frozen=True)
class Family:
    """The models of one module, and where they come from.

    ``models``: name -> builder, which takes ``num_keypoints`` and the family's options by keyword.
    ``source``: the repository and commit, or the paper, that each is equal to or rebuilt from.
    ``licence`` is the source's; ``bibtex`` cites its paper. ``parity``: what is known to be equal
    to the source, of each model that is compared with it.
    """

    models: dict[str, Callable[..., PoseModel]]
    source: str
    licence: str
    bibtex: str
    parity: dict[str, Parity] = field(default_factory=dict)
