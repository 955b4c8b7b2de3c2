"""PCKh: MPII's share of joints that lie within a fraction of the head size.

Andriluka et al., CVPR 2014; as HRNet and MPII's own evaluation compute it on gt_valid.mat.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from pose.data.keypoints import MPII
from pose.errors import PoseError

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
    boxes = content["headboxes_src"].astype(float)
    return GroundTruth(
        joints=content["pos_gt_src"].astype(float).transpose(2, 0, 1) - 1,
        visible=content["jnt_missing"].T == 0,
        head_sizes=HEAD_SIZE * np.linalg.norm(boxes[1] - boxes[0], axis=0),
    )


def read_predictions(path: Path) -> np.ndarray:
    """Joints (N, 16, 2), 0-based, of a pred.mat (``preds``, 1-based)."""
    return _read_mat(path, "preds")["preds"].astype(float)[..., :2] - 1


def _read_mat(path: Path, *names: str) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file:
            content = loadmat(file)
    except FileNotFoundError:
        raise PoseError(f"{path}: No such file or directory") from None
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        raise PoseError(f"{path}: not a MATLAB file ({error})") from None
    if missing := [name for name in names if name not in content]:
        raise PoseError(f"{path}: no variable {', '.join(missing)}")
    return content


def pckh(predictions: np.ndarray, truth: GroundTruth) -> dict[str, float | dict[str, float]]:
    """PCKh in percent of ``predictions`` (N, 16, 2), 0-based pixels, row by row with ``truth``.

    ``PCKh@0.5`` and ``PCKh@0.1`` are means over joints weighted by how often each is visible,
    without pelvis and thorax; ``mean_unweighted`` is the plain mean over these 14 joints at 0.5,
    and ``per_joint`` holds PCKh@0.5 of head to ankle, left and right averaged.
    """
    if predictions.shape != truth.joints.shape:
        expected, got = truth.joints.shape, predictions.shape
        raise PoseError(f"predictions have shape {got}, the ground truth {expected}")
    if not np.isfinite(predictions).all():
        raise PoseError("predictions: some coordinates are not finite")
    distance = np.linalg.norm(predictions - truth.joints, axis=-1) / truth.head_sizes[:, None]
    counted = np.array([name not in NOT_COUNTED for name in MPII.names])

    def hits(threshold: float) -> np.ndarray:
        return (distance <= threshold) & truth.visible

    def weighted_mean(threshold: float) -> float:
        return float(100 * hits(threshold)[:, counted].sum() / truth.visible[:, counted].sum())

    joint = 100 * hits(0.5).sum(axis=0) / np.maximum(truth.visible.sum(axis=0), 1)
    named = dict(zip(MPII.names, joint, strict=True))
    return {
        "PCKh@0.5": weighted_mean(0.5),
        "PCKh@0.1": weighted_mean(0.1),
        "per_joint": {
            part: float(np.mean([named[name] for name in names])) for part, names in PARTS.items()
        },
        "mean_unweighted": float(joint[counted].mean()),
    }
