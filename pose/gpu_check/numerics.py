"""Checks of what a GPU computes: the CPU's numbers, within the rounding of each precision."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from pose.data.samples import open_split
from pose.data.synthetic.render import write_dataset
from pose.data.synthetic.rendered import SyntheticSettings
from pose.gpu_check import nets
from pose.gpu_check.findings import Findings, Setup, SkipError, error, largest_error
from pose.infer import predict
from pose.support.device import arithmetic
from pose.support.rates import seconds
from pose.training.step import Stepper

STEPPED = (nets.ORDERS[0], nets.ORDERS[7], *nets.OTHERS)
SAME, TF32 = 1e-4, 1e-3
"""Errors of heat maps in fp32, and what those in TF32 exceed: on an H200 they are 4e-3 to 3e-2."""
LOSS, GRADIENTS, STATISTICS = 1e-5, 5e-3, 1e-5
"""Errors of a step in fp32 against float64. Gradients may be a tenth further off than the CPU's, if
that is more: where a maximum or a ReLU turns over by rounding, they jump."""
AUTOCAST = {"fp16": 0.25, "bf16": 1.0}
"""Errors of gradients in 16 bits against fp32; on an H200 8 and 33 % for order 8, 22 and 56 % for
order 1."""
ZEROED = 0.01
"""The share of gradients that may become zero in 16 bits."""
COMPILED_LOSSES = 1e-5, 1e-3, 1e-2
"""Errors of the losses of three steps: rounding grows with each step of Adam's."""
COMPILED_GRADIENTS = 2e-2
"""Of two ways in fp32, each as far off as GRADIENTS: on a CPU NCHW and NHWC differ by 4e-3."""
WITHIN, JOINTS = 0.5, 0.999
"""Pixels, and the share of joints that have to lie within them."""


