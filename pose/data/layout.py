"""Where a data set's files lie below its root: COCO's archives, HRNet's folders."""

from __future__ import annotations

from pathlib import Path

from pose.config import Dataset
from pose.errors import PoseError


def annotations(dataset: Dataset, root: Path, split: str) -> Path:
    """The annotations of ``split``, "train" or "val"."""
    if dataset == "mpii":
        return root / "annot" / {"train": "train.json", "val": "valid.json"}[split]
    return root / "annotations" / f"person_keypoints_{split}2017.json"


def images(dataset: Dataset, root: Path, split: str) -> Path:
    """The folder of a split's images; PoseError when ``root`` or the folder is missing."""
    if not root.is_dir():
        raise PoseError(f"data_root {root}: no such folder; set data_root to the {dataset} data")
    names = ["images"] if dataset == "mpii" else [f"{split}2017", f"images/{split}2017"]
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise PoseError(f"data_root {root}: no folder {' or '.join(names)}; put the images there")


def ground_truth(dataset: Dataset, root: Path) -> Path:
    """The file that the val split is scored against."""
    if dataset == "mpii":
        return root / "annot" / "gt_valid.mat"
    return annotations(dataset, root, "val")
