"""Nets, batches and steps on which the checks compare a GPU with the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam

from pose.config import Experiment, experiment
from pose.gpu_check.findings import Setup
from pose.models import create_model
from pose.parallel.global_batch import RANDOM
from pose.support.device import arithmetic
from pose.training.step import Batch, Stepper, batch_loss

CPU = torch.device("cpu")
ORDERS = tuple(f"eeffpose-p0-order{order}" for order in range(1, 9))
OTHERS = ("hrnet-w32", "litehrnet-18")


SMALL = "shufflenetv2"


def of(setup: Setup, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those nets; on a CPU a small one."""
    return (SMALL,) if setup.quick else names


def size(setup: Setup) -> tuple[int, int]:
    """Height and width of the crops."""
    return (64, 64) if setup.quick else (256, 192)


def settings(setup: Setup, model: str, images: int, **train: object) -> Experiment:
    """A training in batches of ``images``."""
    overrides = {"model_options": {"init": "scratch"}, "train": {"batch_size": images, **train}}
    return experiment(model, "coco", size(setup), "controlled", 0, overrides)


def net(model: str, without_dropout: bool = True) -> nn.Module:
    """A net that draws nothing, as the numbers drawn differ from device to device."""
    torch.manual_seed(0)
    made = create_model(model)
    for layer in made.modules():
        if without_dropout and isinstance(layer, RANDOM):
            setattr(layer, "p" if isinstance(layer, nn.Dropout) else "drop_prob", 0.0)
    return made


def with_statistics(model: nn.Module, images: Tensor) -> nn.Module:
    """The model with those images' running statistics, in evaluation.

    With those of a new net its maps hardly depend on its input.
    """
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def batch(setup: Setup, images: int) -> Batch:
    """Random crops; page-locked where a GPU is to fetch them."""
    height, width = size(setup)
    draw = torch.Generator().manual_seed(1)
    joints = torch.rand(images, 17, 2, generator=draw) * torch.tensor([width, height])
    crops = torch.randint(256, (images, height, width, 3), generator=draw, dtype=torch.uint8)
    made = {"image": crops, "joints": joints, "visible": torch.ones(images, 17)}
    return made if setup.quick else {name: values.pin_memory() for name, values in made.items()}


def on(device: torch.device, model: nn.Module, channels_last: bool) -> nn.Module:
    """A copy of the model."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return deepcopy(model).to(device, memory_format=layout)


def stepper(setup: Setup, model: nn.Module, chosen: Experiment) -> Stepper:
    """Steps of a training on the device."""
    made = on(setup.device, model, chosen.train.channels_last).train()
    return Stepper(made, Adam(made.parameters(), 1e-3, fused=True), chosen, setup.device)


@dataclass(frozen=True)
class Step:
    """What a step computes: its loss, all gradients and running statistics as one vector each."""

    loss: float
    gradients: Tensor
    statistics: Tensor


class Exact(nn.Module):
    """A net in float64."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.double()

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """The net's outputs."""
        return self.net(images.double())


def one_step(
    model: nn.Module,
    crops: Batch,
    chosen: Experiment,
    device: torch.device,
    scale: float = 1.0,
    exact: bool = False,
) -> Step:
    """Forward and backward on a copy of the model, the loss ``scale`` times as large meanwhile.

    ``exact``: in float64.
    """
    made = on(device, model, chosen.train.channels_last).train()
    made = Exact(made) if exact else made
    with arithmetic(tf32=chosen.train.precision == "tf32"):
        loss = batch_loss(made, crops, chosen, 0, device)
        (loss * scale).backward()
    statistics = [b for b in made.buffers() if b.is_floating_point()]
    gradients = vector(p.grad for p in made.parameters() if p.grad is not None)
    return Step(loss.item(), gradients / scale, vector(statistics))


def vector(tensors: Iterable[Tensor]) -> Tensor:
    """All values one after the other, on the CPU in float64."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).cpu().double()
