"""``run.json`` of a run folder: whose training it is, how far, and with which code.

Written with every checkpoint, so that the workflow learns all this without torch.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pose.config import Experiment
from pose.datasets.identity import digest, run_identity
from pose.support.errors import PoseError
from pose.support.files import read_json, write_file
from pose.support.fingerprint import ROOT, code_of

FILE = "run.json"
JOINER = "+"
"""Stands between the fingerprints of the codes that went on with each other's training."""


def read(run_dir: Path) -> dict[str, Any] | None:
    """What :func:`write` wrote; None where there is no such file, a damaged or another program's.

    ``made_from`` (see :func:`origin`), ``code_files``, ``commit``, ``epochs_done`` and ``epochs``,
    both with the warm-up.
    """
    with suppress(PoseError, TypeError, KeyError):
        content = read_json(run_dir / FILE)
        told = [content["made_from"]["code"]["train"], content["epochs_done"], content["epochs"]]
        if list(map(type, told)) == [str, int, int]:
            return content
    return None


def write(run_dir: Path, origin: dict[str, Any], epochs_done: int, epochs: int) -> None:
    """The :func:`origin` of a training and how far it has come; PoseError on a full disk."""
    content = origin | {"epochs_done": epochs_done, "epochs": epochs}
    write_file(run_dir / FILE, json.dumps(content, indent=1) + "\n")


def note_failure(run_dir: Path, message: str) -> None:
    """Note why a training stopped, until it has passed that place and writes a checkpoint."""
    if (content := read(run_dir)) is not None:
        write_file(run_dir / FILE, json.dumps(content | {"failure": message}, indent=1) + "\n")


def failure(run_dir: Path) -> str | None:
    """What :func:`note_failure` noted."""
    return (read(run_dir) or {}).get("failure")


def origin(experiment: Experiment, annotations: dict[str, str], codes: list[str]) -> dict[str, Any]:
    """What a training on ``annotations`` (those of :mod:`pose.datasets.identity`) is made from.

    ``made_from`` goes on into every result: ``experiment`` (the run's identity), ``data``, and
    ``code``, a fingerprint for each step; that of ``train`` joins the ``codes`` that took part in
    the training, oldest first. ``code_files``: file -> digest of the present code. ``commit``:
    git's, None outside of a git checkout.
    """
    data = digest(annotations)
    made_from = {
        "experiment": run_identity(experiment, data),
        "data": data,
        "code": {"train": JOINER.join(codes)},
    }
    return {
        "made_from": made_from,
        "code_files": code_of("pose.train", experiment.model, experiment.dataset).files,
        "commit": _commit(),
    }


@cache
def _commit() -> str | None:
    with suppress(OSError):  # git is not installed
        if (ROOT / ".git").exists():
            command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
            return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    return None
