"""What torch reports in paragraphs, as one line that says what to do."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pose.config import Training
from pose.support.errors import PoseError, reader_left

WORKER_MEMORY = "it may have run out of memory or of /dev/shm: lower --workers"
OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator|CUDA out of memory|CUDA error: out of memory"
    r"|CU(DNN|BLAS)_STATUS_\w*ALLOC\w*_FAILED|CUBLAS_STATUS_NOT_INITIALIZED"
)
"""In messages of running out of memory, whatever their type; cuBLAS needs some to start."""
CUT_SHORT = r"ImportError: (\S+/c[a-z2-7]{51}\.\S*so): (file too short|invalid ELF header)"
"""Of a library that torch.compile named after its content: no other is anybody's to delete."""


def less_memory(settings: Training) -> str:
    """What makes a training step fit."""
    return (
        f"set train.micro_batch below {settings.chunk_size} (with synchronised_batch_norm false),"
        " then train.precision to fp16; if it was in validation, lower test.inference_batch"
    )


@contextmanager
def faults_in_one_line(remedy: str) -> Iterator[None]:
    """Turn faults of memory, GPU, compiled code, other processes and workers into PoseErrors.

    ``remedy``: what to do where the memory is too small.
    """
    try:
        yield
    except (RuntimeError, MemoryError, ConnectionError, EOFError) as error:
        if threading.current_thread() is threading.main_thread():
            # PyTorch's handler raises for each worker that ends, wherever we are by then.
            signal.signal(signal.SIGCHLD, lambda *_: None)
        if (message := _explained(error, str(error), remedy)) is None:
            raise
        raise PoseError(message) from None


def _explained(error: BaseException, text: str, remedy: str) -> str | None:
    if isinstance(error, BrokenPipeError) and reader_left():
        return None  # of our own output
    if isinstance(error, ConnectionError | EOFError):  # it ended in the middle of a batch
        return f"a DataLoader worker exited; {WORKER_MEMORY}"
    if out_of_memory(error):
        return f"out of memory ({_telling(text)}); {remedy}"
    if "unable to find an engine" in text:  # of cuDNN's, each of which needs some memory
        return f"no way is left to compute a convolution, as in a full memory; {remedy}"
    if "ECC error" in text:
        return f"the GPU's memory is faulty ({_telling(text)}); start again on another GPU"
    if "deterministic implementation" in text:
        return f"{_telling(text)}; set train.deterministic to false"
    if damaged := re.search(CUT_SHORT, text):
        return f"compiled code {damaged[1]}: {damaged[2]}, as a killed process leaves it; delete it"
    if "DataLoader worker" in text:
        return f"{text.splitlines()[0].rstrip('. ')}; {WORKER_MEMORY}"
    if isinstance(error, torch.distributed.DistError) or re.search("gloo|NCCL", text):
        return (
            "lost touch with another process of this training, which has ended or does not answer"
            f" ({_telling(text)}); its own message says more"
        )
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether the CPU's or a GPU's memory was too small."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or OUT_OF_MEMORY.search(str(error)) is not None


def _telling(text: str) -> str:
    """The telling sentence of an error message with source positions and advice around it."""
    sentence = re.search(
        r"[Tt]ried to allocate [^.]*[.\d]*\s?[KMGT]?i?[Bb](?:ytes)?"
        r"|Timed out[^.\[]*|Connection [^.\[]*|\S+ does not have a deterministic implementation",
        text,
    )
    return sentence[0].strip() if sentence else text.splitlines()[0] if text else "host memory"
