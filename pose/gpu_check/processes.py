"""Checks of trainings as processes of their own: stopped, resumed, too large, and shared by two."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist

from pose import train
from pose.config import Experiment
from pose.data.synthetic.render import write_dataset
from pose.data.synthetic.rendered import SyntheticSettings
from pose.gpu_check import nets
from pose.gpu_check.findings import Findings, Setup, error
from pose.parallel import distributed
from pose.support.device import arithmetic
from pose.weights.read import read_state_dict

TOO_SMALL = 0.03
"""The share of a card's memory that is too small for the training, but not for what precedes it."""
SHARED_LOSS, SHARED_GRADIENTS, SHARED_STATISTICS = 1e-5, 5e-3, 1e-5
"""Differences of two processes with a chunk each from one with both, in the first step."""
PATIENCE = 120.0

context = multiprocessing.get_context("forkserver")


def training(setup: Setup, found: Findings) -> None:
    """The training command on rendered people: it learns, stops and goes on, and tells its limit.

    Three trainings and the one that does not fit run side by side.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        images = 6 if setup.quick else 60
        write_dataset(folder / "data", SyntheticSettings(train_images=images, val_images=2))
        whole = Command(setup, folder, "whole", deterministic=True)
        stopped = Command(setup, folder, "stopped", deterministic=True)
        whole.start()
        stopped.start()
        if not setup.quick:
            fp16 = Command(setup, folder, "fp16", precision="fp16", expandable_segments=True)
            too_large = Command(setup, folder, "too-large", share=TOO_SMALL)
            fp16.start()
            too_large.start()
        stopped.stop_after_an_epoch()
        found.require("stopped by SIGTERM" in stopped.end(1), f"SIGTERM: {stopped.said()[-500:]}")
        stopped.start()
        found.require("resumed at" in stopped.end(0), f"resumed: {stopped.said()[-500:]}")
        for run in [whole] if setup.quick else [whole, fp16]:
            run.end(0)
            losses = run.losses()
            found.note(f"{run.name} losses", losses)
            learns = len(losses) > 1 and losses[-1] < losses[0]
            found.require(learns, f"{run.name}: the loss does not fall; {run.said()[-500:]}")
        same = whole.weights.exists() and stopped.weights.exists() and _equal(whole, stopped)
        found.require(same, "a training that was stopped and resumed has other weights")
        if not setup.quick:
            said = too_large.end(1)
            found.note("out of memory", said)
            one_line = said.startswith("error: out of memory") and "\n" not in said
            found.require(one_line, f"out of memory: {said}")


class Command:
    """``python -m pose.train`` in a process of its own."""

    def __init__(
        self, setup: Setup, folder: Path, name: str, share: float = 1.0, **settings: object
    ) -> None:
        images, epochs = (4, 2) if setup.quick else (16, 8)
        small = {"epochs": epochs, "warmup_epochs": 0, "lr": 0.003, **settings}
        chosen = nets.settings(setup, *nets.of(setup, nets.ORDERS[:1]), images, **small)
        chosen = Experiment.model_validate(chosen.model_dump() | {"dataset": "synthetic"})
        self.name, self.share, self.run_dir = name, share, folder / name
        self.weights, self.log = folder / f"{name}.safetensors", folder / f"{name}.log"
        self.arguments = [
            *("--experiment", chosen.model_dump_json(), "--data-root", str(folder / "data")),
            *("--run-dir", str(self.run_dir), "--weights", str(self.weights)),
            *("--training-log", str(folder / f"{name}.jsonl"), "--device", setup.device.type),
        ]

    def start(self) -> None:
        self.log.unlink(missing_ok=True)
        self.process = context.Process(target=_train, args=(self.arguments, self.log, self.share))
        self.process.start()

    def stop_after_an_epoch(self) -> None:
        waited = time.monotonic() + PATIENCE
        while not self.losses() and self.process.is_alive() and time.monotonic() < waited:
            time.sleep(0.01)
        self.process.terminate()  # nothing where it has ended

    def end(self, status: int) -> str:
        """What it said at its end; that is the failure where it ended in another way."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
        return self.said() if self.process.exitcode == status else f"exit {self.process.exitcode}"

    def said(self) -> str:
        return self.log.read_text().strip() if self.log.exists() else ""

    def losses(self) -> list[float]:
        """The mean loss of each epoch."""
        log = self.run_dir / "performance.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("}")]
        return [round(event["loss"], 6) for event in events if event["event"] == "epoch"]


