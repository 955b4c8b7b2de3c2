"""The data sets by name; the module of that name in :mod:`pose.datasets` describes each."""

from __future__ import annotations

from pose.support.errors import PoseError, nearest

DATASETS = (
    "coco",
    "mpii",
    "synthetic",
)


def known_dataset(name: str) -> str:
    """The name itself; PoseError for one that is not listed."""
    if name not in DATASETS:
        hint = nearest(name, DATASETS) or f"; known are {', '.join(DATASETS)}"
        raise PoseError(f"unknown data set {name!r}{hint}")
    return name
