"""What keeps COCO results from an AP of 1: kinds of errors, and the AP that each costs.

Ronchi and Perona, Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation, ICCV 2017.
A result is of the person that the evaluator matches to it at an OKS of 0.1. Each labelled joint of
that person is then of one kind, by the similarity exp(-d^2 / (2 s^2 k^2)) of the result's joint:

* good, above 0.85 to its own annotation; jitter, from 0.5 on;
* else inversion, at least 0.5 to its left-right counterpart; swap, at least 0.5 to that joint or
  its counterpart of another person; of two such the nearer one;
* miss, near to none of them.

Further kinds are of whole persons: scores in another order than the OKS, background (results of
nobody, among them second results of a person) and misses (persons without a result).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from pose.datasets.coco_format import Truth
from pose.datasets.fields import PERSON
from pose.evaluation import coco
from pose.evaluation.boxes import box_iou

KINDS = ("good", "jitter", "inversion", "swap", "miss")
STEPS = ("miss", "swap", "inversion", "jitter", "scores", "background", "misses", "good")
"""What is mended, in this order where it is in turn; after the last one AP is 1."""
FOUND = 0.1  # OKS of a result to its person
GOOD, NEAR = 0.85, 0.5
PAIRS = 100_000  # of a result and a person that are compared in one go
BINS = {
    "area": ((0, "< 32²"), (32**2, "32²-64²"), (64**2, "64²-96²"), (96**2, "96²-128²"),
             (128**2, "> 128²")),
    "overlapping persons": ((0, "0"), (1, "1-2"), (3, "3 or more")),
    "labelled joints": ((1, "1-5"), (6, "6-10"), (11, "11-15"), (16, "16 or more")),
}  # fmt: skip
"""Smallest value and name of each bin; persons overlap whose boxes have an IoU above 0.1."""


@dataclass(frozen=True)
class Analysis:
    """Results (N), the persons (P) that they are of, and the kind of each joint (K).

    ``results``: the records, of each image the best 20, which alone are scored; ``truth``: the
    annotations. ``evaluator``: name and version of the library that matched and scored.
    ``joints`` (N, K, 2), ``scores`` (N,). ``owners`` (N,): the annotation, -1 for nobody's;
    ``ignored`` (N,): of a crowd or of a person that does not count. ``matched`` (P,): share of the
    ten OKS thresholds at which a person is found, the mean of which is AR.
    """

    truth: Truth
    evaluator: str
    ap: float
    joints: np.ndarray
    image_ids: np.ndarray
    scores: np.ndarray
    owners: np.ndarray
    ignored: np.ndarray
    matched: np.ndarray

    @classmethod
    def of(cls, results: Sequence[dict[str, Any]], truth: Truth) -> Analysis:
        """Of sound ``results``, such as :mod:`pose.evaluation.results` reads."""
        metrics = coco.evaluate(results, truth, "fast")
        judge = coco.run(results, truth, coco.fastest(truth))
        people = truth.content["annotations"]
        matched = np.zeros(len(people))
        for image in coco.of_all_sizes(judge):
            matched[_rows(image["gtIds"])] = (np.asarray(image["gtMatches"]) > 0).mean(axis=0)
        judge.params.iouThrs = np.array([FOUND])
        with redirect_stdout(io.StringIO()):
            judge.evaluate()
        owners = np.full(len(results), -1)
        scored, ignored = np.zeros((2, len(results)), bool)
        for image in coco.of_all_sizes(judge):
            rows = _rows(image["dtIds"])
            scored[rows], ignored[rows] = True, np.asarray(image["dtIgnore"], bool)[0]
            owners[rows] = np.asarray(image["dtMatches"], int)[0] - 1
        kept = [result for result, is_scored in zip(results, scored, strict=True) if is_scored]
        joints = np.array([result["keypoints"] for result in kept], float)
        return cls(
            truth=truth,
            evaluator=metrics["evaluator"],
            ap=metrics["AP"],
            joints=joints.reshape(len(kept), -1, 3)[..., :2],
            image_ids=np.array([result["image_id"] for result in kept], np.int64),
            scores=np.array([result["score"] for result in kept], float),
            owners=np.where(ignored, -1, owners)[scored],
            ignored=ignored[scored],
            matched=matched,
        )

    @cached_property
    def people(self) -> People:
        """The annotated persons."""
        return People.of(self.truth)

    @cached_property
    def kinds(self) -> np.ndarray:
        """Index into :data:`KINDS` (N, K) of every joint, -1 where there is nothing to compare."""
        people, flip = self.people, self.truth.keypoints.flip_index
        found = np.flatnonzero(self.owners >= 0)
        own = self.owners[found]
        straight = people.similarity(self.joints[found], own)
        mirrored = people.similarity(self.joints[found][:, flip], own)[:, flip]
        inverted = np.where(flip != np.arange(len(flip)), mirrored, 0)
        swapped = np.zeros_like(straight)
        for rows, persons in people.pairs(self.image_ids[found]):
            other = persons != own[rows]
            rows, persons = rows[other], persons[other]
            joints = self.joints[found[rows]]
            same = people.similarity(joints, persons)
            twin = people.similarity(joints[:, flip], persons)[:, flip]
            np.maximum.at(swapped, rows, np.maximum(same, twin))
        kinds = np.full(self.joints.shape[:2], -1)
        chosen = np.select(
            [
                straight > GOOD,
                straight >= NEAR,
                (inverted >= NEAR) & (inverted >= swapped),
                swapped >= NEAR,
            ],
            range(4),
            default=4,
        )
        kinds[found] = np.where(people.labelled[own], chosen, -1)
        return kinds

    @cached_property
    def duplicates(self) -> np.ndarray:
        """(N,) whether a result of nobody is near to a person that another result has taken."""
        return self.of_nobody & (self._best_oks(self.joints) >= FOUND)

    @property
    def missed(self) -> np.ndarray:
        """(P,) whether a person that counts has no result."""
        missed = self.people.counted.copy()
        missed[self.owners[self.owners >= 0]] = False
        return missed

    @property
    def of_nobody(self) -> np.ndarray:
        """(N,) whether a result is matched to no person and to no crowd."""
        return (self.owners < 0) & ~self.ignored

    def ap_without(self, *kinds: str) -> float:
        """The AP were there no errors of these kinds of :data:`STEPS`.

        Joints are put where they are annotated, scores set to the OKS with the nearest person,
        results of nobody left out, and persons without a result too.
        """
        joints, scores = self.joints, self.scores
        of_kind = np.isin(self.kinds, [KINDS.index(kind) for kind in kinds if kind in KINDS])
        joints = np.where(of_kind[..., None], self.people.joints[self.owners], joints)
        if "scores" in kinds:
            scores = self._best_oks(joints)
        kept = np.arange(len(scores))
        if "background" in kinds:
            kept = kept[~self.of_nobody]
        truth = self.truth
        if "misses" in kinds:
            people = zip(truth.content["annotations"], self.missed, strict=True)
            left = [person for person, is_missed in people if not is_missed]
            truth = replace(truth, content=truth.content | {"annotations": left}, indexed={})
            if not (self.people.counted & ~self.missed).any():
                return 1.0  # nobody is left to be found
        if not len(kept):
            return 0.0
        return coco.evaluate(self._records(joints, scores, kept), truth, "fast")["AP"]

    def _records(self, joints: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> list[dict]:
        three = np.concatenate([joints[rows], np.ones_like(joints[rows, :, :1])], axis=2)
        flat, numbers = memoryview(three.reshape(-1)), 3 * joints.shape[1]
        return [
            {
                "image_id": int(self.image_ids[row]),
                "category_id": PERSON,
                "keypoints": flat[k * numbers : (k + 1) * numbers],
                "score": float(scores[row]),
            }
            for k, row in enumerate(rows)
        ]

    def _best_oks(self, joints: np.ndarray) -> np.ndarray:
        """The OKS (N,) of each result with the nearest person that counts; 0 without one."""
        people, best = self.people, np.zeros(len(joints))
        for rows, persons in people.pairs(self.image_ids):
            counted = people.counted[persons]
            rows, persons = rows[counted], persons[counted]
            similarity = people.similarity(joints[rows], persons)
            oks = similarity.sum(axis=1) / people.labelled[persons].sum(axis=1)
            np.maximum.at(best, rows, oks)
        return best

    def gains(self) -> tuple[dict[str, float], dict[str, float]]:
        """The AP gained by mending each of :data:`STEPS` alone, and by mending one after another.

        The second sums to 1 - AP.
        """
        alone = {step: self.ap_without(step) - self.ap for step in STEPS}
        reached = [self.ap, *(self.ap_without(*STEPS[: k + 1]) for k in range(len(STEPS)))]
        return alone, dict(zip(STEPS, np.diff(reached).tolist(), strict=True))

    def sensitivity(self) -> dict[str, dict[str, dict[str, Any]]]:
        """For each of :data:`BINS`: persons, their AR, and how many of their joints are of a kind.

        A bin without a person has an AR of None.
        """
        people = self.people
        values = (people.areas, people.overlapping(), people.labelled.sum(axis=1))
        table = {}
        for (name, bins), value in zip(BINS.items(), values, strict=True):
            number = np.searchsorted([least for least, _ in bins], value, side="right") - 1
            table[name] = {
                label: self._bin((number == k) & people.counted)
                for k, (_, label) in enumerate(bins)
            }
        return table

    def _bin(self, persons: np.ndarray) -> dict[str, Any]:
        ar = float(self.matched[persons].mean()) if persons.any() else None
        of_these = persons[self.owners] & (self.owners >= 0)
        return {"persons": int(persons.sum()), "AR": ar, **count(self.kinds[of_these])}


def count(kinds: np.ndarray) -> dict[str, int]:
    """How many joints are of each kind."""
    return {kind: int((kinds == number).sum()) for number, kind in enumerate(KINDS)}


@dataclass(frozen=True)
class People:
    """The annotated persons (P) of a COCO file, crowds too.

    ``image_ids`` (P,), ``joints`` (P, K, 2), ``labelled`` (P, K), ``areas`` (P,), ``boxes`` (P, 4)
    x, y, width, height; ``crowd`` (P,); ``counted`` (P,): whether AP counts them; ``sigmas`` (K,).
    """

    image_ids: np.ndarray
    joints: np.ndarray
    labelled: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
    crowd: np.ndarray
    counted: np.ndarray
    sigmas: np.ndarray

    @classmethod
    def of(cls, truth: Truth) -> People:
        people = truth.content["annotations"]
        keypoints = np.array([person["keypoints"] for person in people], float)
        keypoints = keypoints.reshape(len(people), len(truth.keypoints), 3)
        crowd = np.array([person["iscrowd"] for person in people], bool)
        counted = ~crowd & np.array([person["num_keypoints"] > 0 for person in people], bool)
        return cls(
            image_ids=np.array([person["image_id"] for person in people], np.int64),
            joints=keypoints[..., :2],
            labelled=keypoints[..., 2] > 0,
            areas=np.array([person["area"] for person in people], float),
            boxes=np.array([person["bbox"] for person in people], float).reshape(-1, 4),
            crowd=crowd,
            counted=counted,
            sigmas=np.array(truth.keypoints.sigmas),
        )

    def similarity(self, joints: np.ndarray, persons: np.ndarray) -> np.ndarray:
        """Similarity (N, K) of ``joints`` (N, K, 2) to those of ``persons`` (N,); 0 unlabelled."""
        squared = np.square(joints - self.joints[persons]).sum(axis=2)
        scale = 2 * np.square(2 * self.sigmas) * (self.areas[persons, None] + np.spacing(1))
        return np.exp(-squared / scale) * self.labelled[persons]

    def pairs(self, image_ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of ``image_ids`` (N,) and the persons of these images, :data:`PAIRS` at a time."""
        order = np.argsort(self.image_ids, kind="stable")
        images = self.image_ids[order]
        first = np.searchsorted(images, image_ids)
        persons = np.searchsorted(images, image_ids, side="right") - first
        ends = np.cumsum(persons)
        if not len(ends):
            return
        for block in np.split(
            np.arange(len(image_ids)), np.flatnonzero(np.diff(ends // PAIRS)) + 1
        ):
            rows = np.repeat(block, persons[block])
            starts = np.cumsum(persons[block]) - persons[block]
            within = np.arange(len(rows)) - np.repeat(starts, persons[block])
            yield rows, order[first[rows] + within]

    def overlapping(self) -> np.ndarray:
        """(P,) how many other persons, crowds left out, have a box that overlaps by IoU > 0.1."""
        number = np.zeros(len(self.boxes), int)
        for rows, others in self.pairs(self.image_ids):
            near = ~self.crowd[others] & (rows != others)
            rows, others = rows[near], others[near]
            np.add.at(number, rows, box_iou(self.boxes[rows], self.boxes[others]) > 0.1)
        return number


def _rows(ids: Sequence[int]) -> np.ndarray:
    """Evaluators number annotations and results from 1 on."""
    return np.asarray(ids, int) - 1
