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

from workflow.scripts import launch as launcher
from workflow.scripts.launch import devices, run_in_job, seconds_left, workers

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
            [sys.executable, LAUNCH, str(gpus), "8", "probe", str(tmp_path / name), str(seconds)],
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
    for _ in range(2400):
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
    two = {"CUDA_VISIBLE_DEVICES": "0,1"}  # a third might be taken with the one freed first
    first = launch(2, "rank", 60, **two)
    assert [gpus(tmp_path, "rank", rank) for rank in (0, 1)] == ["0,1", "0,1"]
    second = launch(2, "late", 0, **two)
    assert second.stdout.readline() == "waiting for 2 free GPUs of 0, 1\n"
    first.terminate()
    first.wait()
    assert second.wait() == 0
    assert gpus(tmp_path, "late", rank=0) == "0,1"


def test_more_gpus_than_there_are_is_refused(launch):
    _, errors = launch(4, "x", 0).communicate()
    assert errors == "error: 4 GPUs were asked for but this machine has 3\n"


def test_slurms_choice_of_gpus_is_left_alone_where_it_gave_as_many_as_asked_for(launch, tmp_path):
    assert launch(1, "s", 0, SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES="5").wait() == 0
    assert gpus(tmp_path, "s") == "5"
    assert not (tmp_path / "locks").exists()


def test_jobs_inside_one_slurm_allocation_share_out_its_gpus(launch, tmp_path):
    for name, job, expected in (("a", "7", "0"), ("b", "7", "1"), ("other", "8", "0")):
        launch(1, name, 60, SLURM_JOB_ID=job)
        assert gpus(tmp_path, name) == expected


def test_several_jobs_share_a_gpu_where_it_has_slots_but_take_free_ones_first(launch, tmp_path):
    shared = {"POSE_GPU_SLOTS": "2", "CUDA_VISIBLE_DEVICES": "0,1"}
    for name, expected in (("a", "0"), ("b", "1"), ("c", "0"), ("d", "1")):
        launch(1, name, 60, **shared)
        assert gpus(tmp_path, name) == expected
    assert "waiting for 1 free GPUs" in launch(1, "e", 0, **shared).stdout.readline()
    _, errors = launch(1, "x", 0, POSE_GPU_SLOTS="two").communicate()
    assert errors == "error: POSE_GPU_SLOTS 'two': give the number of jobs that share a GPU\n"


def test_one_of_the_cores_is_the_trainers_and_a_gpu_has_a_loader_all_the_same():
    counts = [workers(cores, gpus) for cores, gpus in ((8, 1), (32, 4), (1, 1), (1, 4), (1, 0))]
    assert counts == [7, 7, 1, 1, 0]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """SLURM's commands, which note their calls; the job has seven minutes, the first node is us."""
    tools = {
        "squeue": "echo 7:00",
        "scontrol": f'echo "$@" >> {tmp_path}/asked; test $1 = requeue && exit 1; echo 127.0.0.1',
    }
    for name, script in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("1-02:03:04", 93784), ("2:03:04", 7384), ("7:05", 425), ("UNLIMITED", None), ("", None)],
)
def test_the_time_that_slurm_leaves_is_read(slurm, tmp_path, told, seconds):
    (tmp_path / "squeue").write_text(f"#!/bin/sh\necho {told}\n")
    assert seconds_left("7") == seconds


@pytest.mark.parametrize("progress", [60.0, 1e6])
def test_a_training_is_stopped_before_slurms_time_limit_and_its_job_is_queued_again(
    slurm, tmp_path, monkeypatch, capfd, progress
):
    monkeypatch.setattr(launcher, "SAVING", 420)
    monkeypatch.setattr(launcher, "PROGRESS", progress)
    script = "import signal; signal.sigwait([signal.SIGUSR1]); print('saved'); exit(1)"
    before = {name: signal.getsignal(getattr(signal, name)) for name in launcher.SIGNALS}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])  # it waits until Python has begun
    try:
        assert run_in_job([sys.executable, "-c", script], "7", goes_on=True) == 1
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
    assert "saved" in capfd.readouterr().out
    assert (tmp_path / "asked").exists() == (progress < 420)


@pytest.mark.slow
def test_usr1_reaches_every_process_of_a_training_on_several_gpus(launch, tmp_path):
    (tmp_path / "probe.py").write_text(
        "import os, signal, sys, time\n"
        "file = f'{sys.argv[1]}-{os.environ[\"RANK\"]}'\n"
        "signal.signal(signal.SIGUSR1, lambda *_: (open(file + '-saved', 'w'), sys.exit(1)))\n"
        "open(file, 'w').write('{\"gpus\": 0}')\n"
        "time.sleep(60)\n"
    )
    job = launch(2, "a", 60)
    for rank in (0, 1):
        gpus(tmp_path, "a", rank)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(30) != 0
    assert (tmp_path / "a-0-saved").exists() and (tmp_path / "a-1-saved").exists()


@pytest.mark.slow
def test_the_tasks_of_a_slurm_step_on_two_nodes_become_one_training(slurm, launch, tmp_path):
    step = {"SLURM_JOB_ID": "7", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "2"}
    step |= {"SLURM_STEP_NODELIST": "node[1-2]", "CUDA_VISIBLE_DEVICES": "0"}
    jobs = [launch(1, "n", 0, SLURM_NODEID=node, **step) for node in ("0", "1")]
    assert [job.wait(60) for job in jobs] == [0, 0]
    assert [gpus(tmp_path, "n", rank) for rank in (0, 1)] == ["0", "0"]
    assert "show hostnames node[1-2]" in (tmp_path / "asked").read_text()
    wrong = launch(1, "n", 0, SLURM_NODEID="0", **(step | {"SLURM_STEP_NUM_TASKS": "4"}))
    assert wrong.communicate()[1] == "error: 4 tasks on 2 nodes; give srun --ntasks-per-node=1\n"


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
