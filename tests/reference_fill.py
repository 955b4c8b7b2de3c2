"""The deterministic weights and input under which the parity fixtures were computed."""

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def manifest(reference: Path) -> dict:
    """Name of a fixture -> its model, input and published tensor names and shapes."""
    with gzip.open(reference / "eeffpose_manifest.json.gz") as file:
        return json.load(file)


def fill(key: str, shape: list[int], gain: float = 1.3) -> Tensor:
    """The weight of that name: the name seeds the numbers, its ending and rank scale them."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    random = np.random.RandomState(zlib.crc32(key.encode()))
    x = torch.from_numpy(np.asarray(random.standard_normal(shape), np.float32))
    if key.endswith("running_var"):
        return 1 + 0.1 * x.abs()
    if key.endswith("weights"):
        return 0.5 + x.abs()
    if key.endswith(("running_mean", "bias")):
        return 0.1 * x
    if x.ndim == 1:
        return 1 + 0.1 * x
    return x * np.float32(gain / np.sqrt(np.prod(shape[1:])))


def state_dict(entry: dict) -> dict[str, Tensor]:
    """A filled checkpoint for an entry of the manifest, in the published names."""
    return {key: fill(key, shape) for key, shape in entry["state"]}


def images(height: int, width: int) -> Tensor:
    """The input (2, 3, height, width) of every fixture."""
    random = np.random.RandomState(20220114)
    return torch.from_numpy(random.standard_normal((2, 3, height, width)).astype(np.float32))


def model_of(entry: dict) -> tuple[str, int]:
    """Our name and the number of keypoints of a manifest's model."""
    size = entry["variant"].lower().split("_")[0]
    keypoints = 16 if "mpii" in entry["variant"].lower() else 17
    return f"eeffpose-{size}-order{entry['order']}", keypoints


def baselines_manifest(reference: Path) -> dict:
    """Name of a baseline's fixture -> its input, gain, and published tensor names and shapes."""
    with gzip.open(reference / "baselines_manifest.json.gz") as file:
        return json.load(file)


def filled_baseline(entry: dict) -> dict[str, Tensor]:
    """A filled checkpoint for an entry of the baselines' manifest, in the published names."""
    return {key: fill(key, shape, entry["gain"]) for key, shape in entry["state"]}
