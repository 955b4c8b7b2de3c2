"""Published weights: where they lie, how they are fetched, and how they load into our models."""

from importlib import import_module

from pose.weights.download import fetch
from pose.weights.published import PublishedFile, catalogue, checkpoints

__all__ = [
    "PublishedFile",
    "catalogue",
    "checkpoints",
    "convert",
    "fetch",
    "fetch_initial",
    "initialise",
    "load_published",
    "model_of",
    "open_published",
    "problem",
    "read_published",
    "read_state_dict",
    "to_published",
]


def __getattr__(name: str) -> object:
    """Import what handles tensors on first use: torch takes seconds, the catalogue needs none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("pose.weights.load"), name)
