"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

PLACES = "folders of results or of single runs, configs"
"""What commands that load results take, in the words of their help."""


def truth_file(text: str) -> tuple[str, Path]:
    """The type of an option DATASET=FILE."""
    dataset, equals, file = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not DATASET=FILE")
    return dataset, Path(file)
