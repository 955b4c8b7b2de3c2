"""A training step of EEffPose-P0 (order 8) on the CPU: forward, backward and Adam in float32."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from pose.bench import gemm
from pose.bench.measure import Row, Settings, compare, interleave
from pose.complexity import measure as complexity
from pose.kernels.mbconv import accelerate
from pose.models import create_model
from pose.targets.heatmap import gaussian_targets, mse_loss

MODEL = "eeffpose-p0"
BASELINE = "NCHW, PyTorch's operators"
KERNELS = "channels last, our kernels, fused Adam"
LIMIT = (
    "the arithmetic of the convolutions alone takes {floor:.2f} s an image at the peak measured"
    " here; then memory traffic"
)


def measure(settings: Settings) -> list[Row]:
    size, batches = ((64, 48), [2]) if settings.quick else ((256, 192), [4, 8])
    rows = []
    for batch in batches:
        rows += _step(settings, size, batch)
    if not settings.quick:
        rows += _step(settings, (64, 48), 4)  # the demo's
    return rows


def variants(size: tuple[int, int], batch: int) -> dict[str, Callable[[], float]]:
    """Variant -> a step that gives its loss; all start from the same weights and batch."""
    torch.manual_seed(0)
    model = create_model(MODEL).train()
    images, target, weights = _batch(size, batch)
    last = torch.channels_last
    return {
        BASELINE: _steps(deepcopy(model), images, target, weights, torch.contiguous_format),
        "channels last": _steps(deepcopy(model), images, target, weights, last),
        KERNELS: _steps(accelerate(deepcopy(model)), images, target, weights, last, fused=True),
    }


def _step(settings: Settings, size: tuple[int, int], batch: int) -> list[Row]:
    steps = variants(size, batch)
    seconds = interleave(steps, settings.repeats)
    macs = complexity(create_model(MODEL), size)
    gflop = 3 * 2 * macs.gmacs_conv_linear  # backward costs twice the forward
    name = f"training step, {MODEL}, {size[0]}x{size[1]}, batch {batch}"
    aims = {KERNELS: 4.0} if size == (256, 192) else {}
    floor = gflop / gemm.peak()
    return compare(
        name,
        seconds,
        "s/image",
        lambda s: s / batch,
        BASELINE,
        aims,
        LIMIT.format(floor=floor),
        peak_seconds=floor * batch,
    )


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
        loss = mse_loss(model(images), target, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
