"""How sure a score is: bootstrap over the images that it was measured on.

A resample draws as many images as there are, with replacement, so that an image counts 0, 1, 2 or
more times (Everingham et al., IJCV 2015). Detections are matched to persons within one image, so
that is done once; a resample only weighs the images anew. Models that are compared are given the
same draws. What other images would have changed is measured so, not what another seed would have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from pose.datasets.coco_format import Truth
from pose.datasets.mpii import COUNTED, GroundTruth
from pose.evaluation.coco import fastest, of_all_sizes, run
from pose.evaluation.pckh import USUAL, normalised_distances

SEED = 0
"""Of the draws: the same call gives the same intervals."""
RECALLS = np.linspace(0, 1, 101)
LEVEL = 0.95


class Sample(Protocol):
    """What one model achieved on each unit, an image or a person, that may be drawn."""

    metrics: ClassVar[tuple[str, ...]]
    units: int

    def scores(self, weights: np.ndarray) -> tuple[float, ...]:
        """The metrics where unit i counts ``weights[i]`` times; NaN where nobody is drawn."""


@dataclass(frozen=True)
class Matches:
    """The detections of one model, matched to the persons, by falling score.

    ``persons`` (units,): how many count, an image each. ``images`` (D,): the image of every
    detection. For each OKS threshold, ``found`` and ``ignored`` are the places in ``images`` of the
    detections that are right, and of those that do not count; ``before`` says how many of these
    come before each that is right.
    """

    metrics = ("AP", "AR")
    persons: np.ndarray
    images: np.ndarray
    found: list[np.ndarray]
    ignored: list[np.ndarray]
    before: list[np.ndarray]

    @classmethod
    def of(cls, results: Sequence[dict[str, Any]], truth: Truth) -> Matches:
        """The matches of sound results, as the evaluator makes them for persons of all sizes."""
        judge = run(results, truth, fastest(truth))
        number = {image: place for place, image in enumerate(sorted(truth.image_ids))}
        persons, images, scores = np.zeros(len(number), np.int64), [], []
        matched, ignored = [], []
        thresholds = len(judge.params.iouThrs)
        for one in of_all_sizes(judge):
            place, count = number[int(one["image_id"])], len(one["dtScores"])
            persons[place] = len(one["gtIgnore"]) - np.count_nonzero(one["gtIgnore"])
            images.append(np.full(count, place, np.int32))
            scores.append(np.array(one["dtScores"], float))
            matched.append(np.array(one["dtMatches"]).reshape(thresholds, count) > 0)
            ignored.append(np.array(one["dtIgnore"], bool).reshape(thresholds, count))
        order = np.argsort(-np.concatenate(scores), kind="stable")
        match, ignore = (np.concatenate(part, axis=1)[:, order] for part in (matched, ignored))
        found = [np.flatnonzero(row) for row in match & ~ignore]
        without = [np.flatnonzero(row) for row in ignore]
        before = [np.searchsorted(w, f) for w, f in zip(without, found, strict=True)]
        return cls(persons, np.concatenate(images)[order], found, without, before)

    @property
    def units(self) -> int:
        return len(self.persons)

    def scores(self, weights: np.ndarray) -> tuple[float, float]:
        """AP and AR as fractions, with unit weights those of pycocotools."""
        persons = int(weights @ self.persons)
        if not persons:
            return np.nan, np.nan
        # So many must be found to reach each recall, in the evaluator's own rounding.
        needed = np.searchsorted(np.arange(persons + 1) / persons, RECALLS)
        weight = weights[self.images]
        drawn = np.cumsum(weight)
        precision = np.zeros((len(self.found), len(RECALLS)))
        recall = np.zeros(len(self.found))
        parts = zip(self.found, self.ignored, self.before, strict=True)
        for row, (found, ignored, before) in enumerate(parts):
            if not len(found):
                continue
            right = np.cumsum(weight[found])
            counted = drawn[found]
            if len(ignored):
                counted = counted - np.cumsum(np.append(0, weight[ignored]))[before]
            best = np.maximum.accumulate((right / (counted + np.spacing(1)))[::-1])[::-1]
            reached = np.searchsorted(right, needed)
            precision[row] = np.append(best, 0)[reached]
            recall[row] = right[-1] / persons
        return float(precision.mean()), float(recall.mean())


@dataclass(frozen=True)
class Hits:
    """Joints within half a head size of the truth, and annotated ones: (units,), a person each.

    MPII's file of the truth does not tell the images, so persons are drawn.
    """

    metrics = ("PCKh@0.5",)
    found: np.ndarray
    joints: np.ndarray

    @classmethod
    def of(cls, predictions: np.ndarray, truth: GroundTruth) -> Hits:
        """Of joints (N, 16, 2) in 0-based pixels, row by row with the truth."""
        hits = normalised_distances(predictions, truth) <= USUAL
        return cls(hits[:, COUNTED].sum(axis=1), truth.visible[:, COUNTED].sum(axis=1))

    @property
    def units(self) -> int:
        return len(self.joints)

    def scores(self, weights: np.ndarray) -> tuple[float]:
        """PCKh@0.5 in percent."""
        joints = weights @ self.joints
        return (float(100 * (weights @ self.found) / joints) if joints else np.nan,)


def draws(units: int, resamples: int, seed: int = SEED) -> Iterator[np.ndarray]:
    """How often each unit counts in each resample: (units,) of int64 that sum to ``units``."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, units, units), minlength=units)


def resampled(samples: Sequence[Sample], resamples: int) -> list[np.ndarray]:
    """For each sample its scores (resamples, metrics); those of as many units share the draws."""

    def of_one(sample: Sample) -> np.ndarray:
        return np.array([sample.scores(w) for w in draws(sample.units, resamples)])

    with ThreadPoolExecutor() as pool:  # numpy works without Python's lock
        return list(pool.map(of_one, samples))


def interval(scores: np.ndarray) -> tuple[float, float]:
    """The percentiles between which 95 % of the resampled scores lie; NaN are left out."""
    low, high = np.nanpercentile(scores, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def p_better(differences: np.ndarray) -> float:
    """The share of resampled differences above 0, ties counted half."""
    known = differences[~np.isnan(differences)]
    return float(np.mean(known > 0) + np.mean(known == 0) / 2)


def p_value(differences: np.ndarray) -> float:
    """Two-sided, of no difference: never 0, as resamples are few; 1 where all are 0."""
    known = differences[~np.isnan(differences)]
    beyond = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))
    return min(1.0, 2 * (beyond + 1) / (len(known) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values, corrected for their number (Holm 1979)."""
    order = np.argsort(p_values)
    factors = len(order) - np.arange(len(order))
    corrected = np.minimum(np.maximum.accumulate(np.take(p_values, order) * factors), 1)
    return corrected[np.argsort(order)].tolist()
