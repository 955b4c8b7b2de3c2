"""What torch reports in paragraphs, as one line that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pose.support.errors import PoseError

WORKER_MEMORY = "it may have run out of memory or of /dev/shm: lower --workers"


@contextmanager
def faults_in_one_line(batch_size: int) -> Iterator[None]:
    """Turn running out of memory, a lost process and a killed worker into PoseErrors."""
    try:
        yield
    except (ConnectionError, EOFError):  # in the middle of a batch
        raise PoseError(f"a DataLoader worker exited; {WORKER_MEMORY}") from None
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if out_of_memory(error):
            message = (
                f"out of memory ({_asked(text)}); lower train.batch_size (now {batch_size}) or"
                " input_size, set train.precision to bf16, or share the same batch among more"
                " processes (torchrun --nproc-per-node)"
            )
        elif "DataLoader worker" in text:
            message = f"{text.splitlines()[0].rstrip('. ')}; {WORKER_MEMORY}"
        elif isinstance(error, torch.distributed.DistError) or "gloo" in text:
            message = (
                "lost touch with another process of this training, which has ended or does not"
                f" answer ({_asked(text)}); its own message says more"
            )
        else:
            raise
        raise PoseError(message) from None


def out_of_memory(error: BaseException) -> bool:
    """Whether the CPU's or a GPU's memory was too small."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "DefaultCPUAllocator" in str(error)
    )


def _asked(text: str) -> str:
    """The telling sentence of an error message with source positions and advice around it."""
    sentence = re.search(
        r"[Tt]ried to allocate [^.]*[.\d]*\s?[KMGT]?i?[Bb](?:ytes)?"
        r"|Timed out[^.\[]*|Connection [^.\[]*",
        text,
    )
    return sentence[0].strip() if sentence else text.splitlines()[0] if text else "host memory"
