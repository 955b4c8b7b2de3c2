"""The typed description of one experiment; :mod:`pose.config.presets` has the values by name.

An :class:`Experiment` holds the science of a training and its evaluation and nothing else: paths,
devices and worker counts are arguments of the commands. It is frozen, and travels between
processes as JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from pose.config import presets
from pose.config.datasets import DATASETS, known_dataset
from pose.config.frozen import Frozen, parse
from pose.config.model_sheet import row_of
from pose.config.presets import Combination
from pose.config.training import Training
from pose.support.errors import PoseError, nearest
from pose.support.files import read_json

Protocol = Literal["released", "controlled", "paper"]
Recipe = Literal["own", "common"]
Numerics = Literal["reference", "fast"]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # torch is seeded by seed * 2**32 + step, below 2**64


LONGEST_SIDE = 8192  # pixels of an input; OpenCV makes no crop of 32 768


def _multiple_of_4(sides: tuple[int, int]) -> tuple[int, int]:
    if any(not 4 <= side <= LONGEST_SIDE or side % 4 for side in sides):
        raise ValueError(f"both sides must be multiples of 4 up to {LONGEST_SIDE}")
    return sides


def _known_dataset(name: str) -> str:
    try:
        return known_dataset(name)
    except PoseError as error:
        raise ValueError(str(error)) from None


Dataset = Annotated[
    str, AfterValidator(_known_dataset), Field(json_schema_extra={"enum": list(DATASETS)})
]
InputSize = Annotated[tuple[int, int], AfterValidator(_multiple_of_4)]


class ModelOptions(Frozen):
    """Where a model's weights start, and the options of its family (config/models.tsv)."""

    model_config = ConfigDict(extra="allow")

    init: Literal["effdet_coco", "imagenet", "scratch"]
    """Initial weights of the trunk."""
    head_weight: Positive = 1.0
    """Weight at the start of each scale's last batch normalisation in EEffPose's head, which no
    other model has; with init scratch only."""

    @model_validator(mode="before")
    @classmethod
    def _asked_for(cls, options: Any) -> Any:
        """Files of earlier versions name every family's options, null where not asked for."""
        if not isinstance(options, dict):
            return options
        return {name: value for name, value in options.items() if value is not None}

    @model_validator(mode="after")
    def _head_from_scratch(self) -> ModelOptions:
        if self.head_weight != 1 and self.init != "scratch":
            raise ValueError(f"head_weight is for init scratch, and init is {self.init}")
        return self

    def architecture(self) -> dict[str, Any]:
        """What :func:`pose.models.create_model` needs for the net itself."""
        return self.model_dump(exclude={"init", "head_weight"})


class Image(Frozen):
    """The network's input: (pixel / 255 - mean) / std in that order of the channels."""

    channels: Literal["rgb", "bgr"]
    """Order of the channels."""
    mean: tuple[float, float, float]
    """Subtracted from pixel / 255."""
    std: tuple[Positive, Positive, Positive]
    """What the difference is divided by."""


class Augmentation(Frozen):
    """Random crops of training; the distributions are in :mod:`pose.data.augment`."""

    scale: float = Field(ge=0, lt=1)
    """Standard deviation and half range of the box's scale factor."""
    rotation: float = Field(ge=0)
    """Standard deviation of the rotation in degrees, clipped at twice its value."""
    rotation_probability: Probability
    """Probability that a crop is rotated."""
    flip_probability: Probability
    """Probability that a crop is mirrored."""
    half_body_probability: Probability
    """Probability that the crop shows the upper or the lower half of the body."""


class Target(Frozen):
    """The regression target: a Gaussian, in heat-map pixels."""

    sigma: float = Field(gt=0)
    """The Gaussian's standard deviation."""
    stride: int = Field(ge=1)
    """Input pixels a heat-map pixel."""
    offset: float = Field(ge=0, lt=1)
    """Heat-map pixel i stands for crop pixel (i + offset) * stride, in target and decoding."""
    peak: float = Field(gt=0)
    """The target's value at the joint; scores are heat-map values divided by it."""
    unbiased: bool = False
    """Centre the Gaussian at the joint itself, not at the heat-map pixel nearest to it (DARK)."""


