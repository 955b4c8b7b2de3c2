"""From heat maps to joints in the image: flip average, peaks, quarter offset, back-projection."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from pose.bench import plain
from pose.bench.measure import Row, Settings, compare, interleave
from pose.datasets.coco import COCO
from pose.evaluation.decode import decode
from pose.evaluation.flip_test import average_in_cache, flip_average
from pose.support.allocator import keep_freed_memory

SHIFT = 1
BASELINE = "joint after joint"
OURS = "batched"
LIMIT = (
    "adding the two sets of maps, which passes memory once, takes {least:.1f} us a person,"
    " mirroring in the cache and the average {average:.1f}, finding the joints {joints:.1f}"
)


def measure(settings: Settings) -> list[Row]:
    keep_freed_memory()  # as select_device does
    batch = 4 if settings.quick else 64
    seconds = interleave(variants(batch), max(settings.repeats, 3), warmup=2)
    name = f"flip average and decoding, 64x48, batch {batch}"
    convert = lambda s: s / batch * 1e6  # noqa: E731
    maps, mirrored, mean = torch.rand(3, batch, len(COCO), 64, 48)
    boxes = torch.rand(2, batch, 2)
    parts = {
        "least": lambda: torch.add(maps, mirrored, out=mean),
        "average": lambda: average_in_cache(maps, mirrored, COCO.flip_index, SHIFT),
        "joints": lambda: decode(mean, *boxes),
    }
    times = {part: convert(median(s)) for part, s in interleave(parts, 10).items()}
    limit = LIMIT.format(**times)
    return compare(name, seconds, "us/person", convert, BASELINE, {OURS: 10.0}, limit)


def variants(batch: int) -> dict[str, Callable[[], Tensor]]:
    """Variant -> a function that gives joints and scores (B, K, 3) of the same maps."""
    generator = torch.Generator().manual_seed(0)
    maps, mirrored = torch.rand(2, batch, len(COCO), 64, 48, generator=generator)
    centers = 300 * torch.rand(batch, 2, generator=generator)
    scales = 0.5 + torch.rand(batch, 2, generator=generator)
    outputs = {0: maps, 1: mirrored}

    def model(images: Tensor) -> Tensor:
        return outputs[int(images[0, 0, 0, 0])]

    images = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)  # mirrored, the first pixel is 1

    def batched() -> Tensor:
        joints, scores = decode(flip_average(model, images, COCO, SHIFT), centers, scales)
        return torch.cat([joints, scores[..., None]], dim=-1)

    arrays = [tensor.numpy() for tensor in (maps, mirrored, centers, scales)]

    def one_by_one() -> Tensor:
        return torch.from_numpy(plain.decode_batch(*arrays, COCO, SHIFT))

    return {BASELINE: one_by_one, OURS: batched}
