"""MBConv blocks that train several times faster on a CPU, to the same numbers within rounding.

What an MBConv does between its two 1x1 convolutions (BN, SiLU, depthwise convolution, BN, SiLU,
squeeze-excite) runs in a few passes over memory, of ``mbconv.c``. Everything that is not a
training step in float32 on a CPU goes through timm's block as ever.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from timm.layers.conv2d_same import Conv2dSame
from timm.models._efficientnet_blocks import (
    DepthwiseSeparableConv,
    InvertedResidual,
    SqueezeExcite,
)
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from pose.kernels.build import library

SOURCE = Path(__file__).with_name("mbconv.c")
LANES = 16
"""Channels must be a multiple of it."""
MANY = 16
"""Images from which on PyTorch takes oneDNN for 1x1 gradients, whatever the number of threads."""


def accelerate(model: nn.Module) -> nn.Module:
    """Let the MBConv blocks of ``model`` take the kernels; parameters and their names stay."""
    for block in model.modules():
        fast = {InvertedResidual: FastMBConv, DepthwiseSeparableConv: FastSeparable}
        if type(block) in fast and _fits(block):
            block.__class__ = fast[type(block)]
    return model


class FastMBConv(InvertedResidual):
    """timm's InvertedResidual with SiLU and squeeze-excite."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H', W')."""
        if not _takes_kernels(self, x):
            return super().forward(x)
        y, parts = depthwise(pointwise(x, self.conv_pw), self.conv_dw, self.bn1)
        y = self.bn3(pointwise(squeeze_excite(y, parts, self.bn2, self.se), self.conv_pwl))
        return self.drop_path(y) + x if self.has_skip else y


class FastSeparable(DepthwiseSeparableConv):
    """timm's DepthwiseSeparableConv with SiLU and squeeze-excite."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H', W')."""
        if not _takes_kernels(self, x):
            return super().forward(x)
        y, parts = depthwise(x, self.conv_dw)
        y = self.bn2(pointwise(squeeze_excite(y, parts, self.bn1, self.se), self.conv_pw))
        return self.drop_path(y) + x if self.has_skip else y


