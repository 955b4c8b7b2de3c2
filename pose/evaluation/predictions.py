"""Raw predictions: what inference writes and every evaluation reads."""

from __future__ import annotations

import json
import reprlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from pose.datasets.fields import LIMIT
from pose.support.errors import PoseError
from pose.support.files import atomic


@dataclass(frozen=True)
class Predictions:
    """N persons before rescoring and suppression.

    ``image_ids``, ``person_ids`` (N,) int64 as in the samples; ``keypoints`` (N, K, 3): x, y in
    image pixels (0-based) and score; ``box_scores`` (N,); ``areas`` (N,) of the padded boxes in
    square pixels; ``centers``, ``scales`` (N, 2): the boxes. ``about``: how they were made, for
    the result rows.
    """

    image_ids: np.ndarray
    person_ids: np.ndarray
    keypoints: np.ndarray
    box_scores: np.ndarray
    areas: np.ndarray
    centers: np.ndarray
    scales: np.ndarray
    about: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image_ids)

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file."""
        arrays = asdict(self) | {"about": json.dumps(self.about)}
        # By an open file, because numpy appends .npz to another name.
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read what :meth:`save` wrote; PoseError when the file is anything else, or unsound."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                names = [one.name for one in fields(cls) if one.name != "about"]
                content = {name: np.asarray(arrays[name]) for name in names}
                about = json.loads(str(arrays["about"]))
        except FileNotFoundError:
            raise PoseError(f"predictions {path}: no such file; run pose.infer first") from None
        except Exception as error:  # a torn or foreign file shows itself in many exception types
            # numpy takes any bytes for a pickle, and advises to load it unsafely.
            reason = "no .npz file" if "pickle" in str(error) else error
            raise PoseError(
                f"predictions {path}: not a file of pose.infer, or a damaged one ({reason});"
                " run it again"
            ) from None
        origin = about.get("made_from", {"code": {}}) if isinstance(about, dict) else None
        if not isinstance(origin, dict) or not isinstance(origin.get("code"), dict):
            raise PoseError(
                f"predictions {path}: {reprlib.repr(about)} does not tell how they were made;"
                " run pose.infer again"
            )
        _check(content, path)
        return cls(**content, about=about)


def _check(content: dict[str, np.ndarray], path: Path) -> None:
    persons, joints = content["image_ids"].size, content["keypoints"].shape[1:2]
    shapes = {"keypoints": (persons, *joints, 3), "centers": (persons, 2), "scales": (persons, 2)}
    for name, array in content.items():
        if array.shape != shapes.get(name, (persons,)):
            raise PoseError(f"predictions {path}: {name} has the shape {array.shape}")
        if array.dtype.kind not in ("iu" if name.endswith("_ids") else "iuf"):
            raise PoseError(f"predictions {path}: {name} is of the type {array.dtype}")
        if not (np.abs(array.astype(float)) <= LIMIT**2).all():  # areas are squares; NaN is not
            raise PoseError(f"predictions {path}: {name} has a number that is not finite")
    if not persons:
        raise PoseError(f"predictions {path}: no person in it")
    annotated = content["person_ids"][content["person_ids"] >= 0]
    if len(np.unique(annotated)) < len(annotated):
        raise PoseError(f"predictions {path}: some annotated persons were predicted twice")
