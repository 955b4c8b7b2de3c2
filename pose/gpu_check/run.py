"""Running checks, each in a process of its own, so that the others go on whatever happens to it."""

from __future__ import annotations

import multiprocessing
import time
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import torch

from pose.gpu_check import CHECKS
from pose.gpu_check.findings import Findings, Setup, SkipError
from pose.support.device import select_device

AT_ONCE = 4
"""Checks that share a GPU; most of them wait for CPUs most of the time."""
PATIENCE = 300.0
"""Seconds that a check may take."""
MODULES = [f"pose.gpu_check.{module}" for module in dict.fromkeys(CHECKS.values())]


def check(name: str, device: torch.device) -> dict[str, Any]:
    """The verdict of one check, in this process."""
    began, found, reason = time.perf_counter(), Findings(), ""
    verdict = "passed"
    try:
        getattr(import_module(f"pose.gpu_check.{CHECKS[name]}"), name)(Setup(device), found)
    except SkipError as skip:
        verdict, reason = "skipped", str(skip)
    except Exception as problem:  # whatever it is, the other checks go on
        found.require(False, f"{type(problem).__name__}: {str(problem).strip()[:500]}")
    if found.failures:
        verdict, reason = "failed", "; ".join(found.failures)
    seconds = round(time.perf_counter() - began, 1)
    told = {"check": name, "verdict": verdict, "seconds": seconds, "reason": reason}
    return told | {"figures": found.figures}


def _serve(name: str, device: torch.device, verdicts: Connection) -> None:
    select_device(str(device))
    verdicts.send(check(name, device))


def check_apart(name: str, device: torch.device) -> dict[str, Any]:
    """The verdict of one check in a process of its own, which may crash or hang."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(name, device, theirs))
    process.start()
    theirs.close()
    reason = f"no answer in {PATIENCE:.0f} s"
    try:
        if ours.poll(PATIENCE):
            return ours.recv()
    except EOFError:
        process.join()
        reason = f"its process ended with {process.exitcode}"
    finally:
        process.kill()
    return {"check": name, "verdict": "failed", "seconds": None, "reason": reason, "figures": {}}