def pointwise(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """``conv(x)`` of a 1x1 convolution without bias."""
    return _Pointwise.apply(_nhwc(x), conv.weight)


def depthwise(x: Tensor, conv: nn.Conv2d, bn: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """``conv(bn(x))``, or ``conv(x)``; and the statistics of each image of it, (B, 2, C)."""
    x, shape = _nhwc(x), _Shape.of(x, conv)
    if bn is None:
        return _Depthwise.apply(x, conv.weight, None, None, None, None, shape)
    parts = x.new_empty(len(x) * x.shape[2], 2, x.shape[1])
    _call("statistics", shape, x, parts)
    return _Depthwise.apply(x, conv.weight, bn.weight, bn.bias, bn, parts, shape)


def squeeze_excite(x: Tensor, parts: Tensor, bn: nn.Module, se: SqueezeExcite) -> Tensor:
    """``se(bn(x))``, with the statistics that :func:`depthwise` gave."""
    return _SqueezeExcite.apply(x, bn.weight, bn.bias, bn, parts, _Shape.of(x), *se.parameters())


class _Pointwise(Function):
    """oneDNN, but for the gradients of few images: a matrix product each."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return torch.mkldnn_convolution(x, weight, None, (0, 0), (1, 1), (1, 1), 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        if len(x) >= MANY:
            plain = (1, 1), (0, 0), (1, 1), False, (0, 0), 1
            both = (True, True, False)
            return torch.ops.aten.convolution_backward(_nhwc(dy), x, weight, None, *plain, both)[:2]
        pixels, gradients = (_nhwc(t).permute(0, 2, 3, 1).flatten(0, 2) for t in (x, dy))
        dx = torch.mm(gradients, weight.flatten(1))
        dx = dx.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)
        return dx, torch.mm(gradients.t(), pixels).view_as(weight)


class _Depthwise(Function):
    @staticmethod
    def forward(ctx, x, weight, gamma, beta, bn, parts, shape):
        taps = weight.flatten(1).t().contiguous()  # (K * K, C)
        y = _empty(x, shape.out_height, shape.out_width)
        affine = (None,) * 4 if bn is None else _normalise(bn, parts, x)
        parts = x.new_empty(shape.batch, 2, shape.channels)
        _call("depthwise_forward", shape, x, *affine[:2], taps, y, parts)
        ctx.save_for_backward(x, taps, gamma, *affine)
        ctx.shape = shape
        ctx.mark_non_differentiable(parts)
        return y, parts

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, _):
        x, taps, gamma, scale, shift, mean, rate = ctx.saved_tensors
        shape, dx = ctx.shape, torch.empty_like(x)
        dtaps = x.new_empty(shape.batch, *taps.shape)
        sums = x.new_empty(shape.batch, 2, shape.channels)
        inputs = (x, scale, shift, mean, taps, _nhwc(dy))
        _call("depthwise_gradients", shape, *inputs, dx, dtaps, sums)
        size = (shape.channels, 1, shape.kernel, shape.kernel)
        dweight = dtaps.sum(0).t().reshape(size)
        if gamma is None:
            return dx, dweight, None, None, None, None, None
        dbeta, products = sums.sum(0)
        dgamma = products * rate
        _call("combine", shape, x, *_bn_gradient(x, scale, mean, rate, dgamma, dbeta), dx)
        return dx, dweight, dgamma, dbeta, None, None, None


class _SqueezeExcite(Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, bn, parts, shape, reduce, reduce_bias, expand, expand_bias):
        scale, shift, mean, rate = _normalise(bn, parts, x)
        sums = x.new_empty(shape.batch, shape.height, shape.channels)
        _call("squeeze", shape, x, scale, shift, sums)
        means = sums.sum(1).div_(shape.height * shape.width)
        hidden = torch.addmm(reduce_bias, means, reduce.flatten(1).t())
        active = F.silu(hidden)
        gate = torch.addmm(expand_bias, active, expand.flatten(1).t()).sigmoid_()
        y = torch.empty_like(x)
        _call("excite", shape, x, scale, shift, gate, y)
        ctx.save_for_backward(
            x, scale, shift, mean, rate, means, hidden, active, gate, reduce, expand
        )
        ctx.shape = shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, scale, shift, mean, rate, means, hidden, active, gate, reduce, expand = ctx.saved_tensors
        shape, dy, dx = ctx.shape, _nhwc(dy), torch.empty_like(x)
        sums = x.new_empty(shape.batch, shape.height, 5, shape.channels)
        _call("excite_sums", shape, x, scale, shift, mean, dy, sums)
        dgate, gated, slopes, gated_products, slope_products = sums.sum(1).unbind(1)
        dexpanded = torch.ops.aten.sigmoid_backward(dgate, gate)
        dhidden = torch.ops.aten.silu_backward(dexpanded @ expand.flatten(1), hidden)
        dexpand, dreduce = dexpanded.t() @ active, dhidden.t() @ means
        pool = (dhidden @ reduce.flatten(1)).div_(shape.height * shape.width)
        dbeta = (gate * gated).addcmul_(pool, slopes).sum(0)
        dgamma = (gate * gated_products).addcmul_(pool, slope_products).sum(0) * rate
        affine = _bn_gradient(x, scale, mean, rate, dgamma, dbeta)
        _call("excite_gradient", shape, x, scale, shift, gate, pool, *affine, dy, dx)
        dse = (dreduce.view_as(reduce), dhidden.sum(0), dexpand.view_as(expand), dexpanded.sum(0))
        return dx, dgamma, dbeta, None, None, None, *dse


def _normalise(bn: nn.Module, parts: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    """BN as x * scale + shift, and the batch's mean and 1 / deviation; updates its running means.

    ``parts`` (N, 2, C): mean and sum of squared deviations of N equal parts of ``x``.
    """
    means, squares = parts.double().unbind(1)
    mean, count = means.mean(0), x.numel() // x.shape[1]
    offsets = means - mean
    spread = torch.addcmul(squares, offsets, offsets, value=count / len(parts))
    variance = spread.sum(0).div_(count)
    rate, mean = (variance + bn.eps).rsqrt_().float(), mean.float()
    bn.num_batches_tracked += 1
    bn.running_mean.lerp_(mean, bn.momentum)
    bn.running_var.lerp_((variance * (count / (count - 1))).float(), bn.momentum)
    scale = bn.weight * rate
    return scale, torch.addcmul(bn.bias, mean, scale, value=-1), mean, rate


def _bn_gradient(x, scale, mean, rate, dgamma, dbeta):
    """a, b, c of: gradient of BN's input = a * gradient of its output + b * input + c."""
    share = scale * (-x.shape[1] / x.numel())
    b = share * rate * dgamma
    return scale, b, (share * dbeta).addcmul_(b, mean, value=-1)


class _Shape(ctypes.Structure):
    """``Shape`` of mbconv.c."""

    _fields_ = [
        (name, ctypes.c_int)
        for name in (
            *("batch", "channels", "height", "width", "out_height", "out_width"),
            *("kernel", "stride", "top", "left"),
        )
    ]

    @classmethod
    def of(cls, x: Tensor, conv: nn.Conv2d | None = None) -> _Shape:
        if conv is None:
            return cls(*x.shape)
        kernel, stride, sides = conv.kernel_size[0], conv.stride[0], x.shape[2:]
        if isinstance(conv, Conv2dSame):
            out = [-(-side // stride) for side in sides]
            padding = [
                max((o - 1) * stride + kernel - side, 0) // 2
                for o, side in zip(out, sides, strict=True)
            ]
        else:
            padding = conv.padding
            out = [(s + 2 * p - kernel) // stride + 1 for s, p in zip(sides, padding, strict=True)]
        return cls(*x.shape, *out, kernel, stride, *padding)


def _call(name: str, shape: _Shape, *tensors: Tensor | None) -> None:
    function = getattr(library(SOURCE), name)
    function(shape, *(None if t is None else ctypes.c_void_p(t.data_ptr()) for t in tensors))


def _nhwc(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _empty(x: Tensor, height: int, width: int) -> Tensor:
    size = (*x.shape[:2], height, width)
    return torch.empty(size, memory_format=torch.channels_last)


def _fits(block: nn.Module) -> bool:
    """Whether the kernels know everything that the block is made of."""
    conv, norms = block.conv_dw, _norms(block)
    return (
        block.conv_s2d is None
        and isinstance(block.aa, nn.Identity)
        and type(block.se) is SqueezeExcite
        and type(block.se.act1) is nn.SiLU
        and type(block.se.gate) is nn.Sigmoid
        and type(conv) in (nn.Conv2d, Conv2dSame)
        and conv.kernel_size in ((3, 3), (5, 5))
        and conv.stride[0] == conv.stride[1]
        and conv.dilation == (1, 1)
        and conv.groups == conv.in_channels == conv.out_channels
        and conv.in_channels % LANES == 0
        and conv.bias is None
        and all(type(bn.act) is nn.SiLU and type(bn.drop) is nn.Identity for bn in norms)
    )


def _norms(block: nn.Module) -> tuple[nn.Module, ...]:
    """The BN before the depthwise convolution, if there is one, and the BN after it."""
    return (block.bn1, block.bn2) if isinstance(block, InvertedResidual) else (block.bn1,)


def _takes_kernels(block: nn.Module, x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and all(type(bn) is BatchNormAct2d and bn.training for bn in _norms(block))
        and all(p.requires_grad and p.dtype == torch.float32 for p in block.parameters())
        and library(SOURCE) is not None
    )
