"""Where a data set's files lie below its root: COCO's archives, HRNet's folders.

Images are in folders, or in zip archives that hold these folders (see :mod:`pose.data.images`).
"""

from __future__ import annotations

from pathlib import Path

from pose.config import Dataset
from pose.support.errors import PoseError

DETECTIONS = {
    "val": "person_detection_results/COCO_val2017_detections_AP_H_56_person.json",
    "test-dev": "person_detection_results/COCO_test-dev2017_detections_AP_H_609_person.json",
}
"""HRNet's person detections for COCO, below the root."""


def annotations(dataset: Dataset, root: Path, split: str) -> Path:
    """The annotations of ``split``: "train", "val" or, of COCO, "test-dev" (images only)."""
    if dataset == "mpii":
        return root / "annot" / {"train": "train.json", "val": "valid.json"}[split]
    kind = "image_info" if split == "test-dev" else "person_keypoints"
    return root / "annotations" / f"{kind}_{split}2017.json"


def images(dataset: Dataset, root: Path, split: str) -> Path:
    """The folder of a split's images, which may lie in a zip archive.

    PoseError when ``root`` or the folder is missing.
    """
    if not root.is_dir():
        raise PoseError(f"data_root {root}: no such folder; set data_root to the {dataset} data")
    folder = "images" if dataset == "mpii" else f"{split.removesuffix('-dev')}2017"
    names = [folder] if dataset == "mpii" else [folder, f"images/{folder}"]
    for name in names:
        if (root / name).is_dir():
            return root / name
        if (root / f"{name}.zip").is_file():
            return root / f"{name}.zip" / folder
    raise PoseError(
        f"data_root {root}: no folder {' or '.join(names)}; put the images, or {folder}.zip, there"
    )


def ground_truth(dataset: Dataset, root: Path) -> Path:
    """The file that the val split is scored against."""
    if dataset == "mpii":
        return root / "annot" / "gt_valid.mat"
    return annotations(dataset, root, "val")
