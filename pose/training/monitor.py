"""Loss, speed and memory of a running training: ``performance.jsonl``, TensorBoard, and the ETA.

What two equal trainings share is in ``training.jsonl``; all that differs from one machine and hour
to the next is here, one JSON object a line. Its keys: ``event`` ("steps" for an interval, "epoch"
for the whole of one), ``epoch`` as the logs count it, ``step`` (optimisation steps done since the
start), ``loss`` (mean over the event), ``lr``, ``images_per_second`` and ``step_seconds`` of all
processes together, ``data_wait_share`` (part of the time spent waiting for the loader),
``bandwidth_share`` (of the GPUs' measured memory bandwidth, by the least that a step has to move),
``rss_mb`` (this process and its loader workers, shared pages counted in each), ``gpu_memory_mb``
(most ever allocated; both null without a GPU), ``skipped_steps`` (by fp16, in the event), ``time``
(seconds since 1970). An interval also has ``loss_scale`` (fp16's at its end, else null), an epoch
the val scores, ``seconds`` and ``validation_seconds``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from pose.support.errors import PoseError
from pose.support.files import write_file, writing
from pose.support.packages import package

FILE = "performance.jsonl"
INTERVAL_STEPS = 50
INTERVAL_SECONDS = 10.0
SPEED = ("images_per_second", "step_seconds", "data_wait_share", "bandwidth_share")
MACHINE = ("seconds", "validation_seconds", "rss_mb", "gpu_memory_mb", "time")


class Lap:
    """Steps, time and waiting since it began, until it is stopped."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.stopped: float | None = None
        self.steps = 0
        self.waited = 0.0

    def stop(self) -> None:
        self.stopped = time.perf_counter()

    @property
    def seconds(self) -> float:
        return (self.stopped or time.perf_counter()) - self.began

    def figures(self, batch_size: int, floor: float | None = None) -> dict[str, float | None]:
        """What the lap says about speed; nothing when a resumed epoch had no step left."""
        if not self.steps:
            return dict.fromkeys(SPEED)
        seconds = self.seconds
        rate = self.steps * batch_size / seconds
        return {
            "images_per_second": rate,
            "step_seconds": seconds / self.steps,
            "data_wait_share": self.waited / seconds,
            "bandwidth_share": None if floor is None else floor * rate,
        }


class Monitor:
    """Times a training and, where ``writes``, logs it in ``run_dir``.

    ``floor``: seconds that an image takes at the least, by the bandwidth of the GPUs' memory.
    """

    def __init__(
        self,
        run_dir: Path,
        batch_size: int,
        device: torch.device,
        writes: bool = True,
        tensorboard: bool = False,
        floor: float | None = None,
    ) -> None:
        self.floor = floor
        self.path, self.batch_size, self.device = run_dir / FILE, batch_size, device
        self.writes = writes
        self.board = _board(run_dir / "tensorboard") if tensorboard and writes else None
        self.validation = Lap()
        self.validation.stop()
        self.begin_epoch()

    def resume(self, step: int, history: list[dict[str, Any]]) -> None:
        """Forget what was logged after ``step``, which is to be done again.

        Where the log is lost, the epochs of ``history`` stand in it without time and speed.
        """
        if not self.writes:
            return
        if self.path.exists():
            kept = []
            for line in self.path.read_text(errors="replace").splitlines():
                # Torn by a kill, or damaged.
                with suppress(ValueError, TypeError, KeyError, RecursionError):
                    kept += [line] if json.loads(line)["step"] <= step else []
        else:
            unknown = dict.fromkeys((*SPEED, *MACHINE))
            kept = [json.dumps({"event": "epoch", **entry, **unknown}) for entry in history]
        write_file(self.path, "".join(f"{line}\n" for line in kept))

    def begin_epoch(self) -> None:
        self.epoch_lap, self.lap = Lap(), Lap()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wrap what fetches a batch; counts a step."""
        began = time.perf_counter()
        yield
        waited = time.perf_counter() - began
        for lap in (self.epoch_lap, self.lap):
            lap.steps += 1
            lap.waited += waited

    def due(self) -> bool:
        """Whether the interval is over."""
        return self.lap.steps >= INTERVAL_STEPS or self.lap.seconds >= INTERVAL_SECONDS

    def end_interval(self, **facts: Any) -> dict[str, Any]:
        """Log the interval, and return its figures of speed."""
        figures = self.lap.figures(self.batch_size, self.floor)
        self._write({"event": "steps", **facts, **figures})
        self.lap = Lap()
        return figures

    def begin_validation(self) -> None:
        self.epoch_lap.stop()
        self.validation = Lap()

    def end_epoch(self, **facts: Any) -> dict[str, Any]:
        """Log the epoch, and return its figures of speed."""
        self.validation.stop()
        figures = self.epoch_lap.figures(self.batch_size, self.floor)
        seconds = {
            "seconds": self.epoch_lap.seconds,
            "validation_seconds": self.validation.seconds,
        }
        self._write({"event": "epoch", **facts, **figures, **seconds})
        return figures

    def left(self, steps: int, epochs: int) -> str:
        """How long the remaining ``steps`` and the validations of ``epochs`` will take."""
        per_step = self.epoch_lap.seconds / max(1, self.epoch_lap.steps)
        return span(steps * per_step + epochs * self.validation.seconds)

    def _write(self, record: dict[str, Any]) -> None:
        if not self.writes:
            return
        record |= {**_memory(self.device), "time": time.time()}
        with writing(self.path), self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self.board is not None:
            with writing(self.path.parent / "tensorboard"):
                for key, value in record.items():
                    if isinstance(value, int | float) and key not in ("step", "time"):
                        self.board.add_scalar(f"{record['event']}/{key}", value, record["step"])


def span(seconds: float) -> str:
    """``"3 d 4 h"``, ``"2 h 05 min"`` or ``"4 min"``."""
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def _memory(device: torch.device) -> dict[str, float | None]:
    psutil = package("psutil")
    process = psutil.Process()
    resident = process.memory_info().rss
    for worker in process.children(recursive=True):
        with suppress(psutil.Error):  # it may just have ended
            resident += worker.memory_info().rss
    on_gpu = device.type == "cuda"
    return {
        "rss_mb": resident / 2**20,
        "gpu_memory_mb": torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None,
    }


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise PoseError(
            "--tensorboard needs the package tensorboard; pip install tensorboard"
        ) from None
    with writing(folder):
        return SummaryWriter(str(folder))
