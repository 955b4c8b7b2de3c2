"""The training loop: epochs of steps, validated, logged, and resumable, on a CPU to the bit."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pose.config import Experiment
from pose.data.dataset import PoseDataset
from pose.data.loader import EpochBatches, training_loader
from pose.datasets import dataset_of
from pose.datasets.identity import differences, science
from pose.kernels.mbconv import accelerate
from pose.parallel import distributed
from pose.support.device import arithmetic, hardware
from pose.support.files import atomic
from pose.support.fingerprint import code_of
from pose.support.progress import progress_bar
from pose.training import best, checkpoint, record
from pose.training.faults import out_of_memory
from pose.training.monitor import Monitor
from pose.training.optimizer import create_optimizer
from pose.training.position import Losses, Position, SpoiltError
from pose.training.schedule import Schedule
from pose.training.step import Stepper

WORTH_SAVING = 60.0
"""Seconds of work that are saved before validation starts."""


class Trainer:
    """One training in one run directory, by one process or by this one among several.

    ``annotations`` are those of :mod:`pose.datasets.identity`; ``validate(model)`` gives the val
    split's metrics. Losses stay on the device, so that no step waits for it; they are read when the
    interval of the log is over, and before every checkpoint. ``floor``: :class:`Monitor`'s.
    """

    def __init__(
        self,
        experiment: Experiment,
        model: nn.Module,
        dataset: PoseDataset,
        annotations: dict[str, str],
        validate: Callable[[nn.Module], dict[str, Any]],
        run_dir: Path,
        device: torch.device,
        workers: int = 0,
        checkpoint_minutes: float = 10,
        tensorboard: bool = False,
        floor: float | None = None,
    ) -> None:
        settings = experiment.train
        rank, world_size = distributed.rank(), distributed.world_size()
        memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.experiment, self.run_dir, self.device = experiment, run_dir, device
        self.dataset, self.validate = dataset, validate
        self.model = model.to(device, memory_format=memory_format)
        if settings.cpu_kernels:
            accelerate(self.model)
        chunk = settings.chunk_size if settings.micro_batch else 1
        self.batches = EpochBatches(
            len(dataset), settings.batch_size, experiment.seed, rank, world_size, chunk
        )
        self.optimizer = create_optimizer(self.model, settings)
        self.take_step = Stepper(self.model, self.optimizer, experiment, device)
        self.scaler = self.take_step.scaler
        self.loader = training_loader(dataset, self.batches, workers, device)
        self.schedule = Schedule(self.optimizer, settings, len(self.batches))
        self.monitor = Monitor(run_dir, settings.batch_size, device, rank == 0, tensorboard, floor)
        self.identity = {**science(experiment), "data": annotations}
        self.codes = [code_of("pose.train", experiment.model, experiment.dataset).fingerprint]
        self.versions = checkpoint.versions(self.codes[-1], settings, device)
        self.epochs = settings.warmup_epochs + settings.epochs
        self.checkpoint_seconds = 60 * checkpoint_minutes
        self.saved = time.monotonic()
        self.position = Position()
        self.history: list[dict[str, Any]] = []
        self.best = float("-inf")
        self.losses = Losses(self.scaler.is_enabled(), self.scaler.get_scale())
        self.stop_signal: int | None = None

    def run(self) -> None:
        """Train from the newest checkpoint, or from the start, to the last epoch.

        Raises PoseError for a folder with another training, and one with other programs' files.
        """
        self._resume()
        settings = self.experiment.train
        tf32 = settings.precision == "tf32"
        while self.position.epoch < self.epochs:
            with arithmetic(tf32, settings.cudnn_benchmark, settings.deterministic):
                self._train_epoch()
            self._end_epoch()
        del self.loader  # ends its workers; PyTorch 2.11 waits for each of them 5 s at its exit
        self._write_history()
        self._sign_best()

    def _train_epoch(self) -> None:
        position = self.position
        self.dataset.set_epoch(position.epoch)
        self.batches.epoch, self.batches.start = position.epoch, position.step
        self.model.train()
        self.monitor.begin_epoch()
        size, count = self.batches.batch_size, len(self.batches)
        shown = distributed.rank() == 0
        with progress_bar(f"{self._name()} {self._number()}", count * size, shown) as advance:
            advance(position.step * size)
            batches = iter(self.loader)
            while position.step < count:
                with self.monitor.waiting():
                    batch = next(batches)
                self._step(batch)
                position.step += 1
                self._attend(lambda note: advance(0, note))
                advance(size)
        if self.losses.unread:
            self._log_interval()
        if any(distributed.largest(self._unsaved() > WORTH_SAVING)):
            self._checkpoint()  # so that a kill during validation loses nothing

    def _step(self, batch: dict[str, Tensor]) -> None:
        step = self._global_step()
        rate = self.schedule.before_step(step)
        self.losses.add(self.position.step, rate, *self.take_step(batch, step))

    def _attend(self, show: Callable[[str], None]) -> None:
        """Between two steps: log, checkpoint and stop where it is time, all processes alike."""
        overdue = self._unsaved() > self.checkpoint_seconds
        log, save, stop = distributed.largest(self.monitor.due(), overdue, self.stop_signal or 0)
        if log or save or stop:
            show(self._log_interval())
        if save or stop:
            self._checkpoint()
        if stop:
            name = signal.Signals(stop).name
            raise distributed.error_on_every_rank(
                f"{self._name()}: stopped by {name}; start again to resume"
            )

    def _log_interval(self) -> str:
        skipped = self.position.skipped
        losses = self._read_losses()
        done, count = self.position.step, len(self.batches)
        figures = self.monitor.end_interval(
            epoch=self._number(),
            step=self._global_step(),
            loss=sum(losses) / len(losses) if losses else None,
            lr=self.optimizer.param_groups[0]["lr"],
            loss_scale=self.losses.scale if self.losses.scaled else None,
            skipped_steps=self.position.skipped - skipped,
        )
        epochs = self.epochs - self.position.epoch
        left = self.monitor.left(epochs * count - done, epochs)
        speed = figures["images_per_second"]
        return f"loss {self.position.loss:.5f}  {speed:.1f} img/s  {left} left in all"

    def _read_losses(self) -> list[float]:
        try:
            return self.losses.read(self.position)
        except SpoiltError as error:
            raise self._failure(
                f"{error} in epoch {self._number()}, step {error.step}, learning rate"
                f" {error.rate:g}, samples {self.batches.batch(error.step)}; lower train.lr or use"
                " fp32"
            ) from None

    def _failure(self, message: str) -> BaseException:
        """The error to raise where the numbers are spoilt; noted, as it would come again."""
        if distributed.rank() == 0:
            record.note_failure(self.run_dir, message)
        return distributed.error_on_every_rank(
            f"{self._name()}: {message}; {checkpoint.last_good(self.run_dir)}"
        )

    def _end_epoch(self) -> None:
        position, metric = self.position, dataset_of(self.experiment.dataset).metric
        if position.infinite == position.step:
            raise self._failure(f"no loss of epoch {self._number()} is finite; use fp32")
        self.monitor.begin_validation()
        distributed.share(self.model.buffers())
        metrics = self.validate(self.model)
        entry = {
            "epoch": self._number(),
            "lr": self.optimizer.param_groups[0]["lr"],  # the last step's
            "loss": position.loss,
            **metrics,
        }
        self.history.append(entry)
        figures = self.monitor.end_epoch(
            step=self._global_step(), **entry, skipped_steps=position.skipped
        )
        self.schedule.after_epoch(metrics[metric])
        if metrics[metric] >= self.best:  # ties go to the later epoch, as released
            self.best = metrics[metric]
            self._write_best()
        self.position = Position(epoch=position.epoch + 1)
        self._checkpoint()
        self._write_history()
        if distributed.rank() == 0:
            done, epochs = len(self.history), self.epochs - len(self.history)
            speed = figures["images_per_second"]
            print(
                f"{self._name()}  epoch {done}/{self.epochs}  loss {entry['loss']:.5f}"
                f"  {metric} {metrics[metric]:.3f}  lr {entry['lr']:.2g}"
                + (f"  {speed:.1f} img/s" if speed else "")
                + f"  {self.monitor.left(epochs * len(self.batches), epochs)} left",
                flush=True,
            )

    def _write_best(self) -> None:
        if distributed.rank() == 0:
            samples = self.dataset.samples
            best.write_best(self.run_dir, self.model, self.experiment, samples, self._origin())

    def _sign_best(self) -> None:
        """Note codes that went on with the training, but found no better epoch, with its best."""
        if len(self.codes) > 1 and best.is_whole(self.run_dir, self.model, self._origin()):
            self._write_best()

    def _origin(self) -> dict[str, Any]:
        origin = record.origin(self.experiment, self.identity["data"], self.codes)
        return origin | {"device": hardware(self.device), "versions": self.versions}

    def _write_history(self) -> None:
        if distributed.rank() == 0:
            with atomic(self.run_dir / "training.jsonl") as path:
                path.write_text("".join(json.dumps(entry) + "\n" for entry in self.history))

    def _checkpoint(self) -> None:
        """Save, once the losses of all steps so far have been read."""
        distributed.share(self.model.buffers())
        self._check_weights()
        self.saved = time.monotonic()
        if distributed.rank() == 0:
            state = {
                "identity": self.identity,
                "codes": self.codes,
                "versions": self.versions,
                "position": vars(self.position),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "schedule": self.schedule.state_dict(),
                "history": self.history,
                "best": self.best,
            }
            checkpoint.save(self.run_dir, self._global_step(), state)
            self._write_record()
        distributed.wait()

    def _write_record(self) -> None:
        record.write(self.run_dir, self._origin(), self.position.epoch, self.epochs)

    def _unsaved(self) -> float:
        """Seconds of work that a kill would lose."""
        return time.monotonic() - self.saved

    def _check_weights(self) -> None:
        """A last step can have spoilt the weights though its own loss was still finite."""
        for name, tensor in self.model.state_dict().items():
            if not tensor.isfinite().all():
                raise self._failure(
                    f"{name} is not finite after epoch {self._number()}, step"
                    f" {self.position.step}; lower train.lr or use fp32"
                )

    def _resume(self) -> None:
        """Go on from the newest checkpoint of this training, if there is one."""
        kept = distributed.by_first(self._own_checkpoints)
        distributed.share(self.model.state_dict().values())
        if not kept:
            return
        state = self._load(kept[0])
        self.history, self.best = state["history"], state["best"]
        self._restore(kept[0], state)
        if self.best > float("-inf"):
            distributed.by_first(partial(self._restore_best, kept))
            self.model.load_state_dict(state["model"])  # it may hold the best epoch's
        goes_on = self.position.epoch < self.epochs and state["codes"][-1:] != self.codes
        self.codes = state["codes"] + (self.codes if goes_on else [])
        count = len(self.batches)
        epochs = [entry | {"step": n * count} for n, entry in enumerate(self.history, 1)]
        self.monitor.resume(self._global_step(), epochs)
        if distributed.rank() == 0:
            self._tell_resumed(state["versions"])

    def _own_checkpoints(self) -> list[Path]:
        """The whole ones; where there is none yet, the folder is marked as this training's."""
        checkpoint.require_ours(self.run_dir)
        checkpoint.clear_partial(self.run_dir)
        kept = checkpoint.whole(self.run_dir)
        if not kept:
            self._write_record()
            self.monitor.resume(0, [])
        return kept

    def _load(self, path: Path) -> dict[str, Any]:
        state = checkpoint.load(path, self.device)
        if differing := differences(state["identity"], self.identity):
            raise distributed.error_on_every_rank(
                f"{self.run_dir} holds another training's run ({'; '.join(differing)}); choose"
                " another folder"
            )
        return state

    def _restore(self, path: Path, state: dict[str, Any]) -> None:
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.schedule.load_state_dict(state["schedule"])
            self.position = Position(**state["position"])
            self.losses.scale = self.scaler.get_scale()
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            if out_of_memory(error):
                raise
            reason = " ".join(str(error).split())
            raise distributed.error_on_every_rank(
                f"{path} does not fit the present code: {reason}; choose another folder to train"
                " again"
            ) from None

    def _restore_best(self, kept: list[Path]) -> None:
        """Write the best epoch's weights again where they are lost and a checkpoint holds them."""
        if best.is_whole(self.run_dir, self.model, self._origin()):
            return
        metric = dataset_of(self.experiment.dataset).metric
        entry = [entry for entry in self.history if entry[metric] == self.best][-1]
        state = best.lost_state(self.run_dir, kept, entry, self.device)
        self.model.load_state_dict(state["model"])
        self._write_best()
        print(f"{self.run_dir / best.FILE} was missing or damaged: made again", file=sys.stderr)

    def _tell_resumed(self, versions: dict[str, str]) -> None:
        where = f"epoch {self._number()}, step {self.position.step}"
        print(f"{self._name()}  resumed at {where}", flush=True)
        if failure := record.failure(self.run_dir):
            print(
                f"this training has stopped before: {failure}. With the same settings it does the"
                " same steps again",
                file=sys.stderr,
            )
        changed = differences(versions, self.versions)
        if changed:
            print(
                f"the checkpoint is of other versions ({'; '.join(changed)}): the training goes"
                " on, but may not end with the same bits",
                file=sys.stderr,
            )

    def _global_step(self) -> int:
        return self.position.epoch * len(self.batches) + self.position.step

    def _number(self) -> int:
        """The present epoch as the logs count it: warm-up epochs are negative."""
        return self.position.epoch - self.experiment.train.warmup_epochs

    def _name(self) -> str:
        return f"{self.experiment.model} seed {self.experiment.seed}"
