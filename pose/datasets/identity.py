"""What a training is: the science of its experiment and the content of its annotations.

Nothing else names a run: neither code nor machine, neither paths nor the number of processes, nor
settings that change rounding only. Code is recorded beside it, in what a result was made from.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pose.config import Dataset, Experiment
from pose.datasets import dataset_of
from pose.datasets.cache import checksum
from pose.support.errors import PoseError

ROUNDING = {
    *("channels_last", "compile", "fused", "cpu_kernels"),
    *("cudnn_benchmark", "cuda_graph", "recompute", "deterministic"),
}
"""Settings of a training that change how its numbers are rounded, and nothing else."""
MEMORY = {"expandable_segments"}
"""Settings of a training that change no number."""
LABELS = {"protocol", "recipe"}
"""They name where the other settings come from."""


def science(experiment: Experiment) -> dict[str, Any]:
    """The experiment as JSON, without labels, rounding, defaults and what is None."""
    return experiment.model_dump(
        mode="json",
        exclude={
            "train": ROUNDING | MEMORY,
            "test": {"inference_batch"},
            **dict.fromkeys(LABELS, True),
        },
        # So that a new setting renames no run that does not use it.
        exclude_none=True,
        exclude_defaults=True,
    )


def annotation_hashes(dataset: Dataset, data_root: Path) -> dict[str, str]:
    """File below ``data_root`` -> eight hex digits of its content.

    The train and val annotations, and MPII's gt_valid.mat. PoseError for one that is not there.
    """
    root, files = Path(data_root), dataset_of(dataset)
    paths = [files.annotations(root, split) for split in ("train", "val")]
    hashes = {}
    for path in dict.fromkeys([*paths, files.ground_truth(root)]):
        try:
            hashes[path.relative_to(root).as_posix()] = checksum(path)[:8]
        except OSError as error:
            raise PoseError(f"{path}: {error.strerror}") from None
    return hashes


def data_hash(dataset: Dataset, data_root: Path) -> str:
    """Eight hex digits that change with the annotations; errors as :func:`annotation_hashes`."""
    return digest(annotation_hashes(dataset, data_root))


def run_identity(experiment: Experiment, data: str) -> str:
    """Eight hex digits of a training on annotations of that :func:`data_hash`."""
    return digest([science(experiment), data])


def digest(value: Any) -> str:
    """Eight hex digits of a JSON value; the order of keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


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
