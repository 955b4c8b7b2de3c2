"""One training step's mathematics: from a batch of crops to new weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pose.config import Experiment, Training
from pose.parallel import distributed
from pose.parallel.flat import Flat
from pose.parallel.global_batch import see_global_batch
from pose.support.errors import PoseError
from pose.targets.heatmap import normalise
from pose.targets.losses import LOSSES
from pose.training.recompute import recompute_blocks
from pose.training.recorded import Recorded

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

Batch = dict[str, Tensor]


def batch_loss(
    model: nn.Module, batch: Batch, experiment: Experiment, step: int, device: torch.device
) -> Tensor:
    """The loss (scalar) of ``batch``, as :class:`pose.data.dataset.PoseDataset` makes it.

    PoseError for heat maps of another stride than the target's, which would stand for other places.
    Stochastic depth draws from (seed, ``step``) alone, so that a resumed training repeats it.
    """
    _seed(experiment, step)
    return _loss(model, _moved(batch, device), experiment)


def _seed(experiment: Experiment, step: int) -> None:
    torch.manual_seed(experiment.seed * 2**32 + step)


def _moved(batch: Batch, device: torch.device) -> Batch:
    return {name: batch[name].to(device, non_blocking=True) for name in batch if name != "index"}


def _loss(model: nn.Module, there: Batch, experiment: Experiment) -> Tensor:
    device = there["image"].device
    layout = torch.channels_last if experiment.train.channels_last else torch.contiguous_format
    images = normalise(there["image"], experiment.image).contiguous(memory_format=layout)
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
    outputs = [output.float() for output in outputs]
    return loss(outputs, there["joints"], there["visible"], experiment.target)


class Stepper:
    """Takes optimisation steps, each from this process's share of the global batch.

    The share goes through the net in chunks of ``train.micro_batch``, one after the other, whose
    gradients add up; without that setting it is one chunk. A chunk has batch statistics of its own,
    and the running statistics that are kept are the first chunk's of the first process. Losses and
    gradients are means over the global batch. ``net`` is the model, compiled or not.

    A step of fp16 whose gradients are not finite changes nothing but the scale of the loss.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, experiment: Experiment, device: torch.device
    ) -> None:
        settings = experiment.train
        self.experiment, self.device, self.optimizer = experiment, device, optimizer
        processes = distributed.world_size()
        chunks = settings.batch_size // settings.chunk_size
        parts = processes if settings.synchronised_batch_norm else chunks
        self.chunks = parts // processes
        self.part = see_global_batch(model, parts, settings.synchronised_batch_norm, device)
        _keep_inputs(model)
        if settings.recompute:
            recompute_blocks(model)
        self.model = model
        self.net = torch.compile(model, dynamic=False) if settings.compile else model
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.statistics = Flat(model.buffers())
        self.one = torch.ones((), device=device)
        self.recorded: Recorded | None = None

    def __call__(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Optimisation step number ``step``; its loss, and the loss's scale after it (scalars).

        Both stay on the device, which is not waited for.
        """
        before = self.statistics.read() if self.scaler.is_enabled() else []
        loss = self._accumulate(batch, step)
        distributed.average_gradients(self.model)
        scale = self.scaler.scale(self.one)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        next_scale = self.scaler.scale(self.one)
        if before:  # an overflow would stay in the running statistics for ever
            skipped = next_scale < scale
            after = self.statistics.read()
            kept = [torch.where(skipped, b, a) for b, a in zip(before, after, strict=True)]
            self.statistics.write(kept)
        return distributed.average(loss), next_scale

    def _accumulate(self, batch: Batch, step: int) -> Tensor:
        """Leave the gradients of the batch's loss in the weights; the loss."""
        self.optimizer.zero_grad(set_to_none=self.recorded is None)
        total, kept = 0.0, []
        for number, chunk in enumerate(self._cut(batch)):
            self.part.fill_(distributed.rank() * self.chunks + number)
            _seed(self.experiment, step)
            total = total + self._work_off(_moved(chunk, self.device))
            if number == 0 and self.chunks > 1:
                kept = self.statistics.read()
        if kept:
            self.statistics.write(kept)
        return total

    def _work_off(self, chunk: Batch) -> Tensor:
        if not recordable(self.experiment.train, self.device, distributed.world_size()):
            return self._backward(chunk)
        if self.recorded is None:
            self.recorded = Recorded(self._backward, self.model, chunk)
        return self.recorded(chunk)

    def _backward(self, chunk: Batch) -> Tensor:
        """Add the chunk's gradients to those of the weights; its share of the batch's loss."""
        loss = _loss(self.net, chunk, self.experiment) / self.chunks
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _cut(self, batch: Batch) -> Iterator[Batch]:
        cut = {name: values.chunk(self.chunks) for name, values in batch.items()}
        for parts in zip(*cut.values(), strict=True):
            yield dict(zip(cut, parts, strict=True))


def recordable(settings: Training, device: torch.device, processes: int) -> bool:
    """Whether a chunk's work is recorded: not where processes share statistics in its midst."""
    shared = settings.synchronised_batch_norm and processes > 1
    return settings.cuda_graph and device.type == "cuda" and not shared


def _keep_inputs(model: nn.Module) -> None:
    """Let activations write elsewhere: in training they would first copy what they overwrite.

    Not so ReLU, whose backward pass needs its output only.
    """
    for layer in model.modules():
        if isinstance(layer, nn.SiLU | nn.Mish | nn.Hardswish | nn.Hardsigmoid):
            layer.inplace = False
