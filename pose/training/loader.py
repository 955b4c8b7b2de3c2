"""The order of training samples, and their loader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from pose.data.dataset import PoseDataset
from pose.errors import PoseError


class EpochBatches(Sampler[list[int]]):
    """Batches of a permutation drawn from (seed, epoch); the incomplete last one is left out.

    Set ``epoch`` and ``start`` (the number of batches already done) before iterating.
    """

    def __init__(self, samples: int, batch_size: int, seed: int) -> None:
        if samples < batch_size:
            raise PoseError(
                f"train.batch_size is {batch_size} but the training set has only {samples} persons;"
                " lower it"
            )
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.epoch = self.start = 0

    def __len__(self) -> int:
        return self.samples // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.Generator(np.random.Philox(key=(self.seed, self.epoch)))
        order = rng.permutation(self.samples)[: len(self) * self.batch_size]
        for batch in order.reshape(len(self), self.batch_size)[self.start :]:
            yield batch.tolist()


def training_loader(dataset: PoseDataset, batches: EpochBatches, workers: int) -> DataLoader:
    """A loader that lives for the whole training; ``dataset.set_epoch`` reaches its workers."""
    return DataLoader(dataset, batch_sampler=batches, **_workers(workers))


def testing_loader(dataset: Dataset, batch_size: int, workers: int) -> DataLoader:
    """A loader over every sample once, in order."""
    return DataLoader(dataset, batch_size, shuffle=False, **_workers(workers))


def _workers(number: int) -> dict[str, object]:
    return {"num_workers": number, "persistent_workers": number > 0}
