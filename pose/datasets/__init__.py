"""The data sets, a file each: keypoints, files on disk and how they are read, metric."""

from __future__ import annotations

from importlib import import_module

from pose.config.datasets import known_dataset
from pose.datasets.dataset import Dataset


def dataset_of(name: str) -> Dataset:
    """The data set of that name; its module is imported when it is asked for.

    Raises PoseError for an unknown name.
    """
    return import_module(f"{__name__}.{known_dataset(name)}").DATASET
