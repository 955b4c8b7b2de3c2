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

    Stochastic depth draws from (seed, ``step``) alone, so that a resumed training repeats it.
    """
    torch.manual_seed(experiment.seed * 2**32 + step)
    images = normalise(batch["image"].to(device, non_blocking=True), experiment.image)
    dtype = AUTOCAST.get(experiment.train.precision)
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        outputs = model(images)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    if outputs[-1].shape[-2:] != experiment.heatmap_size:
        height, width = outputs[-1].shape[-2:]
        raise PoseError(
            f"target.stride {experiment.target.stride} does not fit {experiment.model}, whose heat"
            f" maps are {height} x {width} at this input; leave it as the protocol has it"
        )
    loss = LOSSES[experiment.train.loss]
    return loss(
        [output.float() for output in outputs],
        batch["joints"].to(device),
        batch["visible"].to(device),
        experiment.target,
    )
