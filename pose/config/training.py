"""The settings of a training: batches, the rate, the optimiser, and the kind of arithmetic."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pose.config.frozen import Frozen


class Adam(Frozen):
    """PyTorch's Adam with its default betas; the decay is added to the gradient."""

    name: Literal["adam"]
    weight_decay: float = Field(ge=0)
    """Times the weights, added to the gradient."""


class SGD(Frozen):
    """Stochastic gradient descent with momentum; the decay is added to the gradient."""

    name: Literal["sgd"]
    momentum: float = Field(ge=0, lt=1)
    """Share of the last step in the next."""
    weight_decay: float = Field(ge=0)
    """Times the weights, added to the gradient."""


class Plateau(Frozen):
    """Multiply the rate by ``factor`` when the score has stalled for over ``patience`` epochs."""

    name: Literal["plateau"]
    factor: float = Field(gt=0, lt=1)
    """Of the rate after the step to the one before."""
    patience: int = Field(ge=0)
    """Epochs without a better score that are waited for."""


class Steps(Frozen):
    """Multiply the rate by ``factor`` at the start of each of the ``milestones`` (epochs)."""

    name: Literal["steps"]
    milestones: tuple[int, ...]
    """Epochs at whose start the rate falls."""
    factor: float = Field(gt=0, lt=1)
    """Of the rate after the step to the one before."""
    restart_every: int | None = Field(ge=1)
    """Epochs after which rate and milestones start again; None: never."""


class Cyclical(Frozen):
    """From ``lr`` / ``range`` linearly up to ``lr`` and back, again and again."""

    name: Literal["cyclical"]
    range: float = Field(gt=1)
    """The highest rate over the lowest."""
    cycle_epochs: int = Field(ge=1)
    """Epochs of a rise and a fall."""


class Training(Frozen):
    """Optimisation: the rate rises linearly, then follows its schedule."""

    batch_size: int = Field(ge=2)
    """Samples a step, over all processes."""
    micro_batch: int | None = Field(None, ge=2)
    """Samples of a chunk: a step works the batch off in chunks, each with batch statistics of its
    own. None, or a batch that is no larger: all at once."""
    epochs: int = Field(ge=1)
    """Epochs after the warm-up."""
    warmup_epochs: int = Field(ge=0)
    """Epochs before epoch 0 over which the rate rises."""
    warmup_steps: int = Field(ge=0)
    """Steps from epoch 0 on over which the rate rises."""
    lr: float = Field(gt=0)
    """The highest learning rate, which the warm-up leads to."""
    optimizer: Annotated[Adam | SGD, Field(discriminator="name")]
    """How gradients change the weights."""
    schedule: Annotated[Plateau | Steps | Cyclical, Field(discriminator="name")]
    """How the rate falls after the warm-up."""
    loss: Literal["mse", "cpn", "efficientpose"]
    """A function of :mod:`pose.targets.losses`."""
    synchronised_batch_norm: bool
    """Batch statistics over the whole batch, whatever the number of processes; without it they are
    those of each ``micro_batch``."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"]
    """Of the net's arithmetic; weights stay in fp32. tf32: fp32 but for a GPU's convolutions."""
    channels_last: bool
    """Activations in NHWC instead of NCHW."""
    compile: bool
    """The net by torch.compile."""
    fused: bool
    """The optimiser's step as one kernel."""
    cpu_kernels: bool
    """MBConv blocks by :mod:`pose.kernels`, where it knows them: in fp32 on a CPU."""
    cudnn_benchmark: bool = False
    """A GPU's convolutions by the algorithm that is fastest when tried."""
    cuda_graph: bool = False
    """A GPU's work for a chunk recorded once and replayed, which saves launching each operator. Not
    where several processes share batch statistics."""
    recompute: bool = False
    """Blocks keep their input alone, and compute the rest again in the backward pass: less memory
    and more time."""
    expandable_segments: bool = False
    """A GPU's memory in segments that grow, which leaves fewer gaps of no use to a large tensor."""
    deterministic: bool = False
    """A GPU's operators in forms that repeat every bit, at some cost."""

    @model_validator(mode="after")
    def _one_warmup(self) -> Training:
        if self.warmup_epochs and self.warmup_steps:
            raise ValueError("give warmup_epochs or warmup_steps, not both")
        return self

    @model_validator(mode="after")
    def _one_kind_of_batch_statistics(self) -> Training:
        if self.synchronised_batch_norm and self.micro_batch is not None:
            raise ValueError(
                f"a micro_batch ({self.micro_batch}) has batch statistics of its own: set"
                " synchronised_batch_norm to false, or micro_batch to null"
            )
        if not self.synchronised_batch_norm and self.micro_batch is None:
            raise ValueError("synchronised_batch_norm false needs a micro_batch")
        if self.batch_size % self.chunk_size:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of micro_batch {self.micro_batch}"
            )
        return self

    @model_validator(mode="after")
    def _recomputed_as_it_comes(self) -> Training:
        if self.recompute and (self.compile or self.cuda_graph):
            raise ValueError("recompute needs compile and cuda_graph false")
        return self

    @property
    def chunk_size(self) -> int:
        """Samples that go through the net together, in all processes."""
        return min(self.batch_size, self.micro_batch or self.batch_size)
