"""``best.safetensors`` of a run folder: the weights of the epoch with the best val score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pose.config import Experiment
from pose.data.samples import Samples
from pose.support.errors import PoseError
from pose.training import checkpoint
from pose.weights.about import read_about
from pose.weights.file import load_weights, write

FILE = "best.safetensors"


def write_best(
    run_dir: Path, model: nn.Module, experiment: Experiment, samples: Samples, origin: dict
) -> None:
    """Write the model's weights, with what they were trained on and their :func:`record.origin`."""
    trained_on = {"training_persons": len(samples), "training_skipped": dict(samples.skipped)}
    write(run_dir / FILE, model, experiment, **trained_on, **origin)


def is_whole(run_dir: Path, model: nn.Module, origin: dict[str, Any]) -> bool:
    """Whether the file is there, undamaged and of the training of that origin.

    ``model`` then has its weights, and otherwise any.
    """
    try:
        load_weights(model, run_dir / FILE)
        made_from = read_about(run_dir / FILE)["made_from"]
    except (PoseError, KeyError):
        return False
    return made_from["experiment"] == origin["made_from"]["experiment"]


def lost_state(
    run_dir: Path, kept: list[Path], best: dict[str, Any], device: torch.device
) -> dict[str, Any]:
    """The state at the end of the epoch with the log's entry ``best``, from one of ``kept``.

    PoseError where no checkpoint holds it any more.
    """
    for path in kept:
        state = checkpoint.load(path, device)
        if state["position"]["step"] == 0 and state["history"][-1:] == [best]:
            return state
    raise PoseError(
        f"{run_dir / FILE}, the weights of epoch {best['epoch']}, is missing or damaged, and no"
        f" checkpoint holds them any more: put a copy there, or delete {run_dir} to train again"
    )
