"""What a data set is: joints, files below its root, how they are read and scored, its size.

Images are in folders, or in zip archives that hold these folders (see :mod:`pose.data.images`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from pose.config.datasets import DATASETS
from pose.datasets.keypoints import KeypointSet
from pose.datasets.records import Records
from pose.support.errors import PoseError


@dataclass(frozen=True)
class Dataset(ABC):
    """One data set, whose metric stands beside its name; a subclass reads a file format.

    ``annotation_files`` and ``image_folders`` map each split, "train", "val" and those without
    annotated persons, to paths below the root; images lie in the first folder that exists.
    ``title`` is the val set's name in tables. ``sizes``: split -> images and persons of the whole
    set as published, None for what nobody states. ``is_rendered``: whether the workflow makes it.
    """

    name: str
    keypoints: KeypointSet
    annotation_files: Mapping[str, str]
    image_folders: Mapping[str, tuple[str, ...]]
    title: str = ""
    sizes: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    is_rendered: bool = False

    boxes: ClassVar[tuple[str, ...]] = ("gt",)
    """Where boxes may come from: "gt", the annotations, and "det", a detector's. A data set with
    "det" lists its images: ``read_images(path)`` gives their columns alone, with sizes."""
    table: ClassVar[int]
    """The paper's comparison table of that metric, in which runs stand below the paper's rows."""

    @property
    def metric(self) -> str:
        """The score that drives the learning rate and picks the best epoch."""
        return DATASETS[self.name]

    def annotations(self, root: Path, split: str) -> Path:
        """The annotation file of a split; PoseError for a split that there is not."""
        if split not in self.annotation_files:
            known = ", ".join(self.annotation_files)
            raise PoseError(f"{self.name} has no split {split!r}; it has {known}")
        return Path(root) / self.annotation_files[split]

    def images(self, root: Path, split: str) -> Path:
        """The folder of a split's images, which may lie in a zip archive.

        PoseError when ``root`` or the folder is missing.
        """
        if not root.is_dir():
            raise PoseError(
                f"data_root {root}: no such folder; set data_root to the {self.name} data"
            )
        names = self.image_folders[split]
        folder = PurePosixPath(names[0]).name
        for name in names:
            if (root / name).is_dir():
                return root / name
            if (root / f"{name}.zip").is_file():
                return root / f"{name}.zip" / folder
        raise PoseError(
            f"data_root {root}: no folder {' or '.join(names)};"
            f" put the images, or {folder}.zip, there"
        )

    def ground_truth(self, root: Path) -> Path:
        """The file that the val split is scored against."""
        return self.annotations(root, "val")

    @abstractmethod
    def read_persons(self, path: Path) -> Records:
        """The images of an annotation file, and its persons that count, ordered by image.

        Columns of M images: ``id``, ``name`` (text) and, where it is annotated, ``size`` (M, 2)
        width, height. Of N persons: ``image``, a row of the images; ``person``, its id; the box's
        ``center`` (N, 2) and ``sides`` (N, 2) width, height; ``joints`` (N, K, 2) and ``visible``
        (N, K), 0 or 1, both float32. All in pixels of the image, 0-based.
        """

    @abstractmethod
    def read_truth(self, path: Path) -> Any:
        """What the metric compares with; PoseError for what it would stumble over."""
