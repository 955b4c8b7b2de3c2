"""Which chunk of each run's batch fits GPUs of common sizes, as a table for people."""

from __future__ import annotations

from collections.abc import Mapping

from tabulate import tabulate

from pose.config import Experiment
from pose.training.memory import expected

CARDS = (24, 40, 80)
"""Gigabytes of memory of GPUs."""
NOTE = """Memory of a training step, and the largest chunk of the batch that fits a GPU of {cards}
GB, as counted for eager PyTorch, not measured. A chunk "shared" has the whole batch's statistics:
several GPUs may share it, but none cuts it. Another chunk is another train.micro_batch.
"""


def traffic(experiment: Experiment) -> int:
    """Megabytes that a training moves for each image of its set, or 0 where nobody has counted."""
    need = expected(experiment.model, experiment.input_size, experiment.train)
    return round(experiment.train.epochs * need.traffic / 1e6) if need else 0


def memory_table(experiments: Mapping[str, Experiment]) -> str:
    """A row a run, by its name: what its protocol's chunk needs, and what would fit."""
    rows = []
    for name, experiment in experiments.items():
        settings = experiment.train
        need = expected(experiment.model, experiment.input_size, settings)
        told = ["-"] * (1 + len(CARDS))
        if need is not None:
            fitting = [need.largest(settings.batch_size, 1e9 * card) for card in CARDS]
            told = [f"{need.of(settings.chunk_size) / 1e9:.1f}", *(c or "none" for c in fitting)]
        chunk = "shared" if settings.synchronised_batch_norm else settings.chunk_size
        rows.append([name, settings.precision, settings.batch_size, chunk, *told])
    headers = ["run", "precision", "batch", "chunk", "needs GB", *(f"{c} GB" for c in CARDS)]
    return f"{tabulate(rows, headers=headers)}\n{NOTE.format(cards=', '.join(map(str, CARDS)))}"
