"""Prediction by several processes: each does its share, and all have the whole in the end."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor

from pose.parallel.distributed import rank, world_size
from pose.support.errors import PoseError


def own_share(samples: int, batch_size: int) -> range:
    """The samples that this process predicts: a run of whole batches, without padding.

    The batches are those of a single process, so that their arithmetic is the same to the bit;
    with more processes than batches, some predict nothing.
    """
    batches = -(-samples // batch_size)
    first, last = (batches * number // world_size() for number in (rank(), rank() + 1))
    return range(min(first * batch_size, samples), min(last * batch_size, samples))


def gather(own: Tensor, share: range, samples: int) -> Tensor:
    """Every process's rows, of the samples in its ``share``, as one tensor (samples, ...)."""
    if world_size() == 1:
        return own
    whole = own.new_zeros(samples, *own.shape[1:])
    whole[share.start : share.stop] = own
    dist.all_reduce(whole)
    return whole


def raise_together(error: PoseError | None) -> None:
    """Raise ``error``, or else one of another process, which would wait for the others for ever."""
    if world_size() == 1:
        messages = [error and str(error)]
    else:
        messages = [None] * world_size()
        dist.all_gather_object(messages, error and str(error))
    for message in filter(None, messages):
        raise PoseError(message)
