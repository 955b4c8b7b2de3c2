"""The C kernels give PyTorch's numbers, and stand aside wherever they do not apply."""

from collections import Counter
from copy import deepcopy
from functools import partial

import pytest
import torch
from timm.models._efficientnet_blocks import (
    DepthwiseSeparableConv,
    InvertedResidual,
    SqueezeExcite,
)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pose.kernels import build, mbconv
from pose.kernels.mbconv import FastMBConv, FastSeparable, accelerate
from pose.models import create_model

compiled = pytest.mark.skipif(build.library(mbconv.SOURCE) is None, reason="no C compiler")


def block(kernel: int = 5, stride: int = 1, padding: str = "", kind=InvertedResidual) -> nn.Module:
    torch.manual_seed(0)
    expansion = {"exp_ratio": 6.0} if kind is InvertedResidual else {}
    squeeze = partial(SqueezeExcite, rd_ratio=1 / 24)
    return kind(
        16,
        16,
        dw_kernel_size=kernel,
        stride=stride,
        pad_type=padding,
        act_layer=nn.SiLU,
        se_layer=squeeze,
        **expansion,
    ).train()


def images(height: int = 16, width: int = 12, batch: int = 3) -> Tensor:
    torch.manual_seed(1)
    x = 3 + torch.randn(batch, 16, height, width)  # a mean that is not zero, for BN's sake
    return x.contiguous(memory_format=torch.channels_last)


def gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, gradients of input and parameters, and the running statistics."""
    x = x.clone().requires_grad_()
    y = module(x)
    slopes = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    (y * slopes).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in module.parameters()), *module.buffers()]


def error(found: Tensor, true: Tensor) -> float:
    found, true = found.double(), true.double()
    return ((found - true).norm() / (true.norm() + 1e-9)).item()


@compiled
@pytest.mark.parametrize(
    ("kind", "kernel", "stride", "padding", "size"),
    [
        (InvertedResidual, 5, 1, "", (16, 12)),
        (InvertedResidual, 3, 1, "", (4, 3)),
        (InvertedResidual, 5, 2, "", (16, 12)),
        (InvertedResidual, 3, 2, "same", (16, 12)),
        (InvertedResidual, 5, 2, "same", (15, 13)),
        (DepthwiseSeparableConv, 3, 1, "", (16, 12)),
        (InvertedResidual, 5, 1, "", (16, 12, 16)),
    ],
)
def test_a_block_has_the_gradients_of_float64(kind, kernel, stride, padding, size):
    native = block(kernel, stride, padding, kind)
    fast = accelerate(deepcopy(native))
    assert type(fast) in (FastMBConv, FastSeparable)
    true = gradients(deepcopy(native).double(), images(*size).double())
    errors = [error(*pair) for pair in zip(gradients(fast, images(*size)), true, strict=True)]
    usual = [error(*pair) for pair in zip(gradients(native, images(*size)), true, strict=True)]
    assert max(errors) < max(1e-5, 3 * max(usual))


@compiled
def test_a_training_step_of_eeffpose_has_the_same_loss_and_gradients():
    torch.manual_seed(0)
    native = create_model("eeffpose-p0").train()
    fast = accelerate(deepcopy(native))
    assert sum(isinstance(m, (FastMBConv, FastSeparable)) for m in fast.modules()) == 51
    x = torch.randn(2, 3, 64, 48)
    results = []
    for model in (native, fast):
        torch.manual_seed(1)  # stochastic depth
        loss = (model(x) - 0.3).square().mean()
        loss.backward()
        results.append((loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    (loss, slopes), (fast_loss, fast_slopes) = results
    assert fast_loss == pytest.approx(loss, rel=1e-5)
    assert error(fast_slopes, slopes) < 1e-3  # a max pool may choose another of two equals


@compiled
def test_the_result_does_not_depend_on_the_number_of_threads():
    x, conv, bn = images(32, 24), nn.Conv2d(16, 16, 5, padding=2, groups=16), nn.BatchNorm2d(16)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            leaf = x.clone().requires_grad_()
            y, _ = mbconv.depthwise(leaf, conv, bn)
            found.append((y, *torch.autograd.grad(y.square().sum(), (leaf, conv.weight))))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


@compiled
def test_a_step_of_a_block_takes_few_operators():
    calls = Counter()

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            calls[function] += not function.is_view
            return function(*args, **(kwargs or {}))

    fast, x = accelerate(block()), images().requires_grad_()
    with Count():
        fast(x).sum().backward()
    assert calls.total() < 110  # at 64x48 a step is bound by calls, not by arithmetic


def test_a_squeeze_excite_of_other_functions_stays_timms():
    native = block()
    native.se.act1 = nn.ReLU()
    assert type(accelerate(native)) is InvertedResidual


def test_names_and_values_of_parameters_stay():
    native = create_model("eeffpose-p0").state_dict()
    torch.manual_seed(0)
    fast = accelerate(create_model("eeffpose-p0"))
    assert fast.state_dict().keys() == native.keys()
    create_model("eeffpose-p0").load_state_dict(fast.state_dict())


@compiled
def test_not_a_number_goes_through_to_the_loss():
    x = images()
    x[0, 0, 0, 0] = torch.nan
    assert accelerate(block())(x).isnan().any()


def evaluated(module: nn.Module) -> Tensor:
    return module.eval()(images())


def in_float64(module: nn.Module) -> Tensor:
    return module.double()(images().double())


def under_autocast(module: nn.Module) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return module(images())


def with_frozen_weights(module: nn.Module) -> Tensor:
    return module.requires_grad_(False)(images())


def with_frozen_statistics(module: nn.Module) -> Tensor:
    module.bn1.eval()
    return module(images())


@pytest.mark.parametrize(
    "use", [evaluated, in_float64, under_autocast, with_frozen_weights, with_frozen_statistics]
)
def test_everything_but_training_in_float32_is_timms_to_the_bit(use):
    native = block()
    assert torch.equal(use(accelerate(deepcopy(native))), use(native))


def test_without_a_compiler_the_block_is_timms_and_one_line_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("POSE_CACHE", str(tmp_path))
    build.library.cache_clear()
    try:
        native = block()
        fast = accelerate(deepcopy(native))
        assert torch.equal(fast(images()), native(images()))
        fast(images())
    finally:
        build.library.cache_clear()
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "mbconv.c could not be compiled" in message and "no-such-compiler" in message
