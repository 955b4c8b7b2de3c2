"""One training step's mathematics: from a batch of crops to the loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pose.config import Experiment
from pose.support.errors import PoseError
from pose.targets.heatmap import normalise
from pose.targets.losses import LOSSES

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def batch_loss(
    model: nn.Module,
    batch: dict[str, Tensor],
    experiment: Experiment,
    step: int,
    device: torch.device,
) -> Tensor:
    """The loss (scalar) of ``batch``, as :class:`pose.data.dataset.PoseDataset` makes it.

    PoseError for heat maps of another stride than the target's, which would stand for other places.
    Stochastic depth draws from (seed, ``step``) alone, so that a resumed training repeats it.
    """
    torch.manual_seed(experiment.seed * 2**32 + step)
    images = normalise(batch["image"].to(device, non_blocking=True), experiment.image)
    dtype = AUTOCAST.get(experiment.train.precision)
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        outputs = model(images)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    height, width = outputs[-1].shape[-2:]
    if (height, width) != experiment.heatmap_size:
        raise PoseError(
            f"target.stride {experiment.target.stride}: {experiment.model} gives heat maps of"
            f" {height}x{width} for an input of {'{}x{}'.format(*experiment.input_size)}; set"
            f" {experiment.input_size[0] // height}"
        )
    loss = LOSSES[experiment.train.loss]
    return loss(
        [output.float() for output in outputs],
        batch["joints"].to(device),
        batch["visible"].to(device),
        experiment.target,
    )
