"""The typed description of one experiment; :mod:`pose.config.presets` has the values by name.

An :class:`Experiment` holds the science of a training and its evaluation and nothing else: paths,
devices and worker counts are arguments of the commands. It is frozen, and travels between
processes as JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from pose.config import presets
from pose.config.datasets import DATASETS, known_dataset
from pose.config.model_sheet import row_of
from pose.config.presets import Combination
from pose.support.errors import PoseError, nearest
from pose.support.files import read_json

Protocol = Literal["released", "controlled", "paper"]
Recipe = Literal["own", "common"]
Numerics = Literal["reference", "fast"]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # times 2**32 it is still a seed of torch's


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


class Frozen(BaseModel):
    """A settings object: immutable, unknown keys and numbers that are not finite refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


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


class Adam(Frozen):
    """PyTorch's Adam with its default betas; the decay is added to the gradient."""

    name: Literal["adam"]
    weight_decay: float = Field(ge=0)
    """Times the weights, added to the gradient."""


class SGD(Frozen):
    """Stochastic gradient descent with momentum; the decay is added to the gradient."""

    name: Literal["sgd"]
    momentum: float = Field(ge=0, lt=1)
    """Share of the last step in the next."""
    weight_decay: float = Field(ge=0)
    """Times the weights, added to the gradient."""


class Plateau(Frozen):
    """Multiply the rate by ``factor`` when the score has stalled for over ``patience`` epochs."""

    name: Literal["plateau"]
    factor: float = Field(gt=0, lt=1)
    """Of the rate after the step to the one before."""
    patience: int = Field(ge=0)
    """Epochs without a better score that are waited for."""


class Steps(Frozen):
    """Multiply the rate by ``factor`` at the start of each of the ``milestones`` (epochs)."""

    name: Literal["steps"]
    milestones: tuple[int, ...]
    """Epochs at whose start the rate falls."""
    factor: float = Field(gt=0, lt=1)
    """Of the rate after the step to the one before."""
    restart_every: int | None = Field(ge=1)
    """Epochs after which rate and milestones start again; None: never."""


class Cyclical(Frozen):
    """From ``lr`` / ``range`` linearly up to ``lr`` and back, again and again."""

    name: Literal["cyclical"]
    range: float = Field(gt=1)
    """The highest rate over the lowest."""
    cycle_epochs: int = Field(ge=1)
    """Epochs of a rise and a fall."""


