"""Timing variants against each other, and the rows that come of it."""

from __future__ import annotations

import importlib.metadata
import math
import multiprocessing
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import torch

from pose.support.device import hardware
from pose.support.packages import package

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "numpy", "opencv-python-headless", "onnxruntime", "openvino", "hotcoco")


@dataclass(frozen=True)
class Settings:
    """How thorough a run is.

    ``quick``: the smallest sizes, to see that all works. ``within``: seconds after which the bench
    of GPUs begins no further table.
    """

    repeats: int = 5
    quick: bool = False
    within: float = math.inf


@dataclass(frozen=True)
class Row:
    """A variant's numbers in ``unit`` over ``repeats`` runs, and how many times ``baseline``'s.

    ``ratio`` above 1 means better than the baseline, whether the unit is a time or a rate; where
    there is no baseline it is None. ``peak_share``: the part of the machine's best rate of matrix
    products (see :mod:`pose.bench.gemm`) that the median makes, where arithmetic was counted.
    ``limit`` says what stands in the way of a missed ``aim``.
    """

    name: str
    variant: str
    median: float | None
    min: float | None
    max: float | None
    repeats: int
    unit: str
    baseline: str = ""
    ratio: float | None = None
    peak_share: float | None = None
    aim: str = ""
    limit: str = ""


def interleave(
    variants: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of every call, variant after variant and then again, so that noise hits all alike."""
    for run in variants.values():
        for _ in range(warmup):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, run in variants.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


@contextmanager
def as_it_comes(build: Callable[..., Callable[[], object]], *arguments: object) -> Iterator:
    """``build(*arguments)`` called in a process of its own, whose memory is as glibc has it.

    For a baseline beside variants of this process, which keeps the memory it frees.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, build, arguments), daemon=True)
    process.start()
    theirs.close()

    def step() -> None:
        ours.send(True)
        ours.recv()

    try:
        yield step
    finally:
        ours.close()
        process.kill()  # it may hang
        process.join()


def _serve(calls: Connection, build: Callable[..., Callable[[], object]], arguments: tuple) -> None:
    step = build(*arguments)
    with suppress(EOFError):  # the caller has left
        while calls.recv():
            step()
            calls.send(True)


def compare(
    name: str,
    seconds: Mapping[str, list[float]],
    unit: str,
    convert: Callable[[float], float],
    baseline: str,
    aims: Mapping[str, float] | None = None,
    limit: str = "",
    peak_seconds: float | None = None,
) -> list[Row]:
    """Rows of one table. ``convert`` turns seconds into ``unit``; ``aims``: variant -> ratio.

    ``limit`` is told of the variants that miss their aim. ``peak_seconds``: what the arithmetic
    would take as matrix products at the machine's best.
    """
    rows = []
    for variant, times in seconds.items():
        median = statistics.median(times)
        ratio = statistics.median(seconds[baseline]) / median
        aim = (aims or {}).get(variant)
        missed = aim is not None and ratio < aim
        rows.append(
            Row(
                name,
                variant,
                *summary([convert(t) for t in times]),
                len(times),
                unit,
                baseline,
                ratio,
                None if peak_seconds is None else peak_seconds / median,
                "" if aim is None else f">= {aim:g}x",
                limit if missed else "",
            )
        )
    return rows


def absent(name: str, variant: str, unit: str, reason: str) -> Row:
    """The row of what could not be measured here."""
    return Row(name, variant, None, None, None, 0, unit, limit=reason)


def summary(values: list[float]) -> tuple[float, float, float]:
    """Median, least and greatest."""
    return statistics.median(values), min(values), max(values)


@cache
def machine() -> dict[str, str | int]:
    """Where and with what the numbers were taken: the same columns in every table."""
    return {
        "cpu": _cpu(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "cores": package("psutil").cpu_count(logical=False) or os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "memory_gb": round(package("psutil").virtual_memory().total / 1e9),
        "load": round(os.getloadavg()[0], 1),
        "versions": " ".join(f"{p} {_version(p)}" for p in PACKAGES),
        "opencv_threads": cv2.getNumThreads(),
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def record(row: Row) -> dict[str, object]:
    """The row with the machine's columns."""
    return asdict(row) | machine()


def _cpu() -> str:
    return f"{hardware(torch.device('cpu'))} ({torch.backends.cpu.get_cpu_capability()})"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    with suppress(OSError):  # no git here
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
    return "unknown"
