"""Object keypoint similarity between predicted persons, and the suppressions that use it.

OKS: https://cocodataset.org/#keypoints-eval; the suppressions are HRNet's.
"""

from __future__ import annotations

import numpy as np


def oks(keypoints: np.ndarray, areas: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """OKS (N, N) between persons of one image.

    ``keypoints`` (N, K, 3): only x and y count, so all joints have equal weight. ``areas`` (N,) in
    square pixels: a pair is measured by the mean of its two. ``sigmas`` (K,).
    """
    points = np.asarray(keypoints, dtype=float)[..., :2]
    areas = np.asarray(areas, dtype=float)
    return _similarity(points[:, None], points[None], areas[:, None], areas[None], sigmas)


def _similarity(points, others, areas, other_areas, sigmas) -> np.ndarray:
    """OKS (...) of points and others (..., K, 2) with areas (...)."""
    apart = points - others
    squared = apart[..., 0] ** 2 + apart[..., 1] ** 2
    mean_area = (areas + other_areas) / 2 + np.spacing(1).astype(areas.dtype)
    variances = np.square(2 * np.asarray(sigmas, points.dtype))
    return np.exp(-squared / variances / mean_area[..., None] / 2).mean(axis=-1)


def oks_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    threshold: float,
    sigmas: np.ndarray,
    image_ids: np.ndarray | None = None,
) -> np.ndarray:
    """Indices of the persons kept, by ascending image and best score first.

    A person is dropped when its OKS with a better one of its image that was kept exceeds
    ``threshold``. Without ``image_ids`` (N,) all are of one image.
    """
    images = np.zeros(len(scores), int) if image_ids is None else image_ids
    order = np.lexsort([-np.asarray(scores), images])
    keep = np.ones(len(order), bool)
    for better, worse in _conflicts(
        np.asarray(keypoints, dtype=float)[order, :, :2],
        np.asarray(areas, dtype=float)[order],
        images[order],
        threshold,
        np.asarray(sigmas),
    ).tolist():
        if keep[better]:
            keep[worse] = False
    return order[keep]


def _conflicts(
    points: np.ndarray,
    areas: np.ndarray,
    images: np.ndarray,
    threshold: float,
    sigmas: np.ndarray,
) -> np.ndarray:
    """Pairs (M, 2) of places in one image whose OKS exceeds ``threshold``, by the first place.

    ``images`` is sorted. All images are done at once, and most pairs are settled by a few joints:
    when these alone are so far apart that the others could not make good for it. The most
    sensitive joints are asked, a few more than the least number that can settle a pair.
    """
    number = len(sigmas)
    few = np.argsort(sigmas)[: min(number, int(number * (1 - threshold)) + 2)]
    enough = (threshold * number - (number - len(few))) / len(few) - 1e-3  # single precision
    few_points, few_areas = points[:, few].astype(np.float32), areas.astype(np.float32)
    pairs = [np.zeros((0, 2), int)]
    for distance in range(1, len(points)):
        first = np.flatnonzero(images[:-distance] == images[distance:])
        if not len(first):
            break
        second = first + distance
        some = _similarity(
            few_points[first], few_points[second], few_areas[first], few_areas[second], sigmas[few]
        )
        first, second = first[some > enough], second[some > enough]
        similarity = _similarity(points[first], points[second], areas[first], areas[second], sigmas)
        pairs.append(np.stack([first, second], axis=1)[similarity > threshold])
    found = np.concatenate(pairs)
    return found[np.argsort(found[:, 0], kind="stable")]


def soft_oks_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    threshold: float,
    sigmas: np.ndarray,
    image_ids: np.ndarray | None = None,
    max_kept: int = 20,
) -> np.ndarray:
    """Indices of at most ``max_kept`` persons an image, in the order in which they were kept.

    The best person is kept and all others' scores are multiplied by exp(-OKS^2 / ``threshold``),
    again and again. The scores only order the persons: the caller's stay as they are. Images
    come in ascending order; without ``image_ids`` (N,) all persons are of one.
    """
    images = np.zeros(len(scores), int) if image_ids is None else image_ids
    order = np.argsort(images, kind="stable")
    starts = np.flatnonzero(np.diff(images[order])) + 1
    kept = [np.zeros(0, int)]
    for group in np.split(order, starts):
        similarity = oks(keypoints[group], areas[group], sigmas)
        kept.append(group[_soft_nms(similarity, scores[group], threshold, max_kept)])
    return np.concatenate(kept)


def _soft_nms(
    similarity: np.ndarray, scores: np.ndarray, threshold: float, max_kept: int
) -> list[int]:
    scores = np.array(scores, dtype=float)
    left = np.arange(len(scores))
    kept: list[int] = []
    while len(left) and len(kept) < max_kept:
        best = left[scores[left].argmax()]
        kept.append(int(best))
        left = left[left != best]
        scores[left] *= np.exp(-(similarity[best, left] ** 2) / threshold)
    return kept
