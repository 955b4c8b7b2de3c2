"""What an experiment is: typed settings, and the presets of protocols, recipes and numerics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pose.config.frozen import Frozen, parse, unknown_key
    from pose.config.settings import (
        Augmentation,
        Dataset,
        Experiment,
        Image,
        InputSize,
        ModelOptions,
        Numerics,
        Probability,
        Protocol,
        Recipe,
        Seed,
        Target,
        Testing,
        experiment,
        read_experiment,
    )
    from pose.config.training import SGD, Adam, Cyclical, Plateau, Steps, Training

__all__ = [
    "SGD",
    "Adam",
    "Augmentation",
    "Cyclical",
    "Dataset",
    "Experiment",
    "Frozen",
    "Image",
    "InputSize",
    "ModelOptions",
    "Numerics",
    "Plateau",
    "Probability",
    "Protocol",
    "Recipe",
    "Seed",
    "Steps",
    "Target",
    "Testing",
    "Training",
    "experiment",
    "parse",
    "read_experiment",
    "unknown_key",
]


def __getattr__(name: str) -> Any:
    """A name of the settings, whose import takes a tenth of a second that ``--help`` can spare."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pose.config import frozen, settings, training

    return next(vars(m)[name] for m in (settings, training, frozen) if name in vars(m))
