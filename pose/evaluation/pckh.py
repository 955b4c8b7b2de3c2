"""PCKh: MPII's share of joints that lie within a fraction of the head size.

Andriluka et al., CVPR 2014; as HRNet and MPII's own evaluation compute it on gt_valid.mat.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from pose.datasets.keypoints import MPII
from pose.support.errors import PoseError

HEAD_SIZE = 0.6  # of the head box's diagonal
NOT_COUNTED = ("pelvis", "thorax")
PARTS = {
    "head": ("head_top",),
    **{
        part: (f"left_{part}", f"right_{part}")
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    },
}


@dataclass(frozen=True)
class GroundTruth:
    """``joints`` (N, 16, 2) in 0-based pixels; ``visible`` (N, 16); ``head_sizes`` (N,) pixels."""

    joints: np.ndarray
    visible: np.ndarray
    head_sizes: np.ndarray


def read_ground_truth(path: Path) -> GroundTruth:
    """The content of gt_valid.mat (1-based there)."""
    content = _read_mat(path, "pos_gt_src", "jnt_missing", "headboxes_src")
    joints, boxes = content["pos_gt_src"], content["headboxes_src"].astype(float)
    persons = joints.shape[-1]
    if (joints.shape, boxes.shape) != ((len(MPII), 2, persons), (2, 2, persons)):
        raise PoseError(f"{path}: pos_gt_src is not 16 x 2 x persons")
    return GroundTruth(
        joints=joints.astype(float).transpose(2, 0, 1) - 1,
        visible=content["jnt_missing"].T == 0,
        head_sizes=HEAD_SIZE * np.linalg.norm(boxes[1] - boxes[0], axis=0),
    )


def read_predictions(path: Path) -> np.ndarray:
    """Joints (N, 16, 2), 0-based, of a pred.mat (1-based).

    It holds ``preds``, or ``pos_pred_src`` as MPII's own evaluation does: (N, 16, 2) as HRNet
    writes it, (16, 2, N) as MPII does, or any other order of these axes; a third number of each
    joint, its score, is left out.
    """
    content = _read_mat(path)
    if not (found := [name for name in ("preds", "pos_pred_src") if name in content]):
        raise PoseError(f"{path}: no variable preds")
    array = content[found[0]]
    for axes in ((0, 1, 2), (2, 0, 1), (2, 1, 0), (0, 2, 1)):
        if array.ndim == 3 and array.transpose(axes).shape[1:] in ((len(MPII), 2), (len(MPII), 3)):
            return array.transpose(axes)[..., :2].astype(float) - 1
    raise PoseError(f"{path}: {found[0]} has the shape {array.shape}, not persons x 16 x 2")


def from_rows(joints: np.ndarray, rows: np.ndarray, persons: int) -> np.ndarray:
    """Joints (N, 16, 2) in the order of the ground truth from predictions of its ``rows`` (N,)."""
    missing = np.setdiff1d(np.arange(persons), rows)
    if len(missing) or len(rows) != persons:
        first = f", row {missing[0]} is missing" if len(missing) else ""
        raise PoseError(
            f"predictions of {len(rows)} persons, the ground truth has {persons}{first}"
        )
    return joints[np.argsort(rows)].astype(float)


def _read_mat(path: Path, *names: str) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file:
            content = loadmat(file)
    except FileNotFoundError:
        raise PoseError(f"{path}: No such file or directory") from None
    except Exception as error:  # a torn or foreign file shows itself in many exception types
        raise PoseError(f"{path}: not a MATLAB file ({error})") from None
    for name in names:
        if name not in content:
            raise PoseError(f"{path}: no variable {name}")
        if not np.issubdtype(content[name].dtype, np.number) or np.isnan(content[name]).any():
            raise PoseError(f"{path}: {name} holds something other than numbers")
    return content


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


def pckh(predictions: np.ndarray, truth: GroundTruth) -> dict[str, float | dict[str, float]]:
    """PCKh in percent of ``predictions`` (N, 16, 2), 0-based pixels, row by row with ``truth``.

    ``PCKh@0.5`` and ``PCKh@0.1`` are means over joints weighted by how often each is visible,
    without pelvis and thorax; ``mean_unweighted`` is the plain mean over these 14 joints at 0.5,
    and ``per_joint`` holds PCKh@0.5 of head to ankle, left and right averaged. The same two at
    0.1 have ``@0.1`` in their names.
    """
    distances = normalised_distances(predictions, truth)
    strict, usual = (_at(threshold, distances, truth.visible) for threshold in (0.1, 0.5))
    return {
        "PCKh@0.5": usual["mean"],
        "PCKh@0.1": strict["mean"],
        "per_joint": usual["per_joint"],
        "mean_unweighted": usual["unweighted"],
        "per_joint@0.1": strict["per_joint"],
        "mean_unweighted@0.1": strict["unweighted"],
    }


def _at(threshold: float, distances: np.ndarray, visible: np.ndarray) -> dict[str, Any]:
    hits = distances <= threshold  # never for NaN
    counted = np.array([name not in NOT_COUNTED for name in MPII.names])
    joint = 100 * hits.sum(axis=0) / np.maximum(visible.sum(axis=0), 1)
    named = dict(zip(MPII.names, joint, strict=True))
    return {
        "mean": float(100 * hits[:, counted].sum() / visible[:, counted].sum()),
        "unweighted": float(joint[counted].mean()),
        "per_joint": {
            part: float(np.mean([named[name] for name in names])) for part, names in PARTS.items()
        },
    }
