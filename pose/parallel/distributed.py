"""Several processes that train one model: ``torchrun --nproc-per-node N -m pose.train``.

Every function here also works without a group of processes, where it does nothing. The global batch
is cut into equal shares, and what a process computes from its share is averaged, so that the number
of processes changes a result by rounding only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pose.parallel.flat import Flat
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
    if dist.is_initialized():
        dist.all_reduce(value)
        value /= world_size()
    return value


def largest(*values: int) -> list[int]:
    """The largest of every process's values, each by itself.

    It waits for the other processes' CPUs, which run ahead of their GPUs: asking at every step
    costs no device time, keeps them in step, and notices at once when one is gone.
    """
    if not dist.is_initialized():
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
    if not dist.is_initialized():
        return value
    shared = [value]
    dist.broadcast_object_list(shared, device=torch.device("cpu"))
    return shared[0]


def by_first(work: Callable[[], Any]) -> Any:
    """What ``work`` gives the first process; its PoseError ends all."""
    result, problem = None, None
    if rank() == 0:
        try:
            result = work()
        except PoseError as error:
            problem = str(error)
    result, problem = from_first((result, problem))
    if problem is not None:
        raise error_on_every_rank(problem)
    return result


def average_gradients(model: nn.Module) -> None:
    """Give every process the mean of all processes' gradients, in one exchange."""
    if dist.is_initialized():
        gradients = Flat(p.grad for p in model.parameters() if p.grad is not None)
        gradients.write([average(vector) for vector in gradients.read()])


def share(tensors: Iterable[Tensor]) -> None:
    """Give every process the first one's values."""
    if dist.is_initialized():
        shared = Flat(tensors)
        vectors = shared.read()
        for vector in vectors:
            dist.broadcast(vector, 0)
        shared.write(vectors)
