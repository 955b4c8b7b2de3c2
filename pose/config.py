"""The typed description of one experiment, and how a protocol's name becomes one.

An :class:`Experiment` holds the science of a training and its evaluation and nothing else: paths,
devices and worker counts are arguments of the commands. It is frozen, and travels between
processes as JSON.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pose.errors import PoseError, nearest

Dataset = Literal["coco", "mpii", "synthetic"]
Protocol = Literal["released", "controlled", "paper"]
Probability = Annotated[float, Field(ge=0, le=1)]


def _multiple_of_4(sides: tuple[int, int]) -> tuple[int, int]:
    if any(side < 4 or side % 4 for side in sides):
        raise ValueError("both sides must be multiples of 4")
    return sides


InputSize = Annotated[tuple[int, int], AfterValidator(_multiple_of_4)]


class Frozen(BaseModel):
    """A settings object: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelOptions(Frozen):
    """Variants of the architecture and of its initial weights."""

    activation: Literal["silu", "mish"]
    """AddUp's activation: SiLU in the released code, Mish in the paper's Eq. (3)."""
    init: Literal["effdet_coco", "imagenet", "scratch"]
    """Initial weights of the backbone."""


class Augmentation(Frozen):
    """Random crops of training; the distributions are in :mod:`pose.data.augment`."""

    scale: float = Field(ge=0, lt=1)
    """Standard deviation and half range of the box's scale factor."""
    rotation: float = Field(ge=0)
    """Standard deviation of the rotation in degrees, clipped at twice its value."""
    rotation_probability: Probability
    flip_probability: Probability
    half_body_probability: Probability


class Training(Frozen):
    """Optimisation: Adam with linear warm-up, then lowered when the val score stalls."""

    batch_size: int = Field(ge=2)
    """Samples a step, over all processes."""
    epochs: int = Field(ge=1)
    """Epochs after the warm-up."""
    warmup_epochs: int = Field(ge=0)
    lr: float = Field(gt=0)
    plateau_factor: float = Field(gt=0, lt=1)
    plateau_patience: int = Field(ge=0)
    precision: Literal["fp32", "bf16", "fp16"]
    channels_last: bool
    compile: bool


class Target(Frozen):
    """The regression target: a Gaussian, in heat-map pixels."""

    sigma: float = Field(gt=0)


class Testing(Frozen):
    """From heat maps to the persons that are scored."""

    flip: bool
    """Average with the prediction on the mirrored crop."""
    flip_shift: int
    """Pixels by which the mirrored prediction is moved right before averaging."""
    rescore_threshold: Probability
    """Keypoints above it enter the mean that multiplies the box score."""
    oks_nms: float = Field(gt=0, le=1)
    """OKS above which the weaker of two persons is dropped."""


class Experiment(Frozen):
    """One training and its evaluation. ``input_size`` is (height, width) in pixels."""

    model: str
    dataset: Dataset
    input_size: InputSize
    seed: int = Field(ge=0)
    protocol: str
    """The protocol's name; overridden settings are named after it in brackets."""
    model_options: ModelOptions
    augmentation: Augmentation
    train: Training
    target: Target
    test: Testing

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """(height, width) of the heat maps: a quarter of the input."""
        return self.input_size[0] // 4, self.input_size[1] // 4

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


def _explain(model: type[Frozen]):
    def explain(error: dict[str, Any]) -> str:
        where = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            *parents, key = error["loc"]
            return f"unknown key {where!r}{nearest(str(key), _fields(model, parents))}"
        if error["type"] == "missing":
            return f"missing key {where!r}"
        message = error["msg"].removeprefix("Value error, ")
        return f"{where}: {message}, got {error['input']!r}" if where else message

    return explain


def _fields(model: type[Frozen], path: list[str | int]) -> list[str]:
    for name in path:
        field = model.model_fields.get(str(name))
        if field is None or not isinstance(field.annotation, type):
            return []
        model = field.annotation
    return list(model.model_fields)


@cache
def protocols() -> dict[str, Any]:
    """The protocols of ``protocols.yaml``, each merged over the one it extends."""
    text = resources.files("pose").joinpath("protocols.yaml").read_text()
    raw = yaml.safe_load(text)
    resolved: dict[str, Any] = {}
    for name, layers in raw.items():  # a protocol stands after the one it extends
        parent = resolved.get(layers.pop("extends", None), {})
        resolved[name] = _merge(parent, layers) | {"models": layers.get("models", {})}
    return resolved


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def experiment(
    model: str,
    dataset: Dataset,
    input_size: tuple[int, int],
    protocol: Protocol = "released",
    seed: int = 0,
    overrides: dict[str, dict[str, Any]] | None = None,
) -> Experiment:
    """Resolve ``protocol`` for a model on a data set; ``overrides`` win over every layer.

    What is overridden becomes part of the protocol's label, so that no number can pass for one
    that the bare protocol produced.
    """
    layers = protocols()[protocol]
    overrides = overrides or {}
    size = "{}x{}".format(*input_size)
    settings: dict[str, Any] = {}
    for layer in (
        layers["base"],
        layers["datasets"][dataset],
        layers["inputs"].get(size, {}),
        layers["models"].get(model, {}),
        overrides,
    ):
        settings = _merge(settings, layer)
    changed = [f"{key}={value}" for part in overrides.values() for key, value in part.items()]
    label = f"{protocol} ({', '.join(changed)})" if changed else protocol
    named = {"model": model, "dataset": dataset, "input_size": tuple(input_size), "seed": seed}
    return parse(Experiment, {**named, "protocol": label, **settings}, "experiment")


def read_experiment(text_or_file: str) -> Experiment:
    """An experiment from its JSON text, or from a file that holds it."""
    text = text_or_file
    if not text.lstrip().startswith("{"):
        try:
            text = Path(text_or_file).read_text()
        except OSError as error:
            raise PoseError(f"experiment {text_or_file}: {error.strerror}") from None
    return parse(Experiment, text, "experiment")
