"""Rendered people in the layout of the real samples, for tests where there are none."""

import json
from pathlib import Path

import numpy as np
from scipy.io import savemat

from pose.data.synthetic.render import write_dataset
from pose.data.synthetic.rendered import DETECTIONS, SyntheticSettings
from pose.datasets.coco import COCO
from pose.datasets.mpii import MPII

SETTINGS = SyntheticSettings(train_images=36, val_images=20, clutter=3)
MPII_JOINTS = [COCO.names.index(name) if name in COCO.names else 0 for name in MPII.names]


def write_samples(folder: Path) -> Path:
    """COCO's and MPII's layouts, and four annotated images on their own, below ``folder``."""
    coco = folder / "coco_mini"
    write_dataset(coco, SETTINGS)
    val = json.loads((coco / "annotations/person_keypoints_val2017.json").read_text())
    four = sorted(image["id"] for image in val["images"])[:4]
    boxes = json.loads((coco / DETECTIONS).read_text())
    (coco / "person_detections_4_val_images.json").write_text(
        json.dumps([box for box in boxes if box["image_id"] in four])
    )
    (coco / DETECTIONS).unlink()
    (folder / "metric_fixtures").mkdir()
    people = [person for person in val["annotations"] if person["image_id"] in four]
    cut = {
        "images": [image for image in val["images"] if image["id"] in four],
        "annotations": sorted(people, key=lambda person: -person["num_keypoints"]),
    }
    (folder / "metric_fixtures/coco_keypoints_4_images.json").write_text(json.dumps(val | cut))
    write_mpii(coco, folder / "mpii_mini")
    return folder


def write_mpii(coco: Path, root: Path) -> None:
    """The same people with MPII's joints: those that COCO has, and its nose for the others."""
    (root / "annot").mkdir(parents=True)
    (root / "images").mkdir()
    for split, ours in (("train", "train"), ("val", "valid")):
        content = json.loads((coco / f"annotations/person_keypoints_{split}2017.json").read_text())
        names = {image["id"]: image["file_name"] for image in content["images"]}
        for name in names.values():
            (root / "images" / name).write_bytes((coco / f"{split}2017" / name).read_bytes())
        people = [p for p in content["annotations"] if p["num_keypoints"]]
        records = [mpii_record(person, names[person["image_id"]]) for person in people]
        (root / f"annot/{ours}.json").write_text(json.dumps(records))
    joints = np.array([record["joints"] for record in records])
    boxes = np.array([[p["bbox"][:2], np.add(p["bbox"][:2], p["bbox"][2:])] for p in people])
    missing = 1 - np.array([record["joints_vis"] for record in records])
    savemat(root / "annot/gt_valid.mat", {
        "pos_gt_src": joints.transpose(1, 2, 0), "jnt_missing": missing.T,
        "headboxes_src": boxes.transpose(1, 2, 0),
        "dataset_joints": np.array([MPII.names], dtype=object),
    })  # fmt: skip


def mpii_record(person: dict, image: str) -> dict:
    x, y, width, height = person["bbox"]
    joints = np.reshape(person["keypoints"], (17, 3))[MPII_JOINTS]
    return {
        "image": image,
        "center": [x + width / 2, y + height / 2],
        "scale": height / 200,
        "joints": joints[:, :2].tolist(),
        "joints_vis": (joints[:, 2] > 0).astype(int).tolist(),
    }