class Testing(Frozen):
    """From heat maps to the persons that are scored."""

    flip: bool
    """Average with the prediction on the mirrored crop."""
    flip_shift: int
    """Pixels by which the mirrored prediction is moved right before averaging."""
    decode: Literal["quarter", "argmax", "dark", "soft_argmax"]
    """How a joint is read from its map: :mod:`pose.evaluation.decode`."""
    soft_argmax_beta: float = Field(gt=0)
    """The factor on the map before the softmax of ``soft_argmax``."""
    rescore_threshold: Probability
    """Keypoints above it enter the mean that multiplies the box score."""
    oks_nms: float = Field(gt=0, le=1)
    """OKS above which the weaker of two persons is dropped."""
    soft_oks_nms: bool
    """Lower the weaker one's score instead, by its OKS with the stronger ones."""
    inference_batch: int = Field(64, ge=1)
    """Crops that go through the net together; changes rounding only."""


class Experiment(Frozen):
    """One training and its evaluation. ``input_size`` is (height, width) in pixels."""

    model: str
    dataset: Dataset
    input_size: InputSize
    seed: Seed
    protocol: str
    """The label of every result: the protocol, the recipe, and in brackets what was overridden."""
    recipe: Recipe
    """The model's own published training, or the protocol's, common to all models."""
    model_options: ModelOptions
    image: Image
    augmentation: Augmentation
    train: Training
    target: Target
    test: Testing

    @model_validator(mode="after")
    def _options_of_the_family(self) -> Experiment:
        known = row_of(self.model)["options"].split()
        for name in self.model_options.architecture():
            if name not in known:
                hint = nearest(name, known) or f" ({self.model} has {', '.join(known) or 'none'})"
                raise ValueError(f"unknown key 'model_options.{name}'{hint}")
        return self

    @model_validator(mode="after")
    def _target_of_the_loss(self) -> Experiment:
        if self.target.unbiased and self.train.loss == "cpn":
            raise ValueError("target.unbiased: the loss cpn has rounded centres only; set false")
        return self

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """(height, width) of the heat maps."""
        height, width = self.input_size
        return height // self.target.stride, width // self.target.stride


def experiment(
    model: str,
    dataset: Dataset,
    input_size: tuple[int, int],
    protocol: Protocol = "released",
    seed: int = 0,
    overrides: dict[str, dict[str, Any]] | None = None,
    recipe: Recipe = "own",
    numerics: Numerics | None = None,
) -> Experiment:
    """Resolve the presets for a model on a data set; ``overrides`` win over every layer.

    EEffPose's own recipe is the protocol. Another model's is its project's training
    (``recipes.yaml``), laid over the protocol's tests. ``numerics`` replaces the protocol's
    precision and kernels. All that departs from the bare protocol becomes part of the label, so
    that no number can pass for one that it produced. PoseError for an unknown model or setting,
    and for an input that the model cannot take.
    """
    combination = Combination(model, dataset, "{}x{}".format(*input_size))
    layers = presets.layers(combination, protocol, recipe, numerics)
    settings = presets.stack([*layers, overrides or {}])
    named = {"model": model, "dataset": dataset, "input_size": tuple(input_size), "seed": seed}
    label = presets.label(combination, protocol, recipe, numerics, overrides or {})
    return parse(
        Experiment, {**named, "protocol": label, "recipe": recipe, **settings}, "experiment"
    )


def read_experiment(text_or_file: str) -> Experiment:
    """An experiment from its JSON text, or from a file that holds it."""
    if text_or_file.lstrip().startswith("{"):
        return parse(Experiment, text_or_file, "experiment")
    return parse(Experiment, read_json(Path(text_or_file)), f"experiment {text_or_file}")
