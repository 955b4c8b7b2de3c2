"""Train one experiment, resuming by itself: ``python -m pose.train``.

On several GPUs or machines: ``torchrun --nproc-per-node N -m pose.train``, with the same batches
and the same result but for rounding. The run directory holds checkpoints, logs and the best
weights, and survives kills; the outputs are written once, at the end. Random numbers are functions
of (seed, epoch, step, sample), so an interrupted training goes on as if it had not been, on a CPU
to the bit.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pose.support import cli
from pose.support.device import device_name, select_device
from pose.support.errors import command
from pose.support.files import atomic
from pose.support.lock import Lock


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.train", __doc__)
    parser.add_argument("--experiment", required=True, help="JSON text or file")
    parser.add_argument("--data-root", type=Path, required=True, help=cli.DATA_ROOT)
    parser.add_argument("--run-dir", type=cli.output_folder, required=True, help="checkpoints")
    parser.add_argument(
        "--weights", type=cli.output_file(), required=True, help="output: the best epoch's"
    )
    # torchrun takes --log for one of its own options.
    parser.add_argument(
        *("--training-log", "--log"),
        type=cli.output_file(),
        required=True,
        help="output: one JSON line an epoch",
    )
    parser.add_argument(
        "--performance", type=cli.output_file(), help="output: loss, speed and memory"
    )
    parser.add_argument("--device", type=device_name, default="auto", help=cli.DEVICE)
    parser.add_argument(
        "--workers", type=cli.WORKERS, default=0, help="loader processes of each trainer"
    )
    parser.add_argument(
        "--checkpoint-minutes", type=cli.MINUTES, default=10, help="time between two"
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="also log in RUN_DIR/tensorboard"
    )
    parser.add_argument("--wait", action="store_true", help="for another trainer of the same run")
    parser.add_argument(
        "--timeout-minutes", type=cli.MINUTES, default=10, help="for a process that does not answer"
    )
    return parser


cli.answer_early(__name__, command_line)

import torch
from torch import nn

from pose.config import Experiment, read_experiment
from pose.data.dataset import PoseDataset
from pose.data.samples import open_split
from pose.datasets.identity import annotation_hashes
from pose.evaluation.score import check_truth, score
from pose.infer import predict
from pose.models import create_model
from pose.parallel import distributed
from pose.support.allocator import use_expandable_segments
from pose.support.rates import bandwidth
from pose.training.checkpoint import OUTPUTS
from pose.training.faults import faults_in_one_line, less_memory
from pose.training.memory import Need, require_fit
from pose.training.trainer import Trainer
from pose.weights import initialise

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def train(
    experiment: Experiment,
    data_root: Path,
    run_dir: Path,
    device: torch.device,
    workers: int = 0,
    wait: bool = False,
    **options: Any,
) -> None:
    """Train ``experiment`` in ``run_dir``, which one training at a time may hold.

    ``wait``: for another one to end, instead of the PoseError. ``options`` are the Trainer's.
    """
    with run_lock(run_dir, wait):
        train_set = open_split(experiment.dataset, data_root, "train", experiment.input_size)
        val_set = open_split(experiment.dataset, data_root, "val", experiment.input_size)
        check_truth(experiment, data_root, val_set)
        dataset = PoseDataset(
            train_set, experiment.input_size, experiment.augmentation, experiment.seed
        )
        chosen = experiment.model_options
        joints = len(train_set.keypoints)
        build = partial(create_model, experiment.model, joints, **chosen.architecture())
        floor = None
        if device.type == "cuda":
            card = torch.cuda.get_device_properties(device).total_memory
            need = require_memory(experiment, build, card)
            floor = need.traffic / (1e9 * bandwidth(device) * distributed.world_size())
        torch.manual_seed(experiment.seed)
        model = build()
        initialise(model, chosen.init)
        if chosen.head_weight != 1:
            model.start_head(chosen.head_weight)

        def validate(model: nn.Module) -> dict[str, Any]:
            predictions = predict(model, val_set, experiment, device, workers)
            first = distributed.rank() == 0
            metrics = score(experiment, predictions, data_root) if first else None
            return distributed.from_first(metrics)

        annotations = annotation_hashes(experiment.dataset, data_root)
        trainer = Trainer(
            *(experiment, model, dataset, annotations, validate, run_dir, device, workers),
            floor=floor,
            **options,
        )
        for number in SIGNALS:
            signal.signal(number, lambda number, _: setattr(trainer, "stop_signal", number))
        trainer.run()


def require_memory(experiment: Experiment, build: Callable[[], nn.Module], card: int) -> Need:
    """What a step needs; PoseError where a GPU with ``card`` bytes is sure to run out of memory."""
    from pose.training.activations import count  # takes a second to import

    settings = experiment.train
    whole = settings.synchronised_batch_norm
    images = settings.batch_size // distributed.world_size() if whole else settings.chunk_size
    need = count(build, experiment.input_size, settings.precision, images, settings.recompute)
    require_fit(need, settings, images, card)
    return need


@contextmanager
def run_lock(run_dir: Path, wait: bool) -> Iterator[None]:
    """The lock on a run, which the first process holds for all."""
    lock, told = Lock(run_dir / "lock"), False
    while not distributed.from_first(distributed.rank() == 0 and lock.acquire()):
        if not wait:
            raise distributed.error_on_every_rank(
                f"another trainer ({lock.holder()}) holds {run_dir}; wait for it or stop it"
            )
        if not told and distributed.rank() == 0:
            print(f"waiting for another trainer ({lock.holder()}) of {run_dir}", flush=True)
        told = True
        time.sleep(1)
    try:
        yield
    finally:
        lock.release()


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)

    experiment = read_experiment(args.experiment)
    if experiment.train.expandable_segments:
        use_expandable_segments()
    device = select_device(args.device)
    lost = faults_in_one_line(less_memory(experiment.train))
    with lost, distributed.process_group(timedelta(minutes=args.timeout_minutes)):
        train(
            experiment,
            args.data_root,
            args.run_dir,
            device,
            args.workers,
            wait=args.wait,
            checkpoint_minutes=args.checkpoint_minutes,
            tensorboard=args.tensorboard,
        )
        if distributed.rank() == 0:
            outputs = (args.weights, args.training_log, args.performance)
            for source, target in zip(OUTPUTS, outputs, strict=True):
                if target is not None:
                    with atomic(target) as path:
                        shutil.copyfile(args.run_dir / source, path)


if __name__ == "__main__":
    sys.exit(main())
