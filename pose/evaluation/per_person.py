"""A row per annotated person, for later statistics: docs/evaluation.md describes the columns."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pose.datasets.keypoints import KeypointSet
from pose.datasets.mpii import MPII, GroundTruth
from pose.evaluation.coco import of_all_sizes
from pose.evaluation.pckh import normalised_distances
from pose.support.files import write_file


def coco_persons(judge: Any, keypoints: KeypointSet) -> pd.DataFrame:
    """The persons that count towards AP, and how well each and its ``keypoints`` were found.

    ``judge`` is pycocotools' COCOeval after matching. ``matched`` is the share of the ten OKS
    thresholds at which a detection is matched to the person, so that its mean is COCO's AR;
    ``oks`` is that of the detection matched at 0.5, 0 where there is none.
    """
    rows = []
    for image in of_all_sizes(judge):
        key = image["image_id"], image["category_id"]
        column = {person["id"]: number for number, person in enumerate(judge._gts[key])}
        row = {detection: number for number, detection in enumerate(image["dtIds"])}
        detections = {detection["id"]: detection for detection in judge._dts[key]}
        for place, person in enumerate(image["gtIds"]):
            if image["gtIgnore"][place]:
                continue
            matches = image["gtMatches"][:, place]
            number = int(matches[0])
            found = row.get(number)
            annotation = judge._gts[key][column[person]]
            rows.append(
                {
                    "image_id": image["image_id"],
                    "person_id": annotation["own_id"],
                    "area": float(annotation["area"]),
                    "num_keypoints": annotation["num_keypoints"],
                    "oks": 0.0 if found is None else judge.ious[key][found, column[person]],
                    "matched": float((matches > 0).mean()),
                    "score": np.nan if found is None else image["dtScores"][found],
                }
                | _of_keypoints(annotation, detections.get(number), keypoints)
            )
    return pd.DataFrame(rows)


def _of_keypoints(
    annotation: dict[str, Any], detection: dict[str, Any] | None, keypoints: KeypointSet
) -> dict[str, float]:
    """Of each keypoint: its term of OKS, 0 where nobody was found, and its flag.

    The mean of the terms is the person's OKS; one that is not labelled has none.
    """
    x, y, flags = np.reshape(annotation["keypoints"], (-1, 3)).T
    similar = np.zeros(len(keypoints))
    if detection is not None:
        there_x, there_y, _ = np.reshape(detection["keypoints"], (-1, 3)).T
        variances = (2 * np.asarray(keypoints.sigmas)) ** 2 * (annotation["area"] + np.spacing(1))
        similar = np.exp(-((x - there_x) ** 2 + (y - there_y) ** 2) / variances / 2)
    similar = np.where(flags > 0, similar, np.nan)
    return dict(zip(keypoints.names, similar, strict=True)) | {
        f"{name}_flag": int(flag) for name, flag in zip(keypoints.names, flags, strict=True)
    }


def mpii_persons(predictions: np.ndarray, truth: GroundTruth) -> pd.DataFrame:
    """The distance of every joint in head sizes (NaN where it is not annotated), by its name.

    ``row`` is the person's in gt_valid.mat; ``head_size`` in pixels.
    """
    distances = normalised_distances(predictions, truth)
    persons = pd.DataFrame({"row": np.arange(len(distances)), "head_size": truth.head_sizes})
    return persons.join(pd.DataFrame(distances, columns=list(MPII.names)))


def write_persons(persons: pd.DataFrame, path: Path) -> None:
    """A Parquet file."""
    content = BytesIO()
    persons.to_parquet(content, index=False)
    write_file(path, content.getvalue())
