"""Load published weights into our models, and give ours under the published names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pose.config import Experiment
from pose.config.datasets import DATASETS
from pose.datasets import dataset_of
from pose.models import create_model
from pose.models.family import PoseModel
from pose.models.naming import Naming
from pose.support.errors import PoseError, nearest
from pose.weights.download import fetch
from pose.weights.file import write
from pose.weights.published import PublishedFile, published_file
from pose.weights.read import read_state_dict

LISTED = 8  # names that an error message shows of each kind


def load_published(
    model: PoseModel, state_dict: dict[str, Tensor], source: str = "the weights"
) -> None:
    """Load tensors under their published names and shapes, strictly.

    Takes the naming, of those known for the model, that fits the given names best. BN's step
    counters may be missing, as in files older than them; what the naming calls dropped may be
    there. A part for training only of which there is nothing is taken from the model. Raises
    PoseError that names the ``source`` and lists every missing, unexpected and misshapen tensor;
    the model is then unchanged. Inverse of :func:`to_published`.
    """
    naming = _best_naming(model, state_dict)
    state_dict = {key: t for key, t in state_dict.items() if not naming.dropped(key)}
    lacking = tuple(f"{part}." for part in model.training_only if not _has(state_dict, part))
    own = to_published(model, naming.name)
    own = {key: tensor for key, tensor in own.items() if not key.startswith(lacking)}
    state_dict |= {key: own[key] for key in own.keys() - state_dict.keys() if _is_counter(key)}
    misfit = f"{source} do not fit {type(model).__name__}"
    _require_equal_shapes(own, state_dict, misfit, naming.advice)
    for part in lacking:
        getattr(model, part.removesuffix(".")).clear()
    model.load_state_dict(
        {
            key: naming.from_original(key, state_dict[naming.original_key(model, key)])
            for key in model.state_dict()
        }
    )


def to_published(model: PoseModel, naming: str | None = None) -> dict[str, Tensor]:
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


def initialise(model: PoseModel, init: str) -> None:
    """Give a model the published weights that its trunk starts from, fetched if need be.

    ``init``: "scratch" changes nothing; "imagenet", and EEffPose's "effdet_coco", load the files
    that the model names. Raises PoseError for another one, and as :func:`pose.weights.fetch` and
    :func:`load_published` do.
    """
    for start in model.starts(init):
        load_part(start.part, start.file, start.own_key, start.fresh)


def fetch_initial(experiment: Experiment) -> list[Path]:
    """The published files that a training starts from, fetched if need be and checked.

    Raises PoseError as :func:`pose.weights.fetch` does.
    """
    with torch.device("meta"):
        starts = model_of(experiment).starts(experiment.model_options.init)
    return [fetch(start.file) for start in starts]


def load_part(
    part: nn.Module,
    name: str,
    own_key: Callable[[str], str | None],
    fresh: tuple[str, ...] = (),
) -> None:
    """Load the published file of that ``name`` into a part of a model.

    ``own_key`` and ``fresh`` are those of :class:`pose.models.family.Start`; every other tensor of
    the part must be there and fit.
    """
    published = {own_key(key): t for key, t in read_state_dict(fetch(name)).items()}
    published.pop(None, None)
    own = {key: t for key, t in part.state_dict().items() if not key.startswith(fresh)}
    # BN's step counters are read by no model here, and older files and conversions lack them
    own, published = _without_counters(own), _without_counters(published)
    _require_equal_shapes(own, published, f"the weights do not fit {name}")
    part.load_state_dict(published, strict=False)


def convert(name: str, output: Path, cache: Path | None = None) -> None:
    """Write a published checkpoint as safetensors in our names, for ``pose.infer``.

    The file tells the experiment too, how it is evaluated. Raises as :func:`open_published` does.
    """
    write(output, *open_published(name, cache))


def problem(name: str) -> str:
    """Why a published checkpoint cannot be had or does not fit its model; empty if it does."""
    try:
        open_published(name)
    except PoseError as error:
        return str(error)
    return ""


def open_published(name: str, cache: Path | None = None) -> tuple[PoseModel, Experiment]:
    """The model of a published checkpoint, fetched if need be, and how it is evaluated.

    Raises PoseError for backbone weights, which are no whole model, and as :func:`load_published`
    and :func:`pose.weights.fetch` do.
    """
    published = published_file(name)
    if published.dataset not in DATASETS:
        raise PoseError(f"{name} holds a backbone only; choose the weights of a whole model")
    return read_published(published, fetch(name, cache))


def read_published(published: PublishedFile, path: Path) -> tuple[PoseModel, Experiment]:
    """The same of a published checkpoint that lies at ``path``."""
    experiment = published.experiment()
    model = model_of(experiment)
    load_published(model, read_state_dict(path), f"the weights in {path}")
    return model, experiment


def model_of(experiment: Experiment) -> PoseModel:
    """The freshly initialised model of an experiment."""
    joints = len(dataset_of(experiment.dataset).keypoints)
    return create_model(experiment.model, joints, **experiment.model_options.architecture())


def _has(state_dict: dict[str, Tensor], part: str) -> bool:
    return any(key.startswith(f"{part}.") for key in state_dict)


def _namings(model: PoseModel) -> Sequence[Naming]:
    if not (namings := getattr(model, "namings", ())):
        raise PoseError(f"the published names of {type(model).__name__}'s weights are not known")
    return namings


def _best_naming(model: PoseModel, state_dict: dict[str, Tensor]) -> Naming:
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
    own: dict[str, Tensor], given: dict[str, Tensor], misfit: str, advice: str = ""
) -> None:
    misshapen = [
        f"{key} {tuple(given[key].shape)} for {tuple(own[key].shape)}"
        for key in own.keys() & given.keys()
        if own[key].shape != given[key].shape
    ]
    integers = [
        f"{key} {given[key].dtype} for {own[key].dtype}"
        for key in own.keys() & given.keys()
        if own[key].is_floating_point() and not given[key].is_floating_point()
    ]
    differences = {
        "missing": own.keys() - given.keys(),
        "unexpected": given.keys() - own.keys(),
        "misshapen": misshapen,
        "quantized": integers,
    }
    listed = [f"{kind}: {_listing(names)}" for kind, names in differences.items() if names]
    if listed:
        listed += [advice] if advice else []
        raise PoseError(f"{misfit}; {'; '.join(listed)}")


def _listing(names: set[str] | list[str]) -> str:
    shown = sorted(names)[:LISTED]
    return ", ".join(shown) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
