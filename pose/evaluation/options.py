"""The options of commands that score predictions or make results of them."""

from __future__ import annotations

import argparse
from typing import Literal

from pose.support import cli

Evaluator = Literal["pycocotools", "xtcocotools", "fast"]
"""Who computes COCO's AP; the first is the reference."""


def add_suppression(group: argparse._ArgumentGroup) -> None:
    """Rescoring and OKS-NMS; the defaults are as released."""
    share = cli.number(0, 1)
    group.add_argument("--rescore-threshold", type=share, default=0.2)
    group.add_argument("--oks-nms", type=share, default=0.99, metavar="THRESHOLD")
    group.add_argument("--soft-oks-nms", action="store_true", help="keep an image's best 20")
