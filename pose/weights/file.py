"""Files of our own weights: safetensors that tell how they were made and are to be evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save
from torch import nn

from pose.config import Experiment, read_experiment
from pose.support.errors import PoseError
from pose.support.files import atomic


def write(path: Path, model: nn.Module, experiment: Experiment, **about: Any) -> None:
    """The state of ``model``, its experiment, and whatever else JSON can tell ``about`` it."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    text = json.dumps({"experiment": experiment.model_dump(mode="json")} | about)
    # One entry only: safetensors writes several in random order, never the same bytes.
    content = save(tensors, {"about": text})
    with atomic(path) as partial:
        partial.write_bytes(content)


def read_about(path: Path) -> dict[str, Any]:
    """What :func:`write` was told, the experiment typed; empty for a file of other origin.

    Raises PoseError for what is not a file in safetensors' format.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise PoseError(f"weights {path}: not a safetensors file ({error})") from None
    if "about" not in metadata:
        return {}
    about = json.loads(metadata["about"])
    return about | {"experiment": read_experiment(json.dumps(about["experiment"]))}


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a ``.safetensors`` file of the same architecture, strictly."""
    try:
        load_model(model, path)
    except FileNotFoundError:
        raise PoseError(f"weights {path}: no such file; run pose.train first") from None
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise PoseError(f"weights {path} do not fit the model: {reason}") from None
