"""Raw predictions: what inference writes and every evaluation reads."""

from __future__ import annotations

import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from pose.errors import PoseError
from pose.files import atomic


@dataclass(frozen=True)
class Predictions:
    """N persons before rescoring and suppression.

    ``image_ids``, ``person_ids`` (N,) int64 as in the samples; ``keypoints`` (N, K, 3): x, y in
    image pixels (0-based) and score; ``box_scores`` (N,); ``areas`` (N,) of the padded boxes in
    square pixels; ``centers``, ``scales`` (N, 2): the boxes.
    """

    image_ids: np.ndarray
    person_ids: np.ndarray
    keypoints: np.ndarray
    box_scores: np.ndarray
    areas: np.ndarray
    centers: np.ndarray
    scales: np.ndarray

    def __len__(self) -> int:
        return len(self.image_ids)

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file."""
        with atomic(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read what :meth:`save` wrote; PoseError when the file is anything else."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except FileNotFoundError:
            raise PoseError(f"predictions {path}: no such file; run pose.infer first") from None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise PoseError(f"predictions {path}: not a file of pose.infer ({error})") from None
