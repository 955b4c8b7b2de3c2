"""Folding batch normalisations into the convolutions before them, which testing alone allows."""

from __future__ import annotations

from collections import Counter

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def fold_batch_norm(model: nn.Module, images: Tensor) -> nn.Module:
    """Put each BN of ``model`` that follows a convolution into it, in the model itself.

    Heat maps stay within the rounding of float32, and every BN saves a pass over its maps. Which
    follows which is seen while the model, in eval mode, takes ``images`` (B, 3, H, W). A BN of
    another module than its convolution's stays: the convolution's output may go elsewhere as well.
    """
    outputs: dict[int, tuple[nn.Module, Tensor]] = {}
    before: dict[nn.Module, nn.Module] = {}
    calls: Counter[nn.Module] = Counter()

    def after_convolution(conv: nn.Module, _: tuple, output: Tensor) -> None:
        calls[conv] += 1
        outputs[id(output)] = conv, output

    def before_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[norm] += 1
        conv, output = outputs.get(id(inputs[0]), (None, None))
        if conv is not None and output._version == 0:  # nothing was done to it in place
            before[norm] = conv

    hooks = [
        *(m.register_forward_hook(after_convolution) for m in _all(model, nn.Conv2d)),
        *(m.register_forward_pre_hook(before_norm) for m in _all(model, nn.BatchNorm2d)),
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    for parent in list(model.modules()):
        for name, norm in list(parent.named_children()):
            conv = before.get(norm)
            if conv in parent.children() and calls[conv] == calls[norm] == 1:
                _fold(conv, norm)
                act = norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity()
                setattr(parent, name, act)
    return model


def _all(model: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, kind)]


def _fold(conv: nn.Module, norm: nn.Module) -> None:
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
