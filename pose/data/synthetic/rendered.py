"""The folder of rendered people: its settings, and which of its files are ours.

A list of the written files lies in the folder and marks it as ours. Only what stands there, and is
as it was written, is ever replaced or removed; a folder with anything else in it is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from pose.config import Frozen, Probability
from pose.datasets.identity import annotation_hashes, digest
from pose.support.errors import PoseError
from pose.support.fingerprint import code_of

Side = Annotated[int, Field(ge=64, le=8192)]  # pixels
MANIFEST = "rendered.json"
DETECTIONS = "person_detections_val2017.json"
OURS = re.compile(
    rf"{re.escape(DETECTIONS)}"
    r"|annotations/person_keypoints_(train|val)2017\.json|(train|val)2017/\d{12}\.jpg"
)
"""The names of files that we write."""


class SyntheticSettings(Frozen):
    """Size and difficulty of the data set."""

    seed: int = Field(0, ge=0)
    """Seed of all random numbers."""
    train_images: int = Field(120, ge=1)
    """Images to train on."""
    val_images: int = Field(60, ge=1)
    """Images to validate on."""
    image_size: tuple[Side, Side] = (240, 320)
    """(height, width) in pixels; a third of the images are turned upright."""
    max_persons: int = Field(3, ge=1, le=20)
    """Most persons in an image, those of a crowd not counted; they overlap by chance."""
    occluders: Probability = 0.2
    """Probability that something stands in front of a person."""
    clutter: int = Field(10, ge=0)
    """Shapes in the background."""
    pose_spread: Probability = 0.35
    """How far joint angles, view and in-plane rotation roam; 0 is one standing pose."""
    color_jitter: Probability = 0.4
    """How far cloth colours roam, and how vivid the background is."""


def rendering(settings: SyntheticSettings) -> str:
    """Eight hex digits of the settings and of the code that draws by them."""
    return digest([settings.model_dump(), code_of("pose.data.synthetic").fingerprint])


def data_name(folder: Path, settings: SyntheticSettings) -> str:
    """What names the people in ``folder``, rendered already or not yet: their :func:`rendering`.

    Annotations that were edited since have the hash of their content.
    """
    if is_current(folder, settings):
        written, hashes = own_files(folder), annotation_hashes("synthetic", folder)
        if any(content not in written[name] for name, content in hashes.items()):
            return digest(hashes)
    return rendering(settings)


def own_files(folder: Path) -> dict[str, list[str]]:
    """The files, below ``folder``, that an earlier rendering wrote; none for a new folder.

    Each has the :func:`content_hash` with which it was written; two, where a rendering was killed.

    Raises PoseError for a folder that is not empty and does not say that it was rendered.
    """
    if not folder.is_dir():
        if folder.exists() or folder.is_symlink():
            raise PoseError(f"{folder}: not a folder; choose another for the rendered people")
        return {}
    manifest = _read(folder)
    if manifest is not None:
        return manifest["files"]
    if any(folder.iterdir()):
        old = (folder / "settings.json").exists() and (folder / DETECTIONS).exists()
        raise PoseError(
            f"{folder}: rendered by an earlier version, which kept no list of its files; move it"
            " away or delete it, and it is rendered again"
            if old
            else f"{folder}: not empty, and not a folder of rendered people; nothing in it was"
            " touched; choose another folder for them (data_root, or --output)"
        )
    return {}


def content_hash(path: Path) -> str:
    """Eight hex digits of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def is_current(folder: Path, settings: SyntheticSettings) -> bool:
    """Whether ``folder`` holds, whole, what would be rendered now."""
    manifest = _read(folder)
    return (
        manifest is not None
        and manifest["rendering"] == rendering(settings)
        and all((folder / name).is_file() for name in manifest["files"])
    )


def _read(folder: Path) -> dict[str, Any] | None:
    """The list that a rendering left in ``folder``; None where there is none of ours."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        known = all(map(OURS.fullmatch, manifest["files"]))
        ours = known and isinstance(manifest["files"], dict) and "rendering" in manifest
        return manifest if ours else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
