"""Layers that look beyond the sample, made to see the global batch and not a part of it."""

from __future__ import annotations

import torch
import torch.distributed as dist
from timm.layers import DropPath, convert_sync_batchnorm
from torch import Tensor, nn

RANDOM = (DropPath, nn.Dropout)


def see_global_batch(
    model: nn.Module, parts: int, synchronised_batch_norm: bool, device: torch.device
) -> Tensor:
    """Replace the layers of ``model`` whose result depends on how the batch is cut in ``parts``.

    Parameters, buffers and their names stay as they are. Fill the tensor that is returned with the
    number of the part before it goes through the model; a number would have compiled code made
    anew for each.
    """
    part = torch.zeros(1, dtype=torch.int64, device=device)
    for module in list(model.modules()) if parts > 1 else ():
        for name, layer in module.named_children():
            if isinstance(layer, RANDOM):
                setattr(module, name, SharedDraw(layer, part, parts))
            elif synchronised_batch_norm and isinstance(layer, nn.BatchNorm2d):
                synchronised = (
                    convert_sync_batchnorm if device.type == "cuda" else SynchronisedBatchNorm
                )
                setattr(module, name, synchronised(layer))
    return part


class SharedDraw(nn.Module):
    """Dropout or stochastic depth drawn for the global batch, of which ``part`` is passing.

    Every part must begin with the same seed.
    """

    def __init__(self, layer: nn.Module, part: Tensor, parts: int) -> None:
        super().__init__()
        self.layer, self.part, self.parts = layer, part, parts

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        draws = x[:, :1, :1, :1] if isinstance(self.layer, DropPath) else x
        factors = self.layer(torch.cat([torch.ones_like(draws)] * self.parts))
        return x * factors.unflatten(0, (self.parts, len(x))).index_select(0, self.part)[0]


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
