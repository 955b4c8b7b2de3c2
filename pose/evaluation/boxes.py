"""How far boxes cover each other."""

from __future__ import annotations

import numpy as np


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU (N,) of boxes (N, 4) x, y, width, height, pair by pair; 0 where both have no area."""
    low = np.maximum(boxes[:, :2], others[:, :2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(boxes[:, 2:], axis=1) + np.prod(others[:, 2:], axis=1)
    return common / np.maximum(areas - common, np.spacing(1))
