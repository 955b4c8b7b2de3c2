"""A row per annotated person, for later statistics: docs/evaluation.md describes the columns."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pose.datasets.mpii import MPII, GroundTruth
from pose.evaluation.pckh import normalised_distances
from pose.support.files import write_file


def coco_persons(judge: Any) -> pd.DataFrame:
    """The persons that count towards AP, and how well each was found.

    ``judge`` is pycocotools' COCOeval after matching. ``matched`` is the share of the ten OKS
    thresholds at which a detection is matched to the person, so that its mean is COCO's AR;
    ``oks`` is that of the detection matched at 0.5, 0 where there is none.
    """
    of_all_sizes = judge.params.areaRng[0]
    rows = []
    for image in judge.evalImgs:
        if image is None or image["aRng"] != of_all_sizes:
            continue
        key = image["image_id"], image["category_id"]
        column = {person["id"]: number for number, person in enumerate(judge._gts[key])}
        row = {detection: number for number, detection in enumerate(image["dtIds"])}
        for place, person in enumerate(image["gtIds"]):
            if image["gtIgnore"][place]:
                continue
            matches = image["gtMatches"][:, place]
            found = row.get(int(matches[0]))
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
            )
    return pd.DataFrame(rows)


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
