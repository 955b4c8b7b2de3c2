"""Keypoint sets: names, left-right pairs, body halves and OKS constants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class KeypointSet:
    """The joints of a data set, in its own order.

    ``flip_pairs``: indices of left-right twins. ``upper_body``: the half that half-body
    augmentation may keep; the rest is the lower half. ``skeleton``: edges to draw.
    ``sigmas``: per-joint OKS constants, or None where OKS is not defined.
    """

    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    upper_body: tuple[int, ...]
    skeleton: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def flip_index(self) -> np.ndarray:
        """Permutation (K,) that swaps left and right joints."""
        index = np.arange(len(self))
        for left, right in self.flip_pairs:
            index[[left, right]] = right, left
        return index
