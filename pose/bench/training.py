"""A training step of EEffPose-P0 (order 8) on the CPU: forward, backward and Adam in float32."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from statistics import median

import torch
from torch import Tensor, nn

from pose.bench import gemm
from pose.bench.measure import Row, Settings, as_it_comes, compare, interleave
from pose.bench.traffic import roofline, traffic
from pose.complexity import measure as complexity
from pose.kernels.mbconv import accelerate
from pose.models import create_model
from pose.support.allocator import keep_freed_memory
from pose.targets.heatmap import gaussian_targets, mse_loss

MODEL = "eeffpose-p0"
AS_IT_COMES = "NCHW, PyTorch's operators, as they come"
BASELINE = "NCHW, PyTorch's operators, memory kept"
KERNELS = "channels last, our kernels, fused Adam"
CASES = {
    ((256, 192), 4): 4.0,
    ((256, 192), 8): 4.0,
    ((256, 192), 16): 5.0,
    ((256, 192), 64): 5.0,
    ((64, 48), 4): 3.0,
    ((64, 48), 16): 3.0,
}
"""Input and batch -> how many times faster than the baseline as it comes a step is to be."""
FITS = 8
"""The baseline's largest batch at 256x192, where it takes 1.4 GB an image; time an image counts."""
CHUNK = 16
"""Images of ours that go through the net at once, as with train.micro_batch."""
CALLS = "; a step of two images of 32x32, hence calling the operators and Adam, takes {share:.0%}"


def measure(settings: Settings) -> list[Row]:
    keep_freed_memory()
    if settings.quick:
        return _step(settings, (64, 48), 2)
    rows = []
    for size, batch in CASES:
        rows += _step(settings, size, batch)
    return rows


def variants(size: tuple[int, int], batch: int) -> dict[str, Callable[[], float]]:
    """Variant -> a step that gives its loss; all start from the same weights and batch."""
    model, (images, target, weights) = _model(), _batch(size, batch)
    last = torch.channels_last
    return {
        BASELINE: _steps(deepcopy(model), images, target, weights, torch.contiguous_format),
        "channels last": _steps(deepcopy(model), images, target, weights, last),
        KERNELS: _steps(accelerate(deepcopy(model)), images, target, weights, last, fused=True),
    }


def kernels(size: tuple[int, int], batch: int) -> Callable[[], float]:
    """Our step alone, where memory has no room for the others."""
    return _steps(accelerate(_model()), *_batch(size, batch), torch.channels_last, fused=True)


def plain(size: tuple[int, int], batch: int) -> Callable[[], float]:
    """The baseline's step."""
    return _steps(_model(), *_batch(size, batch), torch.contiguous_format)


def _model() -> nn.Module:
    torch.manual_seed(0)
    return create_model(MODEL).train()


def _step(settings: Settings, size: tuple[int, int], batch: int) -> list[Row]:
    taken = min(batch, FITS) if size == (256, 192) else batch
    whole = taken == batch
    with as_it_comes(plain, size, taken) as baseline:
        ours = variants(size, batch) if whole else {KERNELS: kernels(size, batch)}
        repeats = settings.repeats if whole else min(settings.repeats, 3)
        seconds = interleave({AS_IT_COMES: baseline, **ours}, repeats)
    seconds[AS_IT_COMES] = [s * batch / taken for s in seconds[AS_IT_COMES]]
    macs = complexity(create_model(MODEL), size)
    gflop = 3 * 2 * macs.gmacs_conv_linear  # backward costs twice the forward
    name = f"training step, {MODEL}, {size[0]}x{size[1]}, batch {batch}"
    if not whole:
        name += f" in chunks of {CHUNK}, baseline at {taken}"
    aims = {KERNELS: CASES[size, batch]} if (size, batch) in CASES else {}
    floor = gflop / gemm.peak() * batch
    limit = _limit(size, batch, floor, median(seconds[KERNELS])) if aims else ""
    per_image = lambda s: s / batch  # noqa: E731
    rows = compare(name, seconds, "s/image", per_image, AS_IT_COMES, aims, limit, floor)
    if not whole:
        return rows
    del seconds[AS_IT_COMES]
    return rows + compare(f"{name}, the same allocator", seconds, "s/image", per_image, BASELINE)


def _limit(size: tuple[int, int], batch: int, arithmetic: float, seconds: float) -> str:
    """What takes the ``seconds`` of our step; a batch in chunks is judged by one of them."""
    counted = min(batch, CHUNK)
    limit = roofline(traffic(kernels(size, counted)), arithmetic, seconds, batch / counted)
    calls = min(interleave({"": kernels((32, 32), 2)}, 3)[""]) * batch / counted
    return limit + CALLS.format(share=calls / seconds)


def _batch(size: tuple[int, int], batch: int) -> tuple[Tensor, Tensor, Tensor]:
    height, width = size
    joints = torch.rand(batch, 17, 2) * torch.tensor([width, height])
    target, weights = gaussian_targets(joints, torch.ones(batch, 17), (height // 4, width // 4), 2)
    return torch.randn(batch, 3, *size), target, weights


def _steps(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    weights: Tensor,
    memory_format: torch.memory_format,
    fused: bool = False,
) -> Callable[[], float]:
    model = model.to(memory_format=memory_format)
    images = images.contiguous(memory_format=memory_format)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=fused)

    def step() -> float:
        torch.manual_seed(0)  # stochastic depth
        optimizer.zero_grad()
        total = 0.0
        for chunk in zip(*(t.split(CHUNK) for t in (images, target, weights)), strict=True):
            loss = mse_loss(model(chunk[0]), *chunk[1:]) * (len(chunk[0]) / len(images))
            loss.backward()
            total += loss.item()
        optimizer.step()
        return total

    return step
