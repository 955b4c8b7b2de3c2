"""The numerics presets compute the same training, to the precision that they promise."""

from pathlib import Path

import pytest
import torch
from training_runs import CPU

from pose.config import experiment
from pose.data.dataset import PoseDataset
from pose.data.loader import EpochBatches, training_loader
from pose.data.samples import open_split
from pose.kernels.mbconv import accelerate
from pose.models import create_model
from pose.training.optimizer import create_optimizer
from pose.training.step import Stepper

STEPS = 4


def losses(data_root: Path, numerics: str, compiled: bool) -> torch.Tensor:
    """The losses of the first steps of a training by a numerics preset."""
    train = {"batch_size": 4, "lr": 1e-4}
    if not compiled:
        train["compile"] = False
        if numerics == "fast":
            train["precision"] = "bf16"  # CPUs only emulate fp16, a hundred times slower
    overrides = {"model_options": {"init": "scratch"}, "train": train}
    settings = experiment(
        "eeffpose-p0-order8", "synthetic", (64, 48), "controlled", 0, overrides, numerics=numerics
    )
    samples = open_split("synthetic", data_root, "train", settings.input_size)
    dataset = PoseDataset(samples, settings.input_size, settings.augmentation, settings.seed)
    dataset.set_epoch(0)
    torch.manual_seed(0)
    model = create_model(settings.model, 17, **settings.model_options.architecture())
    if settings.train.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if settings.train.cpu_kernels:
        accelerate(model)
    optimizer = create_optimizer(model, settings.train)
    take_step = Stepper(model.train(), optimizer, settings, CPU)
    batches = EpochBatches(len(dataset), 4, 0)
    numbered = zip(range(STEPS), training_loader(dataset, batches, 0), strict=False)
    return torch.stack([take_step(batch, step)[0] for step, batch in numbered])


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_fast_preset_follows_the_reference_within_two_percent(data_root, compiled):
    reference = losses(data_root, "reference", compiled)
    fast = losses(data_root, "fast", compiled)
    torch.testing.assert_close(fast, reference, rtol=0.02, atol=0)
    assert not torch.equal(fast, reference)  # it has 16 bits indeed
