"""From JPEG files to a training batch, on one core: images, targets and weights."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torch.utils.data import default_collate

from pose.bench import plain
from pose.bench.measure import ROOT, Row, Settings, compare, interleave
from pose.config import experiment
from pose.data.dataset import PoseDataset
from pose.data.samples import Samples, open_split
from pose.data.synthetic.render import write_dataset
from pose.data.synthetic.rendered import SyntheticSettings
from pose.support.allocator import keep_freed_memory
from pose.targets.heatmap import gaussian_targets, normalise

SIZE = (256, 256)
BASELINE = "one sample at a time, Pillow"
OPENCV = "one sample at a time, OpenCV"
OURS = "ours"
DECODER = "the decoder of ours alone"
LIMIT = "the decoder takes {share:.0%} of ours; with it alone the ratio would be {ratio:.2f}x"


def measure(settings: Settings) -> list[Row]:
    keep_freed_memory()  # as select_device does; the loader's processes inherit it
    with tempfile.TemporaryDirectory() as folder:
        samples, name = open_samples(settings, Path(folder))
        count = min(len(samples), 4 if settings.quick else 32)
        indices = np.random.default_rng(0).permutation(len(samples))[:count].tolist()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            steps = variants(samples, indices) | {DECODER: lambda: _decode(samples, indices)}
            seconds = interleave(steps, settings.repeats)
        finally:
            torch.set_num_threads(threads)
        best, plainly, ours = (median(seconds[name]) for name in (DECODER, BASELINE, OURS))
        limit = LIMIT.format(share=best / ours, ratio=plainly / best)
        table = f"loading, JPEG to batch of {count}, {name}"
        return compare(
            table, seconds, "samples/s/core", lambda s: count / s, BASELINE, {OURS: 3.5}, limit
        )


def variants(samples: Samples, indices: list[int]) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    """Variant -> a function that gives the same batch: images, targets, weights."""
    dataset = PoseDataset(samples, SIZE, experiment("eeffpose-p0", "mpii", SIZE).augmentation)

    def plainly(read: Callable[[str], np.ndarray]) -> tuple[Tensor, ...]:
        crops = [(index, dataset.crop(index)) for index in indices]
        return tuple(map(torch.from_numpy, plain.load_batch(samples, crops, SIZE, read)))

    def ours() -> tuple[Tensor, ...]:
        batch = default_collate([dataset[index] for index in indices])
        heatmap_size = (SIZE[0] // 4, SIZE[1] // 4)
        targets = gaussian_targets(batch["joints"], batch["visible"], heatmap_size, plain.SIGMA)
        return normalise(batch["image"]), *targets

    return {
        BASELINE: lambda: plainly(plain.read_with_pillow),
        OPENCV: lambda: plainly(plain.read_with_opencv),
        OURS: ours,
    }


def open_samples(settings: Settings, folder: Path) -> tuple[Samples, str]:
    """MPII where the test data are, else rendered people in images of MPII's size."""
    root = Path(os.environ.get("POSE_TEST_DATA", ROOT.parent / "shared" / "data")) / "mpii_mini"
    if root.is_dir():
        return open_split("mpii", root, "train", SIZE), "MPII"
    images = 2 if settings.quick else 16
    made = SyntheticSettings(train_images=images, val_images=1, image_size=(720, 1280))
    write_dataset(folder / "data", made)
    return open_split("synthetic", folder / "data", "train", SIZE), "rendered images"


def _decode(samples: Samples, indices: list[int]) -> None:
    """What no loader of whole JPEGs gets round: libjpeg-turbo on files that were read before."""
    for index in indices:
        path = Path(samples.image_paths[samples.image_index[index]])
        simplejpeg.decode_jpeg(path.read_bytes(), "BGR", strict=True)
