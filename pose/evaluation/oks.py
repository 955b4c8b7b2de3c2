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
    squared = np.square(points[:, None] - points[None]).sum(axis=-1)
    variances = np.square(2 * np.asarray(sigmas))
    mean_area = (areas[:, None] + areas[None]) / 2 + np.spacing(1)
    return np.exp(-squared / variances / mean_area[..., None] / 2).mean(axis=-1)


def oks_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    threshold: float,
    sigmas: np.ndarray,
) -> list[int]:
    """Indices of the persons kept, best score first.

    A person is dropped when its OKS with a better one that was kept exceeds ``threshold``.
    """
    similarity = oks(keypoints, areas, sigmas)
    order = np.argsort(-np.asarray(scores), kind="stable")
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[similarity[best, rest] <= threshold]
    return kept


def soft_oks_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    threshold: float,
    sigmas: np.ndarray,
    max_kept: int = 20,
) -> list[int]:
    """Indices of at most ``max_kept`` persons, in the order in which they were kept.

    The best person is kept and all others' scores are multiplied by exp(-OKS^2 / ``threshold``),
    again and again. The scores only order the persons: the caller's stay as they are.
    """
    similarity = oks(keypoints, areas, sigmas)
    scores = np.array(scores, dtype=float)
    left = np.arange(len(scores))
    kept: list[int] = []
    while len(left) and len(kept) < max_kept:
        best = left[scores[left].argmax()]
        kept.append(int(best))
        left = left[left != best]
        scores[left] *= np.exp(-(similarity[best, left] ** 2) / threshold)
    return kept
