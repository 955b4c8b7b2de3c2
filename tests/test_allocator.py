"""Memory stays with a process that computes, and grows as asked, unless its user says otherwise."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from training_runs import small_experiment

from pose.support import device
from pose.support.allocator import use_expandable_segments

ROOT = Path(__file__).parent.parent

FAULTS = """
import ctypes, resource
from pose.support.allocator import keep_freed_memory
print(keep_freed_memory())
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: huge pages would be few
for _ in range(2):
    b"x" * (64 << 20)  # made and freed
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
@pytest.mark.parametrize("of_the_user", ["", "MALLOC_TRIM_THRESHOLD_"])
def test_memory_once_freed_is_not_fetched_again_unless_the_user_says_so(of_the_user):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    if of_the_user:
        environment[of_the_user] = ""
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    kept, first, second = done.stdout.split()
    assert kept == str(not of_the_user)
    pages = int(second) - int(first)
    half = (32 << 20) // resource.getpagesize()
    assert pages > half if of_the_user else pages < half / 80


def test_whoever_takes_a_device_keeps_its_memory(monkeypatch):
    asked = []
    monkeypatch.setattr(device, "keep_freed_memory", lambda: asked.append(True))
    device.select_device("cpu")
    assert asked


SEGMENTS = """
import torch
from pose import train
from pose.support.errors import PoseError

def stop(name):  # whatever is set by now, PyTorch heeds
    raise PoseError(torch._C._accelerator_getAllocatorSettings())

train.select_device = stop
train.main()
"""


def test_segments_of_a_gpus_memory_grow_where_a_training_asks_for_it(tmp_path):
    experiment = small_experiment(expandable_segments=True).model_dump_json()
    command = [sys.executable, "-c", SEGMENTS, "--experiment", experiment, "--data-root", tmp_path]
    command += ["--run-dir", tmp_path / "r", "--weights", tmp_path / "w", "--log", tmp_path / "l"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stderr == "error: expandable_segments:True\n"


@pytest.mark.parametrize("of_the_user", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_a_users_own_way_with_a_gpus_memory_wins(of_the_user, monkeypatch):
    monkeypatch.setattr(os, "environ", {of_the_user: "backend:cudaMallocAsync"})
    use_expandable_segments()
    assert os.environ == {of_the_user: "backend:cudaMallocAsync"}
