"""The commands that users type: torchrun, and a real model killed ten times."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from training_runs import ROOT, small_experiment

pytestmark = pytest.mark.slow

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def start(
    data_root: Path, folder: Path, *launcher: str, workers: int = 0, **train: object
) -> subprocess.Popen:
    command = [sys.executable, *launcher, "-m", "pose.train", "--data-root", data_root]
    command += ["--experiment", small_experiment(**train).model_dump_json(), "--device", "cpu"]
    command += [
        "--run-dir",
        folder / "run",
        "--weights",
        folder / "w",
        "--training-log",
        folder / "l",
    ]
    command += ["--workers", str(workers), "--checkpoint-minutes", "0.02"]
    folder.mkdir(exist_ok=True)
    with (folder / "output.txt").open("a") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def finish(process: subprocess.Popen, folder: Path) -> str:
    status = process.wait(timeout=500)
    output = (folder / "output.txt").read_text()
    assert status == 0, output
    return output


def wait_for_checkpoint(process: subprocess.Popen, folder: Path) -> None:
    while not list((folder / "run").glob("checkpoint-*.pt")):
        assert process.poll() is None, (folder / "output.txt").read_text()
        time.sleep(0.1)


def test_torchrun_trains_a_real_model_as_one_process_does(data_root, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    settings = {"epochs": 1, "warmup_epochs": 0, "synchronised_batch_norm": True, "lr": 1e-4}
    finish(start(data_root, one, **settings), one)
    finish(start(data_root, two, *TORCHRUN, **settings), two)
    logs = [json.loads((folder / "l").read_text()) for folder in (one, two)]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=1e-4)
    assert logs[0]["AP"] == pytest.approx(logs[1]["AP"], abs=1e-3)
    weights = [load_file(folder / "w") for folder in (one, two)]
    # Adam moves even a weight of almost no gradient by the full rate, in a direction that rounding
    # then decides; such weights may differ by twice the rate a step.
    steps = json.loads((one / "run/performance.jsonl").read_text().splitlines()[-1])["step"]
    for name, tensor in weights[0].items():
        if name.endswith(("weight", "bias")):
            torch.testing.assert_close(
                tensor, weights[1][name], rtol=1e-3, atol=2.1e-4 * steps, msg=name
            )


def test_ten_kills_of_a_real_training_change_no_byte(data_root, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    settings = {"workers": 1, "epochs": 5}
    finish(start(data_root, whole, **settings), whole)
    moments = random.Random(1)
    process = start(data_root, killed, **settings)
    wait_for_checkpoint(process, killed)
    process.kill()
    process.wait()
    for _ in range(9):
        process = start(data_root, killed, **settings)
        time.sleep(moments.uniform(5, 12))
        process.kill()
        process.wait()
    output = finish(start(data_root, killed, **settings), killed)
    assert "resumed at" in output
    for name in ("w", "l"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_torchrun_ends_when_one_process_is_killed_and_goes_on_when_started_again(
    data_root, tmp_path
):
    torchrun = start(data_root, tmp_path / "run", *TORCHRUN, epochs=3)
    wait_for_checkpoint(torchrun, tmp_path / "run")
    ranks = [p for p in psutil.Process(torchrun.pid).children() if "pose.train" in p.cmdline()]
    ranks[-1].kill()
    assert torchrun.wait(timeout=120) != 0
    assert not any(rank.is_running() and rank.status() != "zombie" for rank in ranks)
    output = finish(start(data_root, tmp_path / "run", *TORCHRUN, epochs=3), tmp_path / "run")
    assert "resumed at" in output


def test_torchrun_passes_a_signal_on_and_the_training_is_saved(data_root, tmp_path):
    torchrun = start(data_root, tmp_path / "run", *TORCHRUN, epochs=50)
    wait_for_checkpoint(torchrun, tmp_path / "run")
    torchrun.send_signal(signal.SIGTERM)
    assert torchrun.wait(timeout=120) != 0
    assert "stopped by SIGTERM; start again to resume" in (tmp_path / "run/output.txt").read_text()
