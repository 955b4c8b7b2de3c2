"""The data sets and their metrics; the module of that name in :mod:`pose.datasets` has the rest."""

from __future__ import annotations

from pose.support.errors import PoseError, nearest

DATASETS = {
    "coco": "AP",
    "mpii": "PCKh@0.5",
    "synthetic": "AP",
}
"""Name -> the score that drives the learning rate and picks the best epoch."""


def known_dataset(name: str) -> str:
    """The name itself; PoseError for one that is not listed."""
    if name not in DATASETS:
        hint = nearest(name, DATASETS) or f"; known are {', '.join(DATASETS)}"
        raise PoseError(f"unknown data set {name!r}{hint}")
    return name
