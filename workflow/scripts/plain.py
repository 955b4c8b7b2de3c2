"""Work off a config without Snakemake: ``python workflow/scripts/plain.py CONFIG --archive FILE``.

For rendered people, on a machine with PyTorch and little else: several trainings at a time on one
card, each then predicted and scored while the next ones train. Results lie where the workflow puts
them; the archive holds logs, scores, the annotations, and of the weights what they tell of
themselves. A run that has its scores is left alone.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Semaphore

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pose.config import Experiment
from pose.datasets import dataset_of
from pose.datasets.identity import data_hash, run_identity
from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.files import atomic, read_text
from pose.weights.about import ALONE, read_plain
from workflow.current import about
from workflow.runs import Run, scoring
from workflow.scripts.launch import workers
from workflow.settings import Config, read, require_single_keys

WEIGHTS = "weights.safetensors"


def run(folder: Path, log: str, module: str, *arguments: object) -> None:
    """Run a command of ours; PoseError with its last line, or what killed it, where it fails."""
    file = folder / f"{log}.log"
    with file.open("w") as output:
        command_line = [sys.executable, "-m", module, *map(str, arguments)]
        status = subprocess.run(command_line, stdout=output, stderr=output).returncode
    if status:
        last = (read_text(file).splitlines() or [f"exit status {status}"])[-1]
        if status < 0:  # then its last line is of its progress
            last = f"killed by {signal.Signals(-status).name}"
        raise PoseError(f"{folder}, {log}: {last.removeprefix('error: ')}")


def scored(metrics: Path, experiment: Experiment, data_root: Path) -> bool:
    """Whether the scores of the training are there; PoseError for those of another one."""
    if not metrics.exists():
        return False
    identity = run_identity(experiment, data_hash(experiment.dataset, data_root))
    if about(metrics).get("made_from", {}).get("experiment") != identity:
        raise PoseError(f"{metrics} is not of this config's training: move {metrics.parent} away")
    return True


def work_off(
    model: str,
    seed: int,
    config: Config,
    folder: Path,
    loaders: int,
    may_begin: Callable[[], bool],
    card: Semaphore,
) -> str:
    """Train, predict and score one run and seed; its failure, if any.

    It waits for its place on the ``card`` to train, and does nothing if it ``may_begin`` no more.
    """
    chosen = Run(model, config)
    experiment = chosen.experiment(seed)
    folder.mkdir(parents=True, exist_ok=True)
    metrics, weights = folder / "metrics_gt.json", folder / WEIGHTS
    device = ("--device", config.device, "--workers", loaders)
    shared = ("--experiment", experiment.model_dump_json(), "--data-root", chosen.root)
    run_dir = Path("runs", config.name, model, f"seed{seed}")
    outputs = ("--weights", weights, "--training-log", folder / "training.jsonl")
    outputs += ("--performance", folder / "performance.jsonl", "--run-dir", run_dir)
    predictions = folder / "predictions_gt.npz"
    found = ("--predictions", predictions, "--output", metrics)
    try:
        if not scored(metrics, experiment, chosen.root):
            with card:
                if not may_begin():
                    print(f"{folder}: not begun", flush=True)
                    return ""
                run(folder, "train", "pose.train", *shared, *outputs, *device)
            infer = ("--weights", weights, "--output", predictions)
            run(folder, "infer", "pose.infer", *shared, *infer, *device)
            labels = scoring(experiment, chosen.root, seed, "gt")
            run(folder, "evaluate", "pose.evaluate", *labels, *found)
    except PoseError as error:
        return str(error)
    print(f"{folder}: done", flush=True)
    return ""


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--at-once", type=cli.whole(1, 64), default=1, help="trainings on the card")
    parser.add_argument("--cores", type=cli.whole(1, 1024), default=8)
    parser.add_argument(
        "--begin-within",
        type=cli.whole(1, 10**6),
        default=10**6,
        metavar="SECONDS",
        help="after that no training begins, seed by seed; default: all do",
    )
    parser.add_argument("--archive", type=cli.output_file(".gz"), required=True)
    args = parser.parse_args(argv)
    until = time.monotonic() + args.begin_within

    # More threads than cores would wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, args.cores // args.at_once // 2)))
    require_single_keys(args.config)
    config, *more = read(yaml.safe_load(read_text(args.config)))
    if more or not dataset_of(config.dataset).is_rendered:
        raise PoseError(f"{args.config} is not of rendered people alone: give it to snakemake")
    results = Path("results", config.name)
    results.mkdir(parents=True, exist_ok=True)
    settings = config.synthetic.model_dump_json()
    rendering = ("--output", config.data_root, "--settings", settings)
    run(results, "rendered", "pose.data.synthetic", *rendering)
    loaders = workers(args.cores // args.at_once, int(config.device == "cuda"))
    card, interrupted = Semaphore(args.at_once), Event()

    def may_begin() -> bool:
        return time.monotonic() <= until and not interrupted.is_set()

    with ThreadPoolExecutor(2 * args.at_once) as pool:
        try:
            started = [
                pool.submit(
                    *(work_off, model, seed, config, results / model / f"seed{seed}"),
                    *(loaders, may_begin, card),
                )
                for seed in config.seeds
                for model in config.models
            ]
            failures = [failure for job in started if (failure := job.result())]
        except KeyboardInterrupt:  # which the trainings got as well: they save and stop
            interrupted.set()
            raise
    with atomic(args.archive) as path, tarfile.open(path, "w:gz") as archive:
        archive.add(results, filter=lambda file: None if _left_out(file.name) else file)
        archive.add(Path(config.data_root, "annotations"))
        for weights in sorted(results.glob(f"*/seed*/{WEIGHTS}")):
            # Under another name: where the weights are, unpacking must not replace them.
            _add(archive, weights.with_name(ALONE), json.dumps(read_plain(weights)).encode())
    if failures:
        raise PoseError("; ".join(failures))


def _left_out(name: str) -> bool:
    return Path(name).name in (WEIGHTS, "data")


def _add(archive: tarfile.TarFile, path: Path, content: bytes) -> None:
    entry = tarfile.TarInfo(str(path))
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    main()
