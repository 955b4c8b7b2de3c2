"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from pose.config.model_sheet import FILE
from pose.support import cli

PLACES = "folders of results or of single runs, configs"
"""What commands that load results take, in the words of their help."""


def add_presentation(parser: cli.Parser) -> None:
    """Of commands that show loaded results: what to load, the sheet of models, where to write."""
    parser.add_argument("places", type=Path, nargs="+", help=PLACES)
    parser.add_argument("--models", type=Path, default=FILE, help="default: config/models.tsv")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)


def truth_file(text: str) -> tuple[str, Path]:
    """The type of an option DATASET=FILE."""
    dataset, equals, file = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not DATASET=FILE")
    return dataset, Path(file)
