"""Several processes that train one model: ``torchrun --nproc-per-node N -m pose.train``.

Every function here also works in a single process, where it does nothing. The global batch is cut
into equal shares, and what a process computes from its share is averaged, so that the number of
processes changes a result by rounding only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pose.parallel.global_batch import see_global_batch
from pose.support.errors import PoseError


@contextmanager
def process_group(timeout: timedelta) -> Iterator[None]:
    """Join the processes that torchrun started, if it did, until the block ends.

    CPU tensors travel by gloo, GPU tensors by nccl. A process that does not answer for
    ``timeout`` is an error in all others.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timeout)
    yield
    # Not after an error: leaving the group waits for all processes, and some may have ended.
    dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def average(value: Tensor) -> Tensor:
    """The mean of every process's ``value``, on its device; GPUs are not waited for."""
    if world_size() > 1:
        dist.all_reduce(value)
        value /= world_size()
    return value


def largest(*values: int) -> list[int]:
    """The largest of every process's values, each by itself.

    It waits for the other processes' CPUs, which run ahead of their GPUs: asking at every step
    costs no device time, keeps them in step, and notices at once when one is gone.
    """
    if world_size() == 1:
        return list(values)
    shared = torch.tensor(values)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return shared.tolist()


def wait() -> None:
    """Until all processes are here."""
    largest(0)


def error_on_every_rank(message: str) -> BaseException:
    """The error to raise where all processes raise it: the first one tells, the others just end."""
    return PoseError(message) if rank() == 0 else SystemExit(1)


def from_first(value: Any) -> Any:
    """The first process's ``value``."""
    if world_size() == 1:
        return value
    shared = [value]
    dist.broadcast_object_list(shared, device=torch.device("cpu"))
    return shared[0]


def parallel(model: nn.Module, synchronised_batch_norm: bool, device: torch.device) -> nn.Module:
    """What to train instead of ``model``: its gradients are averaged over the processes."""
    if world_size() == 1:
        return model
    see_global_batch(model, rank(), world_size(), synchronised_batch_norm, device)
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        # Synchronised statistics are equal everywhere; others follow the first process's.
        broadcast_buffers=not synchronised_batch_norm,
        gradient_as_bucket_view=True,
        static_graph=True,  # also lets parameters be that take no part
    )


def share_buffers(model: nn.Module) -> None:
    """Give every process the first one's batch-norm statistics."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)
