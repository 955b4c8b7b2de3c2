"""Trainings survive the death of the trainer and of Snakemake."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from training_runs import ROOT

pytestmark = pytest.mark.slow

SEED = "results/miniature/eeffpose-p0-order1/seed0"
OUTPUTS = [f"{SEED}/weights.safetensors", f"{SEED}/training.jsonl"]
TRAINING = "{model_options: {init: scratch}, train: {batch_size: 4, epochs: 8, warmup_epochs: 0}}"


def checkout(folder: Path) -> Path:
    folder.mkdir()
    for part in ("Snakefile", "analysis", "config", "pose", "profiles", "workflow"):
        (folder / part).symlink_to(ROOT / part)
    return folder


def start(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *OUTPUTS]
    command += ["--configfile", "config/miniature.yaml", "--config", f"overrides={TRAINING}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    with (folder / "output.txt").open("a") as output:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )


def trainer(folder: Path) -> psutil.Process:
    """The trainer of ``folder``, once it has a checkpoint."""
    for _ in range(1200):
        locks = list(folder.glob("runs/*/seed0/*/lock"))
        if locks and list(locks[0].parent.glob("checkpoint-*.pt")):
            return psutil.Process(int(re.search(r"process (\d+)", locks[0].read_text())[1]))
        time.sleep(0.1)
    raise AssertionError((folder / "output.txt").read_text())


def finish(snakemake: subprocess.Popen, folder: Path) -> str:
    status = snakemake.wait(timeout=400)
    output = (folder / "output.txt").read_text()
    assert status == 0, output
    return output


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list[bytes]:
    folder = checkout(tmp_path_factory.mktemp("workflow") / "whole")
    finish(start(folder), folder)
    return [(folder / name).read_bytes() for name in OUTPUTS]


def test_a_killed_trainer_is_started_again_and_loses_nothing(tmp_path, whole):
    folder = checkout(tmp_path / "checkout")
    snakemake = start(folder)
    trainer(folder).kill()
    assert "resumed at" in finish(snakemake, folder)
    assert [(folder / name).read_bytes() for name in OUTPUTS] == whole


def test_after_snakemake_is_killed_the_same_command_goes_on(tmp_path, whole):
    folder = checkout(tmp_path / "checkout")
    snakemake = start(folder)
    orphan = trainer(folder)
    snakemake.kill()
    snakemake.wait()
    assert orphan.is_running()
    output = finish(start(folder), folder)
    assert "resumed at" in output
    assert [(folder / name).read_bytes() for name in OUTPUTS] == whole


def test_after_both_are_killed_the_same_command_goes_on(tmp_path, whole):
    folder = checkout(tmp_path / "checkout")
    snakemake = start(folder)
    process = trainer(folder)
    snakemake.send_signal(signal.SIGKILL)
    process.kill()
    snakemake.wait()
    assert "resumed at" in finish(start(folder), folder)
    assert [(folder / name).read_bytes() for name in OUTPUTS] == whole
