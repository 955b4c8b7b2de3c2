"""How much of a GPU's memory a training step takes, and which chunk of a batch fits.

Needs no torch. A chunk's forward pass keeps activations for its backward pass, as
:mod:`pose.training.activations` counts them; besides there are the weights with their gradients and
Adam's two moments. What else a step takes (gradients of activations, workspaces, the CUDA context)
is not counted: a tenth of the card is left for it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from io import StringIO
from math import prod
from pathlib import Path

from pose.config import Training
from pose.support.errors import PoseError
from pose.support.files import read_text

FILE = Path(__file__).parents[2] / "config" / "memory.csv"
"""What ``pose.complexity --memory`` counted, a row a model."""
BYTES_A_PARAMETER = 16
"""Weight, gradient and two moments in float32."""
FREE = 0.9
"""The share of a card that may be filled with what is counted."""


@dataclass(frozen=True)
class Need:
    """Bytes of a training step, whatever the chunk, and besides for each image of the chunk."""

    always: float
    an_image: float

    def of(self, chunk: int) -> float:
        """Bytes for a chunk of that many images."""
        return self.always + chunk * self.an_image

    @property
    def traffic(self) -> float:
        """The least bytes an image moves: what is kept for the backward pass, written and read."""
        return 2 * self.an_image

    def largest(self, batch: int, card: float) -> int | None:
        """The largest chunk into which ``batch`` can be cut and that fits ``card`` bytes."""
        fitting = [c for c in range(1, batch + 1) if batch % c == 0 and self.of(c) <= FREE * card]
        return max(fitting, default=None)


def require_fit(need: Need, settings: Training, chunk: int, card: float) -> None:
    """PoseError where even what is counted of ``chunk`` images is more than ``card`` bytes."""
    if settings.compile or need.of(chunk) <= card:  # compiled code keeps less
        return
    fitting = need.largest(settings.batch_size, card)
    name, ways = "micro_batch", [f"set train.micro_batch to {fitting}"] if fitting else []
    if settings.synchronised_batch_norm:
        name, ways = "batch_size", [f"{way} with synchronised_batch_norm false" for way in ways]
        ways.append("share the batch among more GPUs")
    ways.append("set train.precision to fp16")
    raise PoseError(
        f"train.{name}: {chunk} images at a time need {need.of(chunk) / 1e9:.0f} GB of the GPU's"
        f" {card / 1e9:.0f} GB; {', or '.join(ways)}"
    )


@cache
def _counted() -> dict[str, dict[str, str]]:
    rows = csv.DictReader(StringIO(read_text(FILE), newline=""))
    return {row["model"]: row for row in rows}


def expected(model: str, size: tuple[int, int], settings: Training) -> Need | None:
    """The need of a model by :data:`FILE`, scaled to an input of ``size`` (height, width).

    None for a model that is not in it.
    """
    row = _counted().get(model)
    if row is None:
        return None
    column = "bytes_16bit" if settings.precision in ("fp16", "bf16") else "bytes_fp32"
    pixels = prod(map(int, row["input"].split("x")))
    an_image = float(row[column]) * prod(size) / pixels
    return Need(BYTES_A_PARAMETER * int(row["params"]), an_image)
