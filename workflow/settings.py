"""A run's config, checked: what a file of config/ may say.

The list ``runs`` holds blocks of the same keys, which win over the others; each block is checked
together with what it inherits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, Field

from pose.config import (
    Dataset,
    Experiment,
    Frozen,
    InputSize,
    Numerics,
    Protocol,
    Recipe,
    Seed,
    parse,
    unknown_key,
)
from pose.config.model_sheet import row_of
from pose.data.synthetic.rendered import SyntheticSettings
from pose.support.errors import PoseError
from pose.support.files import read_text

PARTS = [
    name
    for name, field in Experiment.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Frozen)
]
"""The parts of an experiment, which ``overrides`` may change."""
MEASURED = "measured"
"""The folder of results that is in git."""


def _model(name: str) -> str:
    try:
        row_of(name)
    except PoseError as error:
        raise ValueError(str(error)) from None
    return name


def _path(text: str) -> str:
    if not text or any(character < " " for character in text):
        raise ValueError("give a path without control characters")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        raise ValueError("quotes are part of a path here; leave them out")
    return os.path.expanduser(text)


def _listed(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError("give at least one, and none twice")
    return values


def _blocks(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("give at least one")
    return values


def _name(name: str) -> str:
    if name.casefold() == MEASURED:
        raise ValueError(f"results/{MEASURED} holds the numbers that are in git; choose another")
    return name


FilePath = Annotated[str, AfterValidator(_path)]
Model = Annotated[str, AfterValidator(_model)]
Listed = AfterValidator(_listed)


class Config(Frozen):
    """The settings of a benchmark; each result carries those that decide it."""

    name: Annotated[str, Field(pattern="^[A-Za-z0-9_-]+$", max_length=100), AfterValidator(_name)]
    """Results go to results/NAME; not `measured`, which is in git."""
    dataset: Dataset
    """The data that the models are trained and evaluated on; synthetic: rendered people."""
    data_root: FilePath
    """Folder of the data; people are rendered into it when the data set is synthetic."""
    models: Annotated[tuple[Model, ...], Listed]
    """Names of config/models.tsv, one training each and seed."""
    input: tuple[int, int]
    """[height, width] of the crops in pixels."""
    protocol: Protocol
    """A protocol of docs/protocols.md."""
    seeds: Annotated[tuple[Seed, ...], Listed]
    """Seeds of the random numbers, one training each and model."""
    device: Literal["auto", "cpu", "cuda"]
    """Where the nets run; auto: on a GPU where there is one."""
    recipe: Recipe = "own"
    """own trains each baseline as its authors did, common as the protocol says."""
    numerics: Numerics | None = None
    """A preset of precision, memory layout and compilation; null: the protocol's."""
    overrides: dict[str, dict[str, Any]] = Field({})
    """Settings of the experiment that differ from the protocol; they enter its label."""
    detections: FilePath | None = None
    """A detector's boxes for the val images, below data_root; null: ground-truth boxes only."""
    test_detections: FilePath | None = None
    """A detector's boxes for COCO's test-dev, below data_root; makes the submission archives."""
    complexity_input: InputSize | None = None
    """[height, width] at which parameters and MACs are counted; null: the input."""
    synthetic: SyntheticSettings = SyntheticSettings()
    """How people are rendered when the data set is synthetic."""
    coco_root: FilePath | None = None
    """COCO 2017 for the target published; null leaves its checkpoints out."""
    coco_detections: FilePath | None = None
    """A detector's boxes for COCO's val images, below coco_root; null: ground-truth boxes only."""
    mpii_root: FilePath | None = None
    """MPII in HRNet's layout for the target published; null leaves its checkpoints out."""
    only: Annotated[tuple[str, ...], Listed] | None = None
    """Models or checkpoints that the target published is limited to; null: all."""
    on_code_change: Literal["keep", "retrain"] | None = None
    """What becomes of a training whose code has changed since; null: Snakemake stops and asks."""


OF_THE_WHOLE = ("name", "seeds", "device", "coco_root", "coco_detections", "mpii_root")
OF_THE_WHOLE += ("only", "on_code_change")
"""The keys that a block of ``runs`` cannot set for itself."""


class _Blocks(Frozen):
    runs: Annotated[tuple[dict[str, Any], ...], AfterValidator(_blocks)]


def require_single_keys(file: Path) -> None:
    """PoseError for a YAML file that has a key twice in one place, of which YAML takes the last."""
    nodes = [yaml.compose(read_text(file))]
    for node in nodes:  # grows on the way
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := [key for key in keys if keys.count(key) > 1]:
                raise PoseError(f"{file}: key {twice[0]!r} stands twice in one place; remove one")
            nodes += [value for _, value in node.value if value not in nodes]
        elif isinstance(node, yaml.SequenceNode):
            nodes += [value for value in node.value if value not in nodes]


def read(config: dict[str, Any], command_line: Iterable[str] = ()) -> Sequence[Config]:
    """The blocks of a config, each with what it inherits; without ``runs`` there is one.

    ``command_line`` has the entries KEY=VALUE of Snakemake's --config, which win. A PoseError names
    each mistake.
    """
    settings = _merge(config, dict(map(_typed, command_line)))
    if "runs" not in settings:
        return [_checked(settings)]
    blocks = parse(_Blocks, {"runs": settings.pop("runs")}, "config").runs
    for block in blocks:
        for key in block.keys() & set(OF_THE_WHOLE):
            raise PoseError(f"config: {key} holds for all runs; set it outside the list")
    return [_checked({**settings, **block}) for block in blocks]


def _checked(settings: dict[str, Any]) -> Config:
    overrides = settings.get("overrides")
    for part in overrides if isinstance(overrides, dict) else ():
        if part not in PARTS:
            raise PoseError(f"config: {unknown_key(f'overrides.{part}', PARTS)}")
    return parse(Config, settings, "config")


def _typed(entry: str) -> tuple[str, Any]:
    """Key and value of KEY=VALUE: text as it stands where the key's type is text, else YAML."""
    key, _, value = entry.partition("=")
    field = Config.model_fields.get(key)
    kind = field.annotation if field else None
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if value in ("", "null") and type(None) in kinds:
        return key, None
    if str in kinds or FilePath in kinds:
        return key, value
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise PoseError(f"config: {key}: not valid YAML: {value!r}") from None


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, mapping by mapping, as Snakemake does."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
