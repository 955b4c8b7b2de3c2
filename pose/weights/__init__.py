"""Published weights: where they lie, how they are fetched, and how they load into our models."""

from pose.weights.download import fetch
from pose.weights.load import (
    convert,
    load_backbone,
    load_published,
    read_state_dict,
    to_published,
)
from pose.weights.published import PublishedFile, catalogue

__all__ = [
    "PublishedFile",
    "catalogue",
    "convert",
    "fetch",
    "load_backbone",
    "load_published",
    "read_state_dict",
    "to_published",
]
