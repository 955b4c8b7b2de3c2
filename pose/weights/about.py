"""What a file of our weights tells about itself, and whether an experiment may use it.

Needs no torch: the workflow asks every file of a benchmark before it starts anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pose.config import Experiment, read_experiment
from pose.config.datasets import DATASETS
from pose.datasets import dataset_of
from pose.datasets.identity import differences
from pose.support.errors import PoseError

ALONE = "weights.json"
"""A file with this alone, beside scores whose weights are elsewhere."""
OURS = "use the weights.safetensors of pose.train or of pose.weights convert"


def read_about(path: Path) -> dict[str, Any]:
    """What :func:`pose.weights.file.write` was told, the experiment typed; empty for other files.

    Raises PoseError for a missing file and for one that is not in safetensors' format.
    """
    about = read_plain(path)
    if about:
        try:
            about["experiment"] = read_experiment(json.dumps(about["experiment"]))
        except PoseError as error:
            raise PoseError(f"weights {path} of another version: {error}; {OURS}") from None
    return about


def read_plain(path: Path) -> dict[str, Any]:
    """The same, with the experiment as plain JSON."""
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise PoseError(f"weights {path}: no such file; run pose.train first") from None
    except (SafetensorError, OSError) as error:
        if path.is_file() and is_pickle(path):
            raise PoseError(
                f"weights {path} are a file of torch.save, as trainings' checkpoints and published"
                f" ones are: {OURS}"
            ) from None
        raise PoseError(
            f"weights {path}: not a safetensors file, or a damaged one ({error}); {OURS}"
        ) from None
    try:
        about = json.loads(metadata.get("about", ""))
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) and "experiment" in about else {}


def is_pickle(path: Path) -> bool:
    """Whether the file is of torch.save, as trainings' own checkpoints and published ones are."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")


def require_fit(path: Path, about: dict[str, Any], experiment: Experiment) -> list[str]:
    """How the weights' own experiment differs in what inference reads, but need not agree in.

    ``about`` is what :func:`read_about` gave. Raises PoseError that names each setting in which
    weights and ``experiment`` must agree but do not, and for weights that do not tell theirs.
    """
    if "experiment" not in about:
        raise PoseError(f"weights {path} do not tell what they were trained for: {OURS}")
    own = about["experiment"]
    if wrong := differences(_trained_for(own), _trained_for(experiment)):
        raise PoseError(
            f"weights {path} were trained for other settings ({'; '.join(wrong)}); give their own"
            " experiment, or train this one"
        )
    return differences(_tested_by(own), _tested_by(experiment))


def _trained_for(experiment: Experiment) -> dict[str, Any]:
    """What weights mean nothing without."""
    own = dataset_of(experiment.dataset).keypoints
    return {
        "model": experiment.model,
        "joints of": next(name for name in DATASETS if dataset_of(name).keypoints == own),
        "model_options": experiment.model_options.architecture(),
        "image": experiment.image.model_dump(mode="json"),
        "target": experiment.target.model_dump(include={"stride", "offset", "peak"}),
    }


def _tested_by(experiment: Experiment) -> dict[str, Any]:
    """What may differ between training and use, and changes the predictions."""
    decoding = {"flip", "flip_shift", "decode", "soft_argmax_beta"}
    return {
        "dataset": experiment.dataset,
        "input_size": list(experiment.input_size),
        "target": experiment.target.model_dump(include={"sigma"}),
        "test": experiment.test.model_dump(include=decoding),
    }
