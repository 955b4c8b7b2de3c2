"""The weights, input and samples of the parity fixtures: outputs of the original implementations.

Weights and input are drawn anew from names and shapes. A few dozen values of every output stand in
tests/parity, with a digest of the names and shapes; the full fixtures need not be there.
"""

import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from parity.sample import digest
from torch import Tensor, nn

from pose.models import create_model
from pose.weights import load_published, to_published


@cache
def fixtures(kind: str) -> dict[str, dict]:
    """Name -> its entry in tests/parity/KIND.json."""
    return json.loads((Path(__file__).parent / "parity" / f"{kind}.json").read_text())


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


def state_dict(model: nn.Module, gain: float = 1.3) -> dict[str, Tensor]:
    """A filled checkpoint for a model, in the published names."""
    return {key: fill(key, list(t.shape), gain) for key, t in to_published(model).items()}


def filled(name: str, keypoints: int = 17, gain: float = 1.3) -> nn.Module:
    """A model in eval mode under the fixtures' weights."""
    model = create_model(name, keypoints).eval()
    load_published(model, state_dict(model, gain))
    return model


def images(height: int, width: int) -> Tensor:
    """The input (2, 3, height, width) of every fixture."""
    random = np.random.RandomState(20220114)
    return torch.from_numpy(random.standard_normal((2, 3, height, width)).astype(np.float32))


def model_of(entry: dict) -> tuple[str, int]:
    """Our name and the number of keypoints of a fixture's EEffPose."""
    size = entry["variant"].lower().split("_")[0]
    keypoints = 16 if "mpii" in entry["variant"].lower() else 17
    return f"eeffpose-{size}-order{entry['order']}", keypoints


def has_names_and_shapes(published: dict[str, Tensor], entry: dict) -> bool:
    """Whether a checkpoint has the tensors of the fixture's, by name and shape."""
    shapes = [(key, tensor.shape) for key, tensor in published.items()]
    return (len(shapes), digest(shapes)) == (entry["tensors"], entry["sha256"])


def difference(ours: np.ndarray, sample: dict) -> float:
    """The largest difference from the sampled values of an array, and from its mean and spread."""
    assert list(ours.shape) == sample["shape"]
    whole = ours.mean(dtype=np.float64) - sample["mean"], ours.std(dtype=np.float64) - sample["std"]
    return float(np.abs([*(ours.ravel()[sample["at"]] - sample["values"]), *whole]).max())


def relative_difference(
    ours: Tensor, entry: dict, reference: Path | None, output: str = "output"
) -> float:
    """The largest difference from an output of the original, in its standard deviations.

    From the samples always, and from every value where the full fixtures are there.
    """
    ours, sample = ours.numpy(), entry["outputs"][output]
    largest = difference(ours, sample)
    if reference:
        with np.load(reference / entry["file"]) as arrays:
            largest = max(largest, float(np.abs(ours - arrays[output]).max()))
    return largest / sample["std"]
