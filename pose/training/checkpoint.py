"""Checkpoints of a training: written atomically, the last two kept, a torn one passed over."""

from __future__ import annotations

import io
import platform
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from pose.config import Training
from pose.datasets.identity import ROUNDING
from pose.support.errors import PoseError
from pose.support.files import atomic
from pose.training import record
from pose.training.faults import out_of_memory
from pose.weights.refusal import reason

KEPT = 2
OUTPUTS = ("best.safetensors", "training.jsonl", "performance.jsonl")
"""What a training writes beside its checkpoints and ``run.json``."""
NAME = re.compile(r"checkpoint-\d{9}\.pt")
PARTIAL = re.compile(
    r"\.(checkpoint-\d{9}|best|training|performance|run)\.[0-9a-f]{8}\.(pt|safetensors|jsonl?)"
)
"""The names under which :func:`pose.support.files.atomic` writes the files of a run folder."""
PARTS = dict.fromkeys(("identity", "versions", "position", "model", "optimizer", "schedule"), dict)
PARTS |= {"codes": list, "history": list, "best": float | int, "scaler": dict}


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
    for old in [older for older in newest_first(run_dir) if older < path][KEPT - 1 :]:
        old.unlink()
    return path


def require_ours(run_dir: Path) -> None:
    """PoseError for a folder with files that a training would replace though none wrote them."""
    if newest_first(run_dir) or record.read(run_dir) is not None:
        return
    for name in (record.FILE, *OUTPUTS):
        if (run_dir / name).exists():
            raise PoseError(
                f"{run_dir / name} is not of a training that can go on: move it away or choose"
                " another folder"
            )


def clear_partial(run_dir: Path) -> None:
    """Remove what a killed process left half-written: call it with the run's lock held."""
    for path in run_dir.glob(".*"):
        if PARTIAL.fullmatch(path.name):
            path.unlink()


def whole(run_dir: Path) -> list[Path]:
    """The whole checkpoints of a run, the newest first; damaged ones are named on stderr."""
    found = []
    for path in newest_first(run_dir):
        try:
            with zipfile.ZipFile(path) as archive:
                torn = archive.testzip()
        except Exception as error:  # damage shows itself in many exception types
            torn = error
            _require_zip(path)
        if torn is None:
            found.append(path)
        else:
            print(f"{path} is unreadable ({torn}); trying the one before", file=sys.stderr)
    return found


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """The state that :func:`save` was given; PoseError for another program's file."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # other programs' files show themselves in many exception types
        if out_of_memory(error):
            raise
        raise _foreign(path, reason(path, error)) from None
    found = state if isinstance(state, dict) else {}
    for part, kind in PARTS.items():
        if part not in found or not isinstance(found[part], kind):
            raise _foreign(path, f"no {part} in it")
    return state


def _require_zip(path: Path) -> None:
    """A file cut short begins as a zip archive or is empty; another program's is left alone."""
    with path.open("rb") as file:
        if file.read(2).strip(b"\0") not in (b"", b"PK"):
            raise _foreign(path, "not a zip archive")


def _foreign(path: Path, reason: str) -> PoseError:
    return PoseError(
        f"{path} is not a checkpoint of this version of pose.train ({reason}): move it away or"
        " choose another folder"
    )


def last_good(run_dir: Path) -> str:
    """Where a stopped training will go on, for error messages."""
    kept = newest_first(run_dir)
    return f"the last good checkpoint is {kept[0]}" if kept else "there is no checkpoint yet"


def versions(code: str, settings: Training, device: torch.device) -> dict[str, str]:
    """What else than experiment and data decides the bits of a training."""
    told = {"python": platform.python_version(), "torch": str(torch.__version__), "code": code}
    told |= {name: str(getattr(settings, name)) for name in sorted(ROUNDING)}
    if device.type == "cuda":
        told["gpu"] = torch.cuda.get_device_name(device)
        told["cudnn"] = str(torch.backends.cudnn.version())
    return told


def newest_first(run_dir: Path) -> list[Path]:
    """The checkpoints by their names; other files are none of ours, whatever their suffix."""
    found = (path for path in run_dir.glob("*.pt") if NAME.fullmatch(path.name))
    return sorted(filter(Path.is_file, found), reverse=True)
