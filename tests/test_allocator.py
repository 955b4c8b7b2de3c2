"""Freed memory stays with a process that computes, unless its user says otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pose.support import device

ROOT = Path(__file__).parent.parent

FAULTS = """
import resource
from pose.support.allocator import keep_freed_memory
print(keep_freed_memory())
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
    assert pages > 10_000 if of_the_user else pages < 100


def test_whoever_takes_a_device_keeps_its_memory(monkeypatch):
    asked = []
    monkeypatch.setattr(device, "keep_freed_memory", lambda: asked.append(True))
    device.select_device("cpu")
    assert asked
