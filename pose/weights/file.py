"""Files of our own weights: safetensors that tell how they were made and are to be evaluated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model, save
from torch import Tensor, nn, uint8

from pose.config import Experiment
from pose.support.errors import PoseError
from pose.support.files import atomic
from pose.weights.about import read_plain

CHECKSUM = "sha256"


def write(path: Path, model: nn.Module, experiment: Experiment, **about: Any) -> None:
    """The state of ``model``, its experiment, whatever else JSON can tell ``about`` it.

    The file also holds a checksum of all that, which :func:`load_weights` compares.
    """
    state = model.state_dict()
    about = {"experiment": experiment.model_dump(mode="json")} | about
    text = json.dumps(about | {CHECKSUM: _checksum(state, about)})
    # One entry only: safetensors writes several in random order, never the same bytes.
    content = save({name: tensor.contiguous() for name, tensor in state.items()}, {"about": text})
    with atomic(path) as partial:
        partial.write_bytes(content)


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a ``.safetensors`` file of the same architecture, strictly.

    Raises PoseError for a missing file, one of another model and one that is damaged.
    """
    about = read_plain(path)
    try:
        load_model(model, path)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise PoseError(f"weights {path} do not fit the model: {reason}") from None
    expected = about.pop(CHECKSUM, None)  # files of earlier versions have none
    if expected not in (None, _checksum(model.state_dict(), about)):
        raise PoseError(
            f"weights {path} are damaged: their checksum differs; delete the file and run again"
            " what made it"
        )


def _checksum(state: Mapping[str, Tensor], about: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(uint8).numpy())
    return digest.hexdigest()
