"""PCKh: MPII's share of joints that lie within a fraction of the head size.

Andriluka et al., CVPR 2014; as HRNet and MPII's own evaluation compute it on gt_valid.mat.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from pose.datasets.mat import numbers, read_mat
from pose.datasets.mpii import COUNTED, MPII, NOT_COUNTED, GroundTruth
from pose.support.errors import PoseError

USUAL = 0.5  # head sizes within which a joint is right
PARTS = {
    "head": ("head_top",),
    **{
        part: (f"left_{part}", f"right_{part}")
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    },
}


def read_predictions(path: Path, persons: int | None = None) -> np.ndarray:
    """Joints (N, 16, 2), 0-based, of a pred.mat (1-based).

    It holds ``preds``, or ``pos_pred_src`` as MPII's own evaluation does: (N, 16, 2) as HRNet
    writes it, (16, 2, N) as MPII does, or any other order of these axes; where several fit, one of
    so many ``persons`` comes first, then this sequence. A third number of each joint, its score,
    is left out.
    """
    content = read_mat(path)
    name = "pos_pred_src" if "preds" not in content and "pos_pred_src" in content else "preds"
    array = np.atleast_3d(numbers(path, content, name))
    orders = ((0, 1, 2), (2, 0, 1), *permutations(range(3))) if array.ndim == 3 else ()
    fitting = [array.transpose(axes) for axes in orders]
    fitting = [a for a in fitting if a.shape[1:] in ((len(MPII), 2), (len(MPII), 3))]
    if not fitting:
        raise PoseError(f"{path}: {name} has the shape {array.shape}, not persons x 16 x 2")
    return min(fitting, key=lambda joints: len(joints) != persons)[..., :2] - 1


def from_rows(joints: np.ndarray, rows: np.ndarray, persons: int) -> np.ndarray:
    """Joints (N, 16, 2) in the order of the ground truth from predictions of its ``rows`` (N,)."""
    missing = np.setdiff1d(np.arange(persons), rows)
    if len(missing) or len(rows) != persons:
        first = f", row {missing[0]} is missing" if len(missing) else ""
        raise PoseError(
            f"predictions of {len(rows)} persons, the ground truth has {persons}{first}"
        )
    return joints[np.argsort(rows)].astype(float)


def normalised_distances(predictions: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """Distances (N, 16) in head sizes between ``predictions`` (N, 16, 2), 0-based, and ``truth``.

    NaN where a joint is not annotated. Raises PoseError for other shapes and for numbers that are
    not finite.
    """
    if predictions.shape != truth.joints.shape:
        expected, got = truth.joints.shape, predictions.shape
        raise PoseError(f"predictions have shape {got}, the ground truth {expected}")
    if not np.isfinite(predictions).all():
        row, joint, _ = np.argwhere(~np.isfinite(predictions))[0]
        raise PoseError(f"predictions: {MPII.names[joint]} of row {row} is not finite")
    distance = np.linalg.norm(predictions - truth.joints, axis=-1) / truth.head_sizes[:, None]
    return np.where(truth.visible, distance, np.nan)


def pckh(predictions: np.ndarray, truth: GroundTruth) -> dict[str, float | dict[str, float | None]]:
    """PCKh in percent of ``predictions`` (N, 16, 2), 0-based pixels, row by row with ``truth``.

    ``PCKh@0.5``, ``PCKh@0.1`` and ``PCKh@0.11`` are means over joints weighted by how often each is
    visible, without pelvis and thorax. ``mean_unweighted`` is the plain mean over these joints at
    0.5, and ``per_joint`` holds PCKh@0.5 of head to ankle, left and right averaged; joints that
    nobody has are left out, a part of which nobody has any is None. The same two at 0.1 have
    ``@0.1`` in their names. HRNet and its descendants print the number at 0.11 as "Mean@0.1".
    """
    distances = normalised_distances(predictions, truth)
    usual, strict, hrnet = (_at(limit, distances, truth.visible) for limit in (USUAL, 0.1, 0.11))
    return {
        "PCKh@0.5": usual["mean"],
        "PCKh@0.1": strict["mean"],
        "PCKh@0.11": hrnet["mean"],
        "per_joint": usual["per_joint"],
        "mean_unweighted": usual["unweighted"],
        "per_joint@0.1": strict["per_joint"],
        "mean_unweighted@0.1": strict["unweighted"],
    }


def _at(threshold: float, distances: np.ndarray, visible: np.ndarray) -> dict[str, Any]:
    hits = distances <= threshold  # never for NaN
    persons = visible.sum(axis=0)
    share = {
        name: 100 * found / of
        for name, found, of in zip(MPII.names, hits.sum(axis=0), persons, strict=True)
        if of
    }
    counted = [share[name] for name in share if name not in NOT_COUNTED]
    parts = {part: [share[n] for n in names if n in share] for part, names in PARTS.items()}
    return {
        "mean": float(100 * hits[:, COUNTED].sum() / persons[COUNTED].sum()),
        "unweighted": float(np.mean(counted)),
        "per_joint": {part: float(np.mean(of)) if of else None for part, of in parts.items()},
    }
