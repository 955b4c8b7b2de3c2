"""A GPU's work for one chunk, recorded once as a CUDA graph and replayed by a single launch.

The thousands of small kernels of a training step cost the CPU more time to launch one by one than
a fast GPU takes for a chunk of 16 images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pose.parallel.flat import Flat

Tensors = dict[str, Tensor]

WARM_UP = 3
"""Runs before the recording, in which libraries choose their algorithms, as PyTorch advises."""


class Recorded:
    """``compute`` on tensors of the ``example``'s shapes, replayed from the second call on.

    It adds to the gradients of ``model`` and gives a scalar. Running statistics are those of one
    call a call; random numbers are drawn anew, from the seed that is set before the call.
    """

    def __init__(
        self, compute: Callable[[Tensors], Tensor], model: nn.Module, example: Tensors
    ) -> None:
        self.inputs = {name: values.clone() for name, values in example.items()}
        statistics = Flat(model.buffers())
        before, drawn = statistics.read(), torch.cuda.get_rng_state()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                compute(self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        # Meanwhile the loader's thread locks pages, which would spoil a recording in "global" mode.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.result = compute(self.inputs)
        statistics.write(before)
        torch.cuda.set_rng_state(drawn)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()

    def __call__(self, chunk: Tensors) -> Tensor:
        for name, values in chunk.items():
            self.inputs[name].copy_(values, non_blocking=True)
        self.graph.replay()
        return self.result.clone()