def _train(arguments: list[str], log: Path, share: float) -> None:
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if share < 1:
        torch.cuda.set_per_process_memory_fraction(share)
    train.main(arguments)


def _equal(one: Command, other: Command) -> bool:
    first, second = read_state_dict(one.weights), read_state_dict(other.weights)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def distribution(setup: Setup, found: Findings) -> None:
    """A step of two chunks: of one process, of a group of one, by NCCL, and of two with one each.

    NCCL takes one process a GPU, so that the two talk by gloo.
    """
    with TemporaryDirectory() as name:
        whole = _shared(setup, _chunked(setup))
        dist.init_process_group(
            "gloo" if setup.quick else "cpu:gloo,cuda:nccl",
            init_method=f"file://{Path(name, 'group')}",
            world_size=1,
            rank=0,
        )
        shared = _shared(setup, _chunked(setup))
        _same(found, "in a group of one", shared, whole)
        off = error(shared.statistics, whole.statistics)
        found.at_most("statistics in a group of one", off, SHARED_STATISTICS)
        dist.destroy_process_group()
        files = [Path(name, f"{rank}.pt") for rank in (0, 1)]
        ranks = [
            context.Process(target=_rank, args=(setup, Path(name, "gloo"), rank, file))
            for rank, file in enumerate(files)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(PATIENCE)
            process.kill()
        there = all(process.exitcode == 0 for process in ranks)
        found.require(there, "two processes on one device do not end well")
        for file in files if there else ():
            shared = nets.Step(**torch.load(file))
            _same(found, file.stem, shared, whole)
            if file is files[0]:  # the statistics that are kept
                off = error(shared.statistics, whole.statistics)
                found.at_most("statistics", off, SHARED_STATISTICS)


def _same(found: Findings, name: str, shared: nets.Step, whole: nets.Step) -> None:
    found.at_most(f"loss {name}", abs(shared.loss / whole.loss - 1), SHARED_LOSS)
    off = error(shared.gradients, whole.gradients)
    found.at_most(f"gradients {name}", off, SHARED_GRADIENTS)


def _chunked(setup: Setup) -> Experiment:
    cut = {"micro_batch": 4, "synchronised_batch_norm": False, "cpu_kernels": False}
    return nets.settings(setup, *nets.of(setup, nets.ORDERS[:1]), 8, **cut)


def _shared(setup: Setup, chosen: Experiment) -> nets.Step:
    """This process's share of a step."""
    crops, number, of = nets.batch(setup, 8), distributed.rank(), distributed.world_size()
    take = nets.stepper(setup, nets.net(chosen.model, False), chosen)
    with arithmetic():
        loss, _ = take({name: values.chunk(of)[number] for name, values in crops.items()}, 0)
    gradients = nets.vector(p.grad for p in take.model.parameters() if p.grad is not None)
    floats = [b for b in take.model.buffers() if b.is_floating_point()]
    return nets.Step(loss.item(), gradients, nets.vector(floats))


def _rank(setup: Setup, store: Path, rank: int, output: Path) -> None:
    if not setup.quick:
        torch.cuda.set_device(setup.device)
    dist.init_process_group("gloo", init_method=f"file://{store}", world_size=2, rank=rank)
    torch.save(vars(_shared(setup, _chunked(setup))), output)
    dist.destroy_process_group()
