"""Load published weights into our models, and give ours under the published names."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pose.data.keypoints import KEYPOINT_SETS
from pose.errors import PoseError
from pose.files import atomic
from pose.models import create_model
from pose.models.backbone import EffNet
from pose.models.eeffpose import PoseNet
from pose.weights import eeffpose
from pose.weights.download import fetch
from pose.weights.published import published_file

# Class of model -> the module that knows the names and shapes of its published tensors, by
# original_key(model, key), to_original(key, tensor) and from_original(key, tensor).
FAMILIES: dict[type[nn.Module], ModuleType] = {PoseNet: eeffpose}

BEYOND_TRUNK = ("conv_head.", "bn2.", "classifier.", "fpn.", "class_net.", "box_net.")
LISTED = 8  # names that an error message shows of each kind


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    Reads safetensors and torch files, of which nothing but tensors is unpickled; unwraps
    ``{"state_dict": ...}`` and drops DataParallel's ``module.`` prefix. Raises PoseError for a
    missing or unreadable file and for one that holds anything but tensors.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise PoseError(f"{path}: no such file; fetch it first") from None
    except Exception as error:  # a torn or foreign file shows itself in many exception types
        reason = str(error).partition("\n")[0]
        raise PoseError(f"{path}: not a readable file of tensors only ({reason})") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise PoseError(f"{path}: holds something other than named tensors, which is not loaded")
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def load_published(model: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Load tensors under their published names and shapes, strictly.

    Raises PoseError that lists every missing, unexpected and misshapen tensor; the model is then
    unchanged. Inverse of :func:`to_published`.
    """
    family = _family(model)
    _require_equal_shapes(to_published(model), state_dict, type(model).__name__)
    model.load_state_dict(
        {
            key: family.from_original(key, state_dict[family.original_key(model, key)])
            for key in model.state_dict()
        }
    )


def to_published(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors under the names and in the shapes of the original release."""
    family = _family(model)
    return {
        family.original_key(model, key): family.to_original(key, tensor)
        for key, tensor in model.state_dict().items()
    }


def load_backbone(backbone: EffNet, name: str) -> None:
    """Load the trunk from timm's ImageNet or EfficientDet's detection weights, fetched by ``name``.

    Takes every tensor of the trunk; only the classifier's and the detector's other parts may be
    left over. Raises PoseError as :func:`pose.weights.fetch` and :func:`load_published` do.
    """
    published = read_state_dict(fetch(name))
    trunk = {key.removeprefix("backbone."): tensor for key, tensor in published.items()}
    trunk = {key: tensor for key, tensor in trunk.items() if not key.startswith(BEYOND_TRUNK)}
    own = {
        key: tensor
        for key, tensor in backbone.state_dict().items()
        if not key.startswith(("extended.", "fusions."))
    }
    # BN's step counters are read by no model here, and conversions from TensorFlow may lack them
    _require_equal_shapes(_without_counters(own), _without_counters(trunk), name)
    backbone.load_state_dict(_without_counters(trunk), strict=False)


def convert(name: str, output: Path, cache: Path | None = None) -> None:
    """Write a published checkpoint as safetensors in our names, for ``pose.infer``.

    The file's metadata holds ``model``, its name in the registry. Raises PoseError for backbone
    weights, which are no whole model, and as :func:`load_published` does.
    """
    published = published_file(name)
    if published.dataset not in KEYPOINT_SETS:
        raise PoseError(f"{name} holds a backbone only; choose the weights of a whole model")
    model = create_model(published.model, len(KEYPOINT_SETS[published.dataset]))
    load_published(model, read_state_dict(fetch(name, cache)))
    with atomic(output) as partial:
        save_file(model.state_dict(), partial, metadata={"model": published.model})


def _family(model: nn.Module) -> ModuleType:
    if type(model) not in FAMILIES:
        raise PoseError(f"the published names of {type(model).__name__}'s weights are not known")
    return FAMILIES[type(model)]


def _without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: t for key, t in state.items() if not key.endswith("num_batches_tracked")}


def _require_equal_shapes(own: dict[str, Tensor], given: dict[str, Tensor], what: str) -> None:
    misshapen = [
        f"{key} {tuple(given[key].shape)} for {tuple(own[key].shape)}"
        for key in own.keys() & given.keys()
        if own[key].shape != given[key].shape
    ]
    differences = {
        "missing": own.keys() - given.keys(),
        "unexpected": given.keys() - own.keys(),
        "misshapen": misshapen,
    }
    listed = [f"{kind}: {_listing(names)}" for kind, names in differences.items() if names]
    if listed:
        raise PoseError(f"the weights do not fit {what}; {'; '.join(listed)}")


def _listing(names: set[str] | list[str]) -> str:
    shown = sorted(names)[:LISTED]
    return ", ".join(shown) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
