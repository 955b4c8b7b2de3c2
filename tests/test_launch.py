"""Jobs that share a machine's GPUs each get their own."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from training_runs import ROOT

from workflow.scripts.launch import devices

LAUNCH = ROOT / "workflow/scripts/launch.py"
PROBE = """
import json, os, sys, time
out, seconds = sys.argv[1], float(sys.argv[2])
facts = {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "rank": os.environ.get("RANK")}
name = f"{out}-{facts['rank']}"
open(name + ".part", "w").write(json.dumps(facts))
os.rename(name + ".part", name)
time.sleep(seconds)
"""


@pytest.fixture
def launch(tmp_path):
    (tmp_path / "probe.py").write_text(PROBE)
    started = []

    def start(gpus: int, name: str, seconds: float, **environment: str) -> subprocess.Popen:
        paths = {"PYTHONPATH": str(tmp_path), "POSE_GPU_LOCKS": str(tmp_path / "locks")}
        process = subprocess.Popen(
            [sys.executable, LAUNCH, str(gpus), "probe", str(tmp_path / name), str(seconds)],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "0,1,2", **paths, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def gpus(tmp_path: Path, name: str, rank: int | None = None) -> str:
    file = tmp_path / f"{name}-{rank}"
    for _ in range(600):
        if file.exists():
            return json.loads(file.read_text())["gpus"]
        time.sleep(0.05)
    raise AssertionError(f"{file} did not come")


def test_jobs_at_the_same_time_get_different_gpus_and_a_killed_one_gives_its_own_back(
    launch, tmp_path
):
    first = launch(1, "a", 60)
    assert gpus(tmp_path, "a") == "0"
    launch(1, "b", 60)
    assert gpus(tmp_path, "b") == "1"
    first.kill()
    first.wait()
    launch(1, "c", 60)
    assert gpus(tmp_path, "c") == "0"


def test_a_job_waits_for_as_many_gpus_as_it_needs(launch, tmp_path):
    first = launch(2, "rank", 60)
    assert [gpus(tmp_path, "rank", rank) for rank in (0, 1)] == ["0,1", "0,1"]
    second = launch(2, "late", 0)
    assert second.stdout.readline() == "waiting for 2 free GPUs of 0, 1, 2\n"
    first.terminate()
    first.wait()
    assert second.wait() == 0
    assert gpus(tmp_path, "late", rank=0) == "0,1"


def test_more_gpus_than_there_are_is_refused(launch):
    _, errors = launch(4, "x", 0).communicate()
    assert errors == "error: 4 GPUs were asked for but this machine has 3\n"


def test_slurms_choice_of_gpus_is_left_alone(launch, tmp_path):
    assert launch(1, "s", 0, SLURM_JOB_ID="7").wait() == 0
    assert gpus(tmp_path, "s") == "0,1,2"


def test_a_job_without_gpus_takes_no_lock(launch, tmp_path):
    assert launch(0, "cpu", 0).wait() == 0
    assert not (tmp_path / "locks").exists()


def test_locks_that_other_users_could_take_are_not_used(launch, tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks").chmod(0o777)
    _, errors = launch(1, "x", 0).communicate()
    assert errors.startswith(f"error: other users may write to {tmp_path}/locks; chmod 700 it or")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_machine_without_a_visible_gpu_runs_on_the_cpu_and_says_so(launch, tmp_path, visible):
    job = launch(1, "none", 0, CUDA_VISIBLE_DEVICES=visible)
    _, errors = job.communicate()
    assert errors == "no GPU is visible: running on the CPU\n"
    assert job.returncode == 0 and gpus(tmp_path, "none") == ""


def test_an_nvidia_smi_that_fails_or_sees_none_means_no_gpu(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices() == []
    tool = tmp_path / "nvidia-smi"
    tool.touch(0o755)
    for script, expected in (
        ("echo Failed to initialize NVML; exit 18", []),
        ("echo No devices were found", []),
        ("printf '0\\n1\\n'", ["0", "1"]),
    ):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        assert devices() == expected
