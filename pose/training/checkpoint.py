"""Checkpoints of a training: written atomically, the last two kept, a torn one passed over."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from pose.errors import PoseError
from pose.files import atomic

KEPT = 2


def save(run_dir: Path, step: int, state: dict[str, Any]) -> None:
    """Write ``checkpoint-STEP.pt``. A full disk is a PoseError and leaves the earlier ones."""
    path = run_dir / f"checkpoint-{step:09d}.pt"
    try:
        with atomic(path) as partial:
            torch.save(state, partial)
    except (OSError, RuntimeError) as error:  # torch's zip writer raises RuntimeError on ENOSPC
        kept = _newest_first(run_dir)
        remedy = f"the last good one is {kept[0]}" if kept else "there is no earlier one"
        raise PoseError(f"cannot write checkpoint {path}: {error}; {remedy}") from None
    for old in _newest_first(run_dir)[KEPT:]:
        old.unlink()


def load_latest(run_dir: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest readable checkpoint of a run, or None; unreadable ones are named on stderr."""
    for path in _newest_first(run_dir):
        try:
            return torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # a torn zip shows itself in many exception types
            reason = str(error).splitlines()[0]
            print(f"{path} is unreadable ({reason}); trying the one before", file=sys.stderr)
    return None


def _newest_first(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("checkpoint-*.pt"), reverse=True)
