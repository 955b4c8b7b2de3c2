"""Small trainings for the tests, in this process or in real processes that can be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pose.config import Experiment, experiment
from pose.data.dataset import PoseDataset
from pose.data.samples import open_split
from pose.data.synthetic.render import write_dataset
from pose.data.synthetic.rendered import SyntheticSettings
from pose.datasets.coco import COCO
from pose.datasets.identity import annotation_hashes
from pose.parallel import distributed
from pose.support.errors import command
from pose.train import SIGNALS, run_lock
from pose.training.faults import faults_in_one_line
from pose.training.trainer import Trainer

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")


def people(folder: Path, images: int = 10) -> Path:
    """A data set of rendered people below ``folder``."""
    write_dataset(folder / "data", SyntheticSettings(train_images=images, val_images=3))
    return folder / "data"


class TinyNet(nn.Module):
    """Stride 4, with the batch normalisation and the randomness that resuming must respect."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 4, stride=4, bias=False),
            nn.BatchNorm2d(8),
            nn.Dropout(0.5),
            nn.Conv2d(8, len(COCO), 1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


class Infinite(nn.Module):
    """A net whose heat maps overflow in the first of its forward passes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.passes = model, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        return self.model(images) * (float("inf") if self.passes == 1 else 1)


def small_experiment(**train: object) -> Experiment:
    overrides = {
        "model_options": {"init": "scratch"},
        "train": {"batch_size": 4, "epochs": 2, "warmup_epochs": 1, **train},
    }
    return experiment("eeffpose-p0-order8", "synthetic", (64, 48), "controlled", 0, overrides)


def trainer_command(data_root: Path, folder: Path, *more: str, **train: object) -> list:
    """``python -m pose.train`` of a small experiment."""
    command = [sys.executable, "-m", "pose.train", "--data-root", data_root, "--device", "cpu"]
    command += ["--experiment", small_experiment(**train).model_dump_json()]
    command += ["--run-dir", folder / "run", "--weights", folder / "w", "--log", folder / "l"]
    return [*command, *more]


def tiny_trainer(
    data_root: Path, run_dir: Path, options: dict[str, Any] | None = None, **train: object
) -> Trainer:
    """A trainer of TinyNet whose val score is a function of its weights."""
    settings = small_experiment(**train)
    samples = open_split("synthetic", data_root, "train", settings.input_size)
    dataset = PoseDataset(samples, settings.input_size, settings.augmentation, settings.seed)
    torch.manual_seed(0)
    run_dir.mkdir(parents=True, exist_ok=True)

    def validate(model: nn.Module) -> dict[str, float]:
        return {"AP": model.layers[0].weight.sum().item()}

    annotations = annotation_hashes("synthetic", data_root)
    parts = (settings, TinyNet(), dataset, annotations, validate, run_dir, CPU)
    return Trainer(*parts, **(options or {}))


class Runs:
    """Tiny trainings as real processes: a server that has imported everything forks them."""

    def __init__(self) -> None:
        os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["training_runs"])
        server = self.context.Process(target=os.getpid)  # so that its start counts nowhere
        server.start()
        server.join()
        self.ports: list[socket.socket] = []

    def start(self, *where: Path, processes: int = 1, **arguments: Any) -> list[Any]:
        """Start a training ``(data_root, run_dir)``; ``arguments`` are those of :func:`_train`."""
        self.ports.append(_port())
        port = self.ports[-1].getsockname()[1]
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        started = []
        for rank in range(processes):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            environment = {**address, **place, "OMP_NUM_THREADS": "1"}
            process = self.context.Process(
                target=_train, args=(*where, environment), kwargs=arguments
            )
            process.start()
            started.append(process)
        return started

    def finish(self, *where: Path, processes: int = 1, **arguments: Any) -> list[int]:
        """Run a training to its end; every process's exit status."""
        return statuses(self.start(*where, processes=processes, **arguments))


def statuses(started: list[Any]) -> list[int]:
    for process in started:
        process.join(60)
    return [process.exitcode for process in started]


def _train(
    data_root: Path,
    run_dir: Path,
    environment: dict[str, str],
    timeout: float = 30.0,
    slow_from: int | None = None,
    locked: bool = False,
    wait: bool = False,
    **arguments: Any,
) -> None:
    """``slow_from``: the step from which each one takes a second; ``locked``: hold the run."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    # Both streams into a file, as a shell would put them there.
    file = os.open(f"{run_dir}-{environment['RANK']}.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)

    @command
    def main() -> None:
        with distributed.process_group(timedelta(seconds=timeout)):
            trainer = tiny_trainer(data_root, run_dir, **arguments)
            for number in SIGNALS:
                signal.signal(number, lambda number, _: setattr(trainer, "stop_signal", number))
            step = trainer._step

            def slowly(batch: dict[str, torch.Tensor]) -> None:
                if slow_from is not None and trainer._global_step() >= slow_from:
                    time.sleep(1)
                step(batch)

            trainer._step = slowly
            with faults_in_one_line(""), run_lock(run_dir, wait) if locked else nullcontext():
                trainer.run()

    main()


def _port() -> socket.socket:
    """A port on which the first process may listen, and that the system gives to nobody else."""
    port = socket.socket()
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port.bind(("127.0.0.1", 0))
    return port
