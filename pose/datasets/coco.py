"""COCO keypoints, 2017: https://cocodataset.org."""

from __future__ import annotations

from pose.datasets.coco_format import CocoFormat
from pose.datasets.keypoints import KeypointSet

# https://cocodataset.org/#keypoints-eval (names, skeleton and sigmas)
COCO = KeypointSet(
    names=(
        *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder"),
        *("right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip"),
        *("right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    upper_body=tuple(range(11)),
    skeleton=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7),
        (6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107,
        0.107, 0.087, 0.087, 0.089, 0.089,
    ),
)  # fmt: skip

DATASET = CocoFormat(
    name="coco",
    title="COCO val2017",
    keypoints=COCO,
    annotation_files={
        "train": "annotations/person_keypoints_train2017.json",
        "val": "annotations/person_keypoints_val2017.json",
        "test-dev": "annotations/image_info_test-dev2017.json",
    },
    image_folders={
        "train": ("train2017", "images/train2017"),
        "val": ("val2017", "images/val2017"),
        "test-dev": ("test2017", "images/test2017"),
    },
    sizes={"train": (118_287, 149_813), "val": (5_000, 6_352)},
)
