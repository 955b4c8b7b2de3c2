"""Load published weights into our models, and give ours under the published names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from pose.datasets.keypoints import KEYPOINT_SETS
from pose.models import create_model
from pose.models.cpn import CPN
from pose.models.eeffpose.net import PoseNet
from pose.models.efficientpose import EfficientPose
from pose.models.hourglass import StackedHourglass
from pose.models.hrnet import HRNet
from pose.models.litehrnet import LiteHRNet
from pose.models.lpn import LPN
from pose.models.mobile import MobileNetV2Pose, ShuffleNetV2Pose
from pose.models.mobilenetv3 import MobileNetV3Pose
from pose.models.simplebaseline import SimpleBaseline
from pose.support.errors import PoseError, nearest
from pose.weights import (
    cpn,
    eeffpose,
    efficientpose,
    hourglass,
    hrnet,
    litehrnet,
    lpn,
    mobile,
    simplebaseline,
)
from pose.weights.download import fetch
from pose.weights.file import write
from pose.weights.naming import Naming
from pose.weights.published import published_file
from pose.weights.read import read_state_dict

# Class of model -> the namings under which projects publish its weights, its own project's first.
FAMILIES: dict[type[nn.Module], list[Naming]] = {
    PoseNet: eeffpose.NAMINGS,
    HRNet: hrnet.NAMINGS,
    SimpleBaseline: simplebaseline.NAMINGS,
    MobileNetV2Pose: mobile.MOBILENETV2,
    MobileNetV3Pose: mobile.MOBILENETV3,
    ShuffleNetV2Pose: mobile.SHUFFLENETV2,
    LiteHRNet: litehrnet.NAMINGS,
    LPN: lpn.NAMINGS,
    StackedHourglass: hourglass.NAMINGS,
    CPN: cpn.NAMINGS,
    EfficientPose: efficientpose.NAMINGS,
}

LISTED = 8  # names that an error message shows of each kind


def load_published(model: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Load tensors under their published names and shapes, strictly.

    Takes the naming, of those known for the model, that fits the given names best. BN's step
    counters may be missing, as in files older than them; what the naming calls dropped may be
    there. Raises PoseError that lists every missing, unexpected and misshapen tensor; the model is
    then unchanged. Inverse of :func:`to_published`.
    """
    naming = _best_naming(model, state_dict)
    state_dict = {key: t for key, t in state_dict.items() if not naming.dropped(key)}
    own = to_published(model, naming.name)
    state_dict |= {key: own[key] for key in own.keys() - state_dict.keys() if _is_counter(key)}
    _require_equal_shapes(own, state_dict, type(model).__name__, naming.advice)
    model.load_state_dict(
        {
            key: naming.from_original(key, state_dict[naming.original_key(model, key)])
            for key in model.state_dict()
        }
    )


def to_published(model: nn.Module, naming: str | None = None) -> dict[str, Tensor]:
    """The model's tensors under the names and in the shapes of an original release.

    ``naming``: a name of the model's namings, by default the first. Raises PoseError for a model
    of which none is known and for an unknown name.
    """
    namings = {known.name: known for known in _namings(model)}
    if naming is not None and naming not in namings:
        raise PoseError(f"unknown naming {naming!r}{nearest(naming, namings)}")
    chosen = namings[naming] if naming else next(iter(namings.values()))
    return {
        chosen.original_key(model, key): chosen.to_original(key, tensor)
        for key, tensor in model.state_dict().items()
    }


def load_backbone(
    backbone: nn.Module,
    name: str,
    own_key: Callable[[str], str | None],
    fresh: tuple[str, ...] = (),
) -> None:
    """Load the published file of that ``name``, fetched if need be, into a trunk.

    ``own_key`` maps the file's names to the trunk's, and to None what the trunk does without, such
    as the classifier. ``fresh``: beginnings of the trunk's names that the file cannot know. Every
    other tensor must be there and fit. Raises PoseError as :func:`pose.weights.fetch` and
    :func:`load_published` do.
    """
    published = {own_key(key): t for key, t in read_state_dict(fetch(name)).items()}
    published.pop(None, None)
    own = {key: t for key, t in backbone.state_dict().items() if not key.startswith(fresh)}
    # BN's step counters are read by no model here, and older files and conversions lack them
    own, published = _without_counters(own), _without_counters(published)
    _require_equal_shapes(own, published, name)
    backbone.load_state_dict(published, strict=False)


def convert(name: str, output: Path, cache: Path | None = None) -> None:
    """Write a published checkpoint as safetensors in our names, for ``pose.infer``.

    The file tells the experiment too, how it is evaluated. Raises PoseError for backbone
    weights, which are no whole model, and as :func:`load_published` does.
    """
    published = published_file(name)
    if published.dataset not in KEYPOINT_SETS:
        raise PoseError(f"{name} holds a backbone only; choose the weights of a whole model")
    experiment = published.experiment()
    architecture = experiment.model_options.architecture()
    model = create_model(published.model, len(KEYPOINT_SETS[published.dataset]), **architecture)
    load_published(model, read_state_dict(fetch(name, cache)))
    write(output, model, experiment)


def _namings(model: nn.Module) -> list[Naming]:
    if type(model) not in FAMILIES:
        raise PoseError(f"the published names of {type(model).__name__}'s weights are not known")
    return FAMILIES[type(model)]


def _best_naming(model: nn.Module, state_dict: dict[str, Tensor]) -> Naming:
    """The one with the fewest names that only one side has; the first of equals."""

    def differences(naming: Naming) -> int:
        given = {key for key in state_dict if not naming.dropped(key)}
        return len(given ^ {naming.original_key(model, key) for key in model.state_dict()})

    return min(_namings(model), key=differences)


def _without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: t for key, t in state.items() if not _is_counter(key)}


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def _require_equal_shapes(
    own: dict[str, Tensor], given: dict[str, Tensor], what: str, advice: str = ""
) -> None:
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
        listed += [advice] if advice else []
        raise PoseError(f"the weights do not fit {what}; {'; '.join(listed)}")


def _listing(names: set[str] | list[str]) -> str:
    shown = sorted(names)[:LISTED]
    return ", ".join(shown) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