def parity(setup: Setup, found: Findings) -> None:
    """Heat maps of nets in evaluation, on the CPU and the device, in both memory layouts."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, *nets.size(setup), generator=draw)
    for name in nets.of(setup, nets.ORDERS + nets.OTHERS):
        model = nets.with_statistics(nets.net(name), images)
        truth = _maps(model, images, nets.CPU, False).double()
        for layout, last in (("NCHW", False), ("NHWC", True)):
            maps = _maps(model, images, setup.device, last)
            found.at_most(f"{name} {layout}", largest_error(maps, truth), SAME)
        if not setup.quick and torch.cuda.get_device_capability(setup.device) >= (8, 0):
            maps = _maps(model, images, setup.device, False, tf32=True)
            found.above(f"{name} TF32", largest_error(maps, truth), TF32)


@torch.inference_mode()
def _maps(
    model: nn.Module, images: Tensor, device: torch.device, last: bool, tf32: bool = False
) -> Tensor:
    layout = torch.channels_last if last else torch.contiguous_format
    with arithmetic(tf32):
        maps = nets.on(device, model, last)(images.to(device, memory_format=layout))
    return (maps[-1] if isinstance(maps, list) else maps).cpu()


def step(setup: Setup, found: Findings) -> None:
    """Loss, gradients and running statistics of a training step, against float64 on the CPU."""
    crops = nets.batch(setup, 4)
    for name in nets.of(setup, STEPPED):
        model, chosen = nets.net(name), nets.settings(setup, name, 4, cpu_kernels=False)
        truth = nets.one_step(model, crops, chosen, nets.CPU, exact=True)
        cpu = error(nets.one_step(model, crops, chosen, nets.CPU).gradients, truth.gradients)
        ours = nets.one_step(model, crops, chosen, setup.device)
        found.at_most(f"{name} loss", abs(ours.loss / truth.loss - 1), LOSS)
        found.note(f"{name} gradients, CPU", cpu)
        limit = max(GRADIENTS, 1.1 * cpu)
        found.at_most(f"{name} gradients", error(ours.gradients, truth.gradients), limit)
        found.at_most(f"{name} statistics", error(ours.statistics, truth.statistics), STATISTICS)


def autocast(setup: Setup, found: Findings) -> None:
    """Gradients in 16 bits against fp32, and a step that overflows."""
    images, halvings = 2 if setup.quick else 4, 12
    crops = nets.batch(setup, images)
    loose = 4 if setup.quick else 1  # small crops round more
    for name in nets.of(setup, STEPPED[:2]):
        model = nets.net(name)
        truth = nets.one_step(
            model, crops, nets.settings(setup, name, images), setup.device
        ).gradients
        for precision, limit in AUTOCAST.items():
            chosen = nets.settings(setup, name, images, precision=precision)
            scale = 2.0**16 if precision == "fp16" else 1.0
            for _ in range(halvings):  # as the training lowers it where the first steps overflow
                ours = nets.one_step(model, crops, chosen, setup.device, scale).gradients
                if ours.isfinite().all():
                    break
                scale /= 2
            zeroed = ((ours == 0) & (truth != 0)).double().mean().item()
            found.note(f"{name} {precision} scale", scale)
            found.at_most(f"{name} {precision} gradients", error(ours, truth), loose * limit)
            found.at_most(f"{name} {precision} zeroed", zeroed, loose * ZEROED)
    _overflow(setup, found)


def _overflow(setup: Setup, found: Findings) -> None:
    (name,) = nets.of(setup, nets.ORDERS[:1])
    take = nets.stepper(setup, nets.net(name), nets.settings(setup, name, 2, precision="fp16"))
    before = [value.clone() for value in take.model.state_dict().values()]
    take.net = lambda images: take.model(images) * torch.inf
    scale = take.scaler.get_scale()
    _, after = take(nets.batch(setup, 2), 0)
    found.require(after.item() == scale / 2, "an overflow does not halve the scale of the loss")
    kept = all(map(torch.equal, before, take.model.state_dict().values()))
    found.require(kept, "a skipped step changes the weights")


def waits(setup: Setup, found: Findings) -> None:
    """No step makes the CPU wait for the GPU."""
    setup.require_gpu("there is nothing to wait for on a CPU")
    crops = nets.batch(setup, 4)
    ways = {"fp32": {}, "fp16": {"precision": "fp16"}, "recorded": {"cuda_graph": True}}
    ways["two chunks"] = {"micro_batch": 2, "synchronised_batch_norm": False}
    for kind, way in ways.items():
        chosen = nets.settings(setup, nets.ORDERS[7], 4, **way)
        take = nets.stepper(setup, nets.net(chosen.model, False), chosen)
        for number in range(2):  # the first makes constants or records, which waits
            take(crops, number)
        torch.cuda.set_sync_debug_mode("error")
        try:
            take(crops, 2)
        except RuntimeError as problem:
            found.require(False, f"{kind}: {str(problem).splitlines()[0]}")
        finally:
            torch.cuda.set_sync_debug_mode("default")


def determinism(setup: Setup, found: Findings) -> None:
    """Three steps, twice: equal to the bit where deterministic algorithms are asked for."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS is first used
    crops, times = nets.batch(setup, 4), {}
    for name in nets.of(setup, STEPPED[1:]):
        model = nets.net(name, False)
        ends = []
        for asked in (False, True, True):
            take = nets.stepper(setup, model, nets.settings(setup, name, 4))
            with arithmetic(deterministic=asked), warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                if asked:
                    torch.use_deterministic_algorithms(True, warn_only=True)
                for number in range(3):
                    take(crops, number)
                if asked:
                    ends.append(nets.vector(take.model.state_dict().values()))
                times[asked] = seconds(lambda take=take: take(crops, 3), setup.device, 3)
        objecting = {str(w.message).split()[0] for w in told if "deterministic" in str(w.message)}
        found.note(f"{name} objecting operators", ", ".join(sorted(objecting)))
        found.note(f"{name} cost", times[True] / times[False])
        found.require(torch.equal(*ends), f"{name}: three steps differ when they are repeated")


