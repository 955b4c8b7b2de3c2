"""Train one experiment, resuming by itself: ``python -m pose.train``.

The run directory holds checkpoints, the epoch log and the best weights, and survives kills; the
outputs are written once, at the end. Random numbers are functions of (seed, epoch, step, sample),
so an interrupted training goes on as if it had not been.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import save_file
from torch import nn

from pose.config import Experiment, read_experiment
from pose.data.dataset import PoseDataset
from pose.data.samples import open_split
from pose.device import select_device
from pose.errors import PoseError, command
from pose.evaluation.score import SCORE, score
from pose.files import atomic
from pose.infer import predict
from pose.models import create_model
from pose.progress import progress_bar
from pose.training import checkpoint
from pose.training.loader import EpochBatches, training_loader
from pose.training.schedule import Schedule
from pose.training.step import batch_loss


@dataclass
class Position:
    """How far a training has come: finished epochs, warm-up included, and steps into the next."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0


class Trainer:
    """One training in one run directory. ``validate(model)`` gives the val split's metrics."""

    def __init__(
        self,
        experiment: Experiment,
        model: nn.Module,
        dataset: PoseDataset,
        validate: Callable[[nn.Module], dict[str, Any]],
        run_dir: Path,
        device: torch.device,
        workers: int = 0,
    ) -> None:
        settings = experiment.train
        memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.experiment, self.run_dir, self.device = experiment, run_dir, device
        self.dataset, self.validate = dataset, validate
        self.model = model.to(device, memory_format=memory_format)
        self.step_model = torch.compile(self.model) if settings.compile else self.model
        self.optimizer = torch.optim.Adam(model.parameters(), settings.lr, fused=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.batches = EpochBatches(len(dataset), settings.batch_size, experiment.seed)
        self.loader = training_loader(dataset, self.batches, workers)
        self.schedule = Schedule(self.optimizer, settings, len(self.batches))
        self.epochs = settings.warmup_epochs + settings.epochs
        self.position = Position()
        self.history: list[dict[str, Any]] = []
        self.best = float("-inf")
        self.stop_signal: int | None = None

    def run(self) -> None:
        """Train from the newest checkpoint, or from the start, to the last epoch."""
        self._resume()
        while self.position.epoch < self.epochs:
            self._train_epoch()
            self._end_epoch()

    def _train_epoch(self) -> None:
        position, started = self.position, time.perf_counter() - self.position.seconds
        self.dataset.set_epoch(position.epoch)
        self.batches.epoch, self.batches.start = position.epoch, position.step
        self.model.train()
        size = self.experiment.train.batch_size
        with progress_bar(f"{self._name()} {self._number()}", len(self.batches) * size) as advance:
            advance(position.step * size)
            for batch in self.loader:
                position.loss_sum += self._step(batch)
                position.step += 1
                position.seconds = time.perf_counter() - started
                speed = position.step * size / position.seconds
                advance(size, f"loss {position.loss_sum / position.step:.5f}  {speed:.1f} img/s")
                if self.stop_signal is not None:
                    self._checkpoint()
                    name = signal.Signals(self.stop_signal).name
                    raise PoseError(f"{self._name()}: stopped by {name}; start again to resume")

    def _step(self, batch: dict[str, torch.Tensor]) -> float:
        step = self._global_step()
        rate = self.schedule.before_step(step)
        loss = batch_loss(self.step_model, batch, self.experiment, step, self.device)
        if not loss.isfinite():
            raise PoseError(
                f"{self._name()}: loss is {loss.item()} in epoch {self._number()}, step"
                f" {self.position.step}, learning rate {rate:g}, samples"
                f" {batch['index'].tolist()}; lower train.lr or use fp32 (resumes from the last"
                f" checkpoint in {self.run_dir})"
            )
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.item()

    def _end_epoch(self) -> None:
        position, metric = self.position, SCORE[self.experiment.dataset]
        started = time.perf_counter()
        metrics = self.validate(self.model)
        record = {
            "epoch": self._number(),
            "lr": self.optimizer.param_groups[0]["lr"],  # the last step's
            "loss": position.loss_sum / position.step,
            **metrics,
            "images_per_second": len(self.batches) * self.batches.batch_size / position.seconds,
            "seconds": position.seconds,
            "validation_seconds": time.perf_counter() - started,
        }
        self.history.append(record)
        self.schedule.after_epoch(metrics[metric])
        if metrics[metric] >= self.best:  # ties go to the later epoch, as released
            self.best = metrics[metric]
            tensors = {k: v.contiguous() for k, v in self.model.state_dict().items()}
            about = {"model": self.experiment.model, "epoch": str(self._number())}
            with atomic(self.run_dir / "best.safetensors") as path:
                save_file(tensors, path, about)
        self.position = Position(epoch=position.epoch + 1)
        self._checkpoint()
        with atomic(self.run_dir / "training.jsonl") as path:
            path.write_text("".join(json.dumps(entry) + "\n" for entry in self.history))
        done = len(self.history)
        left = sum(e["seconds"] + e["validation_seconds"] for e in self.history) / done
        print(
            f"{self._name()}  epoch {done}/{self.epochs}  loss {record['loss']:.5f}"
            f"  {metric} {metrics[metric]:.3f}  lr {record['lr']:.2g}"
            f"  {record['images_per_second']:.1f} img/s"
            f"  {left * (self.epochs - done) / 60:.1f} min left",
            flush=True,
        )

    def _checkpoint(self) -> None:
        state = {
            "experiment": self.experiment.model_dump_json(),
            "position": vars(self.position),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
            "best": self.best,
        }
        checkpoint.save(self.run_dir, self._global_step(), state)

    def _resume(self) -> None:
        state = checkpoint.load_latest(self.run_dir, self.device)
        if state is None:
            return
        if state["experiment"] != self.experiment.model_dump_json():
            raise PoseError(f"{self.run_dir} holds another experiment's run; choose another folder")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.schedule.load_state_dict(state["schedule"])
        self.position = Position(**state["position"])
        self.history, self.best = state["history"], state["best"]
        print(f"{self._name()}  resumed at epoch {self._number()}, step {self.position.step}")

    def _global_step(self) -> int:
        return self.position.epoch * len(self.batches) + self.position.step

    def _number(self) -> int:
        """The present epoch as the logs count it: warm-up epochs are negative."""
        return self.position.epoch - self.experiment.train.warmup_epochs

    def _name(self) -> str:
        return f"{self.experiment.model} seed {self.experiment.seed}"


def train(
    experiment: Experiment,
    data_root: Path,
    run_dir: Path,
    device: torch.device,
    workers: int = 0,
) -> None:
    """Train ``experiment`` in ``run_dir``, which one process at a time may hold."""
    train_set = open_split(experiment.dataset, data_root, "train", experiment.input_size)
    val_set = open_split(experiment.dataset, data_root, "val", experiment.input_size)
    dataset = PoseDataset(
        train_set, experiment.input_size, experiment.augmentation, experiment.seed
    )
    torch.manual_seed(experiment.seed)
    options = experiment.model_options.model_dump()
    model = create_model(experiment.model, len(train_set.keypoints), **options)

    def validate(model: nn.Module) -> dict[str, Any]:
        predictions = predict(model, val_set, experiment, device, workers)
        return score(experiment, predictions, data_root)

    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run_dir / "lock", timeout=0):
            trainer = Trainer(experiment, model, dataset, validate, run_dir, device, workers)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                signal.signal(number, lambda number, _: setattr(trainer, "stop_signal", number))
            trainer.run()
    except Timeout:
        raise PoseError(f"another trainer holds {run_dir}; wait for it or stop it") from None


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True, help="JSON text or file")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="output: the best epoch's")
    parser.add_argument("--log", type=Path, required=True, help="output: one JSON line an epoch")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()

    experiment = read_experiment(args.experiment)
    train(experiment, args.data_root, args.run_dir, select_device(args.device), args.workers)
    for source, target in (("best.safetensors", args.weights), ("training.jsonl", args.log)):
        with atomic(target) as path:
            shutil.copyfile(args.run_dir / source, path)


if __name__ == "__main__":
    sys.exit(main())