class Training(Frozen):
    """Optimisation: the rate rises linearly, then follows its schedule."""

    batch_size: int = Field(ge=2)
    """Samples a step, over all processes."""
    micro_batch: int | None = Field(None, ge=2)
    """Samples of a chunk: a step works the batch off in chunks, each with batch statistics of its
    own. None, or a batch that is no larger: all at once."""
    epochs: int = Field(ge=1)
    """Epochs after the warm-up."""
    warmup_epochs: int = Field(ge=0)
    """Epochs before epoch 0 over which the rate rises."""
    warmup_steps: int = Field(ge=0)
    """Steps from epoch 0 on over which the rate rises."""
    lr: float = Field(gt=0)
    """The highest learning rate, which the warm-up leads to."""
    optimizer: Annotated[Adam | SGD, Field(discriminator="name")]
    """How gradients change the weights."""
    schedule: Annotated[Plateau | Steps | Cyclical, Field(discriminator="name")]
    """How the rate falls after the warm-up."""
    loss: Literal["mse", "cpn", "efficientpose"]
    """A function of :mod:`pose.targets.losses`."""
    synchronised_batch_norm: bool
    """Batch statistics over the whole batch, whatever the number of processes; without it they are
    those of each ``micro_batch``."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"]
    """Of the net's arithmetic; weights stay in fp32. tf32: fp32 but for a GPU's convolutions."""
    channels_last: bool
    """Activations in NHWC instead of NCHW."""
    compile: bool
    """The net by torch.compile."""
    fused: bool
    """The optimiser's step as one kernel."""
    cpu_kernels: bool
    """MBConv blocks by :mod:`pose.kernels`, where it knows them: in fp32 on a CPU."""
    cudnn_benchmark: bool = False
    """A GPU's convolutions by the algorithm that is fastest when tried."""
    cuda_graph: bool = False
    """A GPU's work for a chunk recorded once and replayed, which saves launching each operator."""
    recompute: bool = False
    """Blocks keep their input alone, and compute the rest again in the backward pass: less memory
    and more time."""
    deterministic: bool = False
    """A GPU's operators in forms that repeat every bit, at some cost."""

    @model_validator(mode="after")
    def _one_warmup(self) -> Training:
        if self.warmup_epochs and self.warmup_steps:
            raise ValueError("give warmup_epochs or warmup_steps, not both")
        return self

    @model_validator(mode="after")
    def _one_kind_of_batch_statistics(self) -> Training:
        if self.synchronised_batch_norm and self.micro_batch is not None:
            raise ValueError(
                f"a micro_batch ({self.micro_batch}) has batch statistics of its own: set"
                " synchronised_batch_norm to false, or micro_batch to null"
            )
        if not self.synchronised_batch_norm and self.micro_batch is None:
            raise ValueError("synchronised_batch_norm false needs a micro_batch")
        if self.batch_size % self.chunk_size:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of micro_batch {self.micro_batch}"
            )
        return self

    @model_validator(mode="after")
    def _recomputed_as_it_comes(self) -> Training:
        if self.recompute and (self.compile or self.cuda_graph):
            raise ValueError("recompute needs compile and cuda_graph false")
        return self

    @property
    def chunk_size(self) -> int:
        """Samples that go through the net together, in all processes."""
        return min(self.batch_size, self.micro_batch or self.batch_size)


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

    def key(self) -> str:
        """Eight hex digits that differ wherever anything differs."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]


def parse(model: type[Frozen], value: Any, what: str) -> Any:
    """Build ``model`` from a mapping or JSON text; a PoseError names each wrong key."""
    try:
        if isinstance(value, str):
            return model.model_validate_json(value)
        return model.model_validate(value)
    except ValidationError as error:
        raise PoseError(f"{what}: {'; '.join(map(_explain(model), error.errors()))}") from None


MAPPING = "should be a mapping"
PLAINER = {"tuple_type": "should be a list", "dict_type": MAPPING, "model_type": MAPPING}
"""Of pydantic's messages, those that speak of Python's types."""


def unknown_key(path: str, known: Iterable[str]) -> str:
    """Says that a key is unknown, and the nearest known one, or else all that there are."""
    names = list(known)
    listed = f"; known are {', '.join(names)}" if names else ""
    return f"unknown key {path!r}{nearest(path.rpartition('.')[2], names) or listed}"


def _explain(model: type[Frozen]) -> Callable[[dict[str, Any]], str]:
    def explain(error: dict[str, Any]) -> str:
        where = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            return unknown_key(where, _fields(model, error["loc"][:-1]))
        if error["type"] == "missing":
            return f"missing key {where!r}"
        message = PLAINER.get(error["type"]) or error["msg"].removeprefix("Value error, ")
        return f"{where}: {message}, got {error['input']!r}" if where else message

    return explain


def _fields(model: type[Frozen], path: Iterable[str | int]) -> list[str]:
    """The keys of the settings object at ``path``, in which a union's member goes by its name."""
    kinds = [model]
    for name in path:
        fields = [kind.model_fields[name] for kind in kinds if name in kind.model_fields]
        inner = [type_ for field in fields for type_ in _types(field.annotation)]
        kinds = inner or [kind for kind in kinds if name in _tags(kind)]
    return list(dict.fromkeys(field for kind in kinds for field in kind.model_fields))


def _types(annotation: Any) -> list[type[Frozen]]:
    """The settings objects that an annotation allows."""
    members = get_args(annotation) or (annotation,)
    return [kind for kind in members if isinstance(kind, type) and issubclass(kind, Frozen)]


def _tags(kind: type[Frozen]) -> tuple[Any, ...]:
    """The values of ``name`` by which a union tells its members apart."""
    return get_args(kind.model_fields["name"].annotation) if "name" in kind.model_fields else ()


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
