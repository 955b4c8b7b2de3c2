"""Scores of single kinds of joints and persons: by keypoint, size, overlap and labelled joints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.error_kinds import BINS, People
from analysis.results import keypoint_column
from analysis.statistics import draws
from pose.config.model_sheet import Sheet
from pose.datasets import Dataset
from pose.datasets.coco_format import Truth
from pose.evaluation.pckh import USUAL

FEWEST = 10
"""Persons; a group of fewer is left out, because resamples cannot tell how sure it is."""


@dataclass(frozen=True)
class Group:
    """One kind of joints, ``by`` what and which, and how many ``joints`` are of it.

    ``scores``: percent, a row per seed and a column per order. ``drawn``: order -> its resampled
    scores, averaged over seeds.
    """

    by: str
    name: str
    joints: int
    scores: pd.DataFrame
    drawn: dict[str, np.ndarray]


def group_scores(
    persons: pd.DataFrame, dataset: Dataset, truth: Any, resamples: int, sheet: Sheet
) -> Iterator[Group]:
    """The groups of the persons of one setting and source of boxes, of load_persons.

    ``truth`` has the boxes, for the overlap; None leaves that out.
    """
    names = list(dataset.keypoints.names)
    columns = [keypoint_column(name, sheet) for name in names]
    key = ["image_id", "person_id"] if dataset.metric == "AP" else ["row"]
    runs = {
        run: own.set_index(key).sort_index()
        for run, own in persons.groupby(["order", "seed"], sort=False)
    }
    first = next(iter(runs.values()))
    joints = {
        run: _right(own.reindex(first.index, columns=columns), dataset.metric)
        for run, own in runs.items()
    }
    labelled = first.reindex(columns=columns).notna().to_numpy()
    images = pd.factorize(first.index.get_level_values(0))[0]
    weights = np.array(list(draws(images.max() + 1, resamples)), float)

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(images, values.sum(axis=1))

    for by, name, members in _groups(first, names, labelled, truth):
        if members.any(axis=1).sum() < FEWEST:
            continue
        count = summed(members)
        found = {run: summed(np.where(members, right, 0)) for run, right in joints.items()}
        scores = pd.Series({run: 100 * sums.sum() / count.sum() for run, sums in found.items()})
        with np.errstate(invalid="ignore"):  # where no joint of the group is drawn
            drawn = pd.DataFrame(
                {r: 100 * weights @ s / (weights @ count) for r, s in found.items()}
            )
        drawn = drawn.T.groupby(level=0).mean().T
        table = scores.unstack(level=0)
        yield Group(by, name, int(count.sum()), table, {o: drawn[o].to_numpy() for o in drawn})


def _right(joints: pd.DataFrame, metric: str) -> np.ndarray:
    """Of each joint its similarity to the truth, or whether it is right as PCKh@0.5 has it."""
    return joints.to_numpy(float) if metric == "AP" else joints.to_numpy(float) <= USUAL


def _groups(
    persons: pd.DataFrame, names: list[str], labelled: np.ndarray, truth: Any
) -> Iterator[tuple[str, str, np.ndarray]]:
    """What each group is by, its name, and which joints (P, K) are of it."""
    parts = np.array([name.removeprefix("left_").removeprefix("right_") for name in names])
    for part in dict.fromkeys(parts):
        yield "keypoint", part, labelled & (parts == part)
    values = {"labelled joints": labelled.sum(axis=1)}
    if "area" in persons and persons["area"].notna().all():
        values["area"] = persons["area"].to_numpy(float)
    if isinstance(truth, Truth):
        numbers = [person["id"] for person in truth.content["annotations"]]
        overlap = dict(zip(numbers, People.of(truth).overlapping(), strict=True))
        values["overlapping persons"] = np.array([overlap[n] for _, n in persons.index])
    for by, bins in BINS.items():
        if by in values:
            starts = np.array([start for start, _ in bins])
            bin_of = np.searchsorted(starts, values[by], side="right") - 1
            for number, (_, name) in enumerate(bins):
                yield by, name, labelled & (bin_of == number)[:, None]
