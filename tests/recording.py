"""Recording on a CPU what a GPU would: operators are noted, and run again on the same tensors."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pose.training import step


class Graph(TorchDispatchMode):
    """Stands for ``torch.cuda.CUDAGraph``; within it, operators are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        self.calls.append((operator, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        """Leave every result where it was the first time."""
        for operator, args, kwargs, result in self.calls:
            again = operator(*args, **kwargs)
            for kept, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(kept, Tensor) and kept.data_ptr() != new.data_ptr():
                    kept.copy_(new)


class Stream:
    def wait_stream(self, other: "Stream") -> None:
        """All is done at once."""


def imitate_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let steps on the CPU be recorded; the modes in which they are."""
    modes = []

    def graph(recorded: Graph, capture_error_mode: str = "global") -> Graph:
        modes.append(capture_error_mode)
        return recorded

    stand_ins = {"CUDAGraph": Graph, "graph": graph, "Stream": Stream, "current_stream": Stream}
    stand_ins |= {"stream": nullcontext, "get_rng_state": torch.get_rng_state}
    stand_ins |= {"set_rng_state": torch.set_rng_state}
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(step, "recordable", lambda settings, *_: settings.cuda_graph)
    return modes
