"""Settings by name: protocols, the recipes of other projects, numerics.

Each is a stack of layers, kept as YAML, of which later ones win: base, the data set's, the input
size's, the model's (its name, or name@HxW). A recipe also has a layer ``requires``, of what the
architecture needs under any recipe. :func:`pose.config.experiment` makes a typed experiment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from pose.config.model_sheet import row_of
from pose.support.errors import PoseError, nearest

Settings = dict[str, Any]


@dataclass(frozen=True)
class Combination:
    """What the layers depend on; ``size`` is HxW of the input in pixels."""

    model: str
    dataset: str
    size: str


@cache
def protocols() -> dict[str, Settings]:
    """The stacks of ``protocols.yaml`` by name."""
    return _read("protocols.yaml")


@cache
def recipes() -> dict[str, Settings]:
    """The stacks of ``recipes.yaml`` by name."""
    return _read("recipes.yaml")


@cache
def numerics_presets() -> dict[str, Settings]:
    """The training settings of ``numerics.yaml`` by name."""
    return yaml.safe_load(resources.files(__package__).joinpath("numerics.yaml").read_text())


def recipe_of(model: str) -> str | None:
    """The name in ``recipes.yaml`` of a model's own recipe; None where that is the protocol.

    Raises PoseError for a model that is not known.
    """
    recipe = row_of(model)["recipe"]
    return None if recipe == "protocol" else recipe


def layers(
    combination: Combination, protocol: str, recipe: str, numerics: str | None
) -> list[Settings]:
    """The stack of an experiment, lowest first.

    Raises PoseError for an unknown model or preset, and for an input that the model cannot take.
    """
    _check_size(combination)
    name = recipe_of(combination.model)
    found = _layers_of(_chosen(protocol, protocols(), "protocol"), combination, recipe == "own")
    if name is None:
        found.insert(1, protocols()[protocol]["own"])
    else:
        found.append(recipes()[name]["requires"])
        if recipe == "own":
            found += _layers_of(recipes()[name], combination, named=True)
    if numerics is not None:
        found.append({"train": _chosen(numerics, numerics_presets(), "numerics preset")})
    return found


def label(
    combination: Combination, protocol: str, recipe: str, numerics: str | None, overrides: Settings
) -> str:
    """``"released"``, ``"released v2, hrnet recipe v2, fast numerics (epochs=3)"`` and the like."""
    name = recipe_of(combination.model) if recipe == "own" else None
    parts = [f"{protocol}{_version(protocols()[protocol])}"]
    parts += [f"{name} recipe{_version(recipes()[name])}"] if name else []
    parts += ["common recipe"] if recipe == "common" else []
    parts += [f"{numerics} numerics"] if numerics else []
    changed = [text for part in overrides.values() for text in _changes(part)]
    return ", ".join(parts) + (f" ({', '.join(changed)})" if changed else "")


def _version(stack: Settings) -> str:
    """``" v2"`` of a stack with two versions, nothing of one that never changed."""
    number = len(stack["versions"])
    return f" v{number}" if number > 1 else ""


def stack(layers: Iterable[Settings]) -> Settings:
    """One mapping of all layers, later ones winning."""
    settings: Settings = {}
    for layer in layers:
        settings = _merge(settings, layer)
    return settings


def _read(file: str) -> dict[str, Settings]:
    resolved: dict[str, Settings] = {}
    text = resources.files(__package__).joinpath(file).read_text()
    for name, content in yaml.safe_load(text).items():  # a stack stands after the one it extends
        parent = resolved.get(content.pop("extends", None), {})
        resolved[name] = _merge(parent, content) | {"models": content.get("models", {})}
    return resolved


def _layers_of(stack: Settings, combination: Combination, named: bool) -> list[Settings]:
    """A stack's layers for ``combination``; those of single models only if ``named``."""
    found = [
        stack.get("base", {}),
        stack.get("datasets", {}).get(combination.dataset, {}),
        stack.get("inputs", {}).get(combination.size, {}),
    ]
    if named:
        models = stack["models"]
        found += [
            models.get(combination.model, {}),
            models.get(f"{combination.model}@{combination.size}", {}),
        ]
    return found


def _chosen(name: str, known: dict[str, Settings], what: str) -> Settings:
    if name not in known:
        listed = f"; known are {', '.join(known)}"
        raise PoseError(f"unknown {what} {name!r}{nearest(name, known) or listed}")
    return known[name]


def _merge(base: Settings, over: Settings) -> Settings:
    """``over`` laid over ``base``, which a mapping of another ``name`` replaces instead."""
    if "name" in over and over["name"] != base.get("name"):
        return over
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _check_size(combination: Combination) -> None:
    multiple = int(row_of(combination.model)["multiple"])
    if any(int(side) % multiple for side in combination.size.split("x")):
        raise PoseError(
            f"input {combination.size}: {combination.model} needs both sides to be multiples of"
            f" {multiple}"
        )


def _changes(settings: Settings) -> list[str]:
    """``["lr=0.1", "schedule.patience=3"]``."""
    texts = []
    for key, value in settings.items():
        if isinstance(value, dict):
            texts += [f"{key}.{text}" for text in _changes(value)]
        else:
            texts.append(f"{key}={value}")
    return texts
