"""Checkpoints of a training: written atomically, the last two kept, a torn one passed over."""

from __future__ import annotations

import hashlib
import io
import platform
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pose.config import Experiment
from pose.data.samples import Samples
from pose.support.errors import PoseError
from pose.support.files import atomic
from pose.support.fingerprint import fingerprint

KEPT = 2


def save(run_dir: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``checkpoint-STEP.pt``. A full disk is a PoseError and leaves the earlier ones."""
    path = run_dir / f"checkpoint-{step:09d}.pt"
    # By way of memory, because torch reports a full disk as an internal error of its zip writer.
    content = io.BytesIO()
    torch.save(state, content)
    try:
        with atomic(path) as partial:
            partial.write_bytes(content.getbuffer())
    except PoseError as error:
        raise PoseError(f"{error}; {last_good(run_dir)}") from None
    for old in _newest_first(run_dir)[KEPT:]:
        old.unlink()
    return path


def newest(run_dir: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None; damaged ones are named on stderr.

    Clears away what a killed process left half-written: call it with the run's lock held.
    """
    for partial in run_dir.glob(".*.*"):  # any of pose.support.files.atomic's
        partial.unlink()
    for path in _newest_first(run_dir):
        try:
            with zipfile.ZipFile(path) as archive:
                torn = archive.testzip()
        except (OSError, zipfile.BadZipFile) as error:
            torn = error
        if torn is None:
            return path
        print(f"{path} is unreadable ({torn}); trying the one before", file=sys.stderr)
    return None


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """The state that :func:`save` was given."""
    return torch.load(path, map_location=device, weights_only=True)


def last_good(run_dir: Path) -> str:
    """Where a stopped training will go on, for error messages."""
    kept = _newest_first(run_dir)
    return f"the last good checkpoint is {kept[0]}" if kept else "there is no checkpoint yet"


def identity(experiment: Experiment, samples: Samples) -> dict[str, Any]:
    """What a training is; a checkpoint of another one is not resumed."""
    digest = hashlib.sha256()
    for column in vars(samples).values():
        if isinstance(column, np.ndarray) and column.dtype.kind in "iuf":  # not the files' paths
            digest.update(np.ascontiguousarray(column))
    data = f"{len(samples)} persons, sha256 {digest.hexdigest()[:8]}"
    return {**experiment.model_dump(mode="json"), "training data": data}


def versions() -> dict[str, str]:
    """What else decides the bits of a training."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "pose": fingerprint("pose/**/*.py"),
    }


def differences(saved: dict[str, Any], present: dict[str, Any], prefix: str = "") -> list[str]:
    """``"train.lr: 0.001 there, 0.5 here"`` for each leaf of two nested mappings that differs."""
    found = []
    for key in saved | present:
        there, here = saved.get(key), present.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            found += differences(there, here, f"{prefix}{key}.")
        elif there != here:
            found.append(f"{prefix}{key}: {there} there, {here} here")
    return found


def _newest_first(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("checkpoint-*.pt"), reverse=True)
