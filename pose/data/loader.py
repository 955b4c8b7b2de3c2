"""The order of training samples, and the loaders."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pose.data.dataset import PoseDataset
from pose.support.errors import PoseError


class EpochBatches(Sampler[list[int]]):
    """One process's share of the batches of a permutation drawn from (seed, epoch).

    The incomplete last batch is left out. Each batch is cut into ``world_size`` equal runs of whole
    chunks of ``chunk`` samples, of which this one is number ``rank``: together they are the same
    for any number of processes. Set ``epoch`` and ``start`` (the number of batches already done)
    before iterating.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        chunk: int = 1,
    ) -> None:
        if samples < batch_size:
            raise PoseError(
                f"train.batch_size is {batch_size} but the training set has only {samples} persons;"
                " lower it"
            )
        chunks = batch_size // chunk
        if chunks % world_size:
            cut = f" in chunks of {chunk} (train.micro_batch)" if chunk > 1 else ""
            raise PoseError(
                f"train.batch_size is {batch_size}{cut}, which {world_size} processes cannot share"
                f" equally; use a number of processes that divides {chunks}"
            )
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.share = slice(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)
        self.epoch = self.start = 0

    def __len__(self) -> int:
        return self.samples // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._order()[self.start :]:
            yield batch[self.share].tolist()

    def batch(self, number: int) -> list[int]:
        """The samples of the epoch's batch ``number``, those of all processes."""
        return self._order()[number].tolist()

    def _order(self) -> np.ndarray:
        rng = np.random.Generator(np.random.Philox(key=(self.seed, self.epoch)))
        order = rng.permutation(self.samples)[: len(self) * self.batch_size]
        return order.reshape(len(self), self.batch_size)


def training_loader(
    dataset: PoseDataset, batches: EpochBatches, workers: int, device: torch.device | None = None
) -> DataLoader:
    """A loader that lives for the whole training; ``dataset.set_epoch`` reaches its workers."""
    return DataLoader(dataset, batch_sampler=batches, **_workers(workers, device))


def testing_loader(
    dataset: Dataset, batch_size: int, workers: int, device: torch.device | None = None
) -> DataLoader:
    """A loader over every sample once, in order."""
    return DataLoader(dataset, batch_size, shuffle=False, **_workers(workers, device))


def _workers(number: int, device: torch.device | None) -> dict[str, object]:
    return {
        "num_workers": number,
        # Forked workers share the data set's arrays, and end when a trainer is killed.
        "multiprocessing_context": "fork" if number and sys.platform == "linux" else None,
        "persistent_workers": number > 0,
        "worker_init_fn": _leave_process_group,
        # From page-locked memory a GPU copies while the CPU goes on.
        "pin_memory": device is not None and device.type == "cuda",
    }


def _leave_process_group(_: int) -> None:
    """Ctrl-C goes to the whole process group; only the trainer is to answer it."""
    os.setpgrp()
