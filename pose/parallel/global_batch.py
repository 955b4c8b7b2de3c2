"""Layers that look beyond the sample, made to see the global batch and not a process's share."""

from __future__ import annotations

import torch
import torch.distributed as dist
from timm.layers import DropPath, convert_sync_batchnorm
from torch import Tensor, nn

RANDOM = (DropPath, nn.Dropout)


def see_global_batch(
    model: nn.Module,
    rank: int,
    world_size: int,
    synchronised_batch_norm: bool,
    device: torch.device,
) -> None:
    """Replace the layers of ``model`` whose result depends on how the batch is cut.

    Parameters, buffers and their names stay as they are.
    """
    for module in list(model.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, RANDOM):
                setattr(module, name, SharedDraw(layer, rank, world_size))
            elif synchronised_batch_norm and isinstance(layer, nn.BatchNorm2d):
                synchronised = (
                    convert_sync_batchnorm if device.type == "cuda" else SynchronisedBatchNorm
                )
                setattr(module, name, synchronised(layer))


class SharedDraw(nn.Module):
    """Dropout or stochastic depth drawn for the global batch, of which this process's part counts.

    All processes must have seeded alike.
    """

    def __init__(self, layer: nn.Module, rank: int, world_size: int) -> None:
        super().__init__()
        self.layer, self.rank, self.world_size = layer, rank, world_size

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        draws = x[:, :1, :1, :1] if isinstance(self.layer, DropPath) else x
        factors = self.layer(torch.cat([torch.ones_like(draws)] * self.world_size))
        return x * factors.chunk(self.world_size)[self.rank]


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch norm with the mean and variance of the global batch, on CPUs.

    torch's own, whose kernels GPUs use, refuses CPU tensors. An activation that timm folds into
    its batch norm is kept.
    """

    def __init__(self, replaced: nn.BatchNorm2d) -> None:
        super().__init__(replaced.num_features, replaced.eps, replaced.momentum, affine=False)
        self.weight, self.bias = replaced.weight, replaced.bias
        for name, buffer in replaced.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        self.drop = getattr(replaced, "drop", nn.Identity())
        self.act = getattr(replaced, "act", nn.Identity())
        self.train(replaced.training)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(self._normalised(x) if self.training else super().forward(x)))

    def _normalised(self, x: Tensor) -> Tensor:
        world_size = dist.get_world_size()
        values = x.float()
        mean = _Sum.apply(values.mean((0, 2, 3))) / world_size
        centred = values - mean[:, None, None]
        variance = _Sum.apply(centred.square().mean((0, 2, 3))) / world_size
        with torch.no_grad():
            self.num_batches_tracked += 1
            count = x.numel() // x.shape[1] * world_size
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes; each one's loss depends on every one's term."""

    @staticmethod
    def forward(ctx, term: Tensor) -> Tensor:
        total = term.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