def compiled(setup: Setup, found: Findings) -> None:
    """Compiled steps, and steps that are recorded and replayed, against eager ones."""
    setup.require_gpu("recording is for GPUs, and compiling for a CPU tells nothing of one")
    _same_draws(setup, found)
    crops, name = nets.batch(setup, 8), nets.SMALL  # an order takes minutes to compile
    ways = {"eager": {}, "recorded": {"cuda_graph": True}}
    ways["compiled, recorded"] = {"cuda_graph": True, "compile": True}
    for kind, way in ways.items():  # the recorded ones are judged even if nothing compiles
        cut = {"micro_batch": 4, "synchronised_batch_norm": False}
        take = nets.stepper(setup, nets.net(name), nets.settings(setup, name, 8, **cut, **way))
        with arithmetic():
            try:
                losses = [take(crops, 0)[0].item()]
            except Exception as problem:  # of whatever compiler
                if "compile" in way and "riton" in type(problem).__name__ + str(problem):
                    raise SkipError(f"no compiler: {str(problem).splitlines()[0]}") from None
                raise
            gradients = nets.vector(p.grad for p in take.model.parameters() if p.grad is not None)
            statistics = nets.vector(b for b in take.model.buffers() if b.is_floating_point())
            losses += [take(crops, number)[0].item() for number in (1, 2)]
            again = seconds(lambda take=take: take(crops, 3), setup.device, 5)
        found.note(f"{kind}, seconds a step", again)
        if kind == "eager":
            truth = losses, gradients, statistics
            continue
        for number, limit in enumerate(COMPILED_LOSSES):
            off = abs(losses[number] / truth[0][number] - 1)
            found.at_most(f"{kind}, loss {number}", off, limit)
        found.at_most(f"{kind}, gradients", error(gradients, truth[1]), COMPILED_GRADIENTS)
        found.at_most(f"{kind}, statistics", error(statistics, truth[2]), STATISTICS)


def _same_draws(setup: Setup, found: Findings) -> None:
    """A replay drops the same paths as the eager step of its number does."""
    crops, name = nets.batch(setup, 4), nets.ORDERS[7]
    losses = {}
    for recorded in (False, True):
        chosen = nets.settings(setup, name, 4, cuda_graph=recorded)
        take = nets.stepper(setup, nets.net(name, False), chosen)
        for group in take.optimizer.param_groups:
            group["lr"] = 0.0
        with arithmetic():
            losses[recorded] = [take(crops, number)[0].item() for number in range(4)]
    found.note("losses of four draws", losses[False])
    for number, (eager, replayed) in enumerate(zip(*losses.values(), strict=True)):
        found.at_most(f"draw {number}", abs(replayed / eager - 1), LOSS)
    found.require(len(set(losses[False])) > 1, "four steps draw the same")


def inference(setup: Setup, found: Findings) -> None:
    """Joints of rendered people, with flip, on CPU and device, by a net trained a little."""
    (name,) = nets.of(setup, nets.ORDERS[:1])
    chosen = nets.settings(setup, name, 4 if setup.quick else 16)
    people = SyntheticSettings(train_images=4, val_images=2 if setup.quick else 40)
    with TemporaryDirectory() as folder:
        write_dataset(Path(folder, "data"), people)
        samples = open_split("synthetic", Path(folder, "data"), "val", chosen.input_size)
        take = nets.stepper(setup, nets.net(name), chosen)
        _learn(take, setup, 1 if setup.quick else 100)
        ours, truth = (
            predict(nets.on(device, take.model, True), samples, chosen, device).keypoints
            for device in (setup.device, nets.CPU)
        )
    near = np.linalg.norm(ours[..., :2] - truth[..., :2], axis=-1) <= WITHIN
    found.above("joints within half a pixel", float(near.mean()), JOINTS - 1e-9)


def _learn(take: Stepper, setup: Setup, steps: int) -> None:
    """Until heat maps have peaks, without which their places would be chance."""
    crops = nets.batch(setup, take.experiment.train.batch_size)
    for number in range(steps):
        take(crops, number)
