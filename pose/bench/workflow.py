"""What the harness itself costs: the workflow's time outside training and evaluation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pose.bench.measure import ROOT, Row, Settings
from pose.support.errors import PoseError

PARTS = ("Snakefile", "analysis", "config", "environment.yml", "pose", "profiles", "workflow")
EVALUATION = ("infer", "evaluate")
AIM = 0.1
LIMIT = (
    "{others:.1%} are Snakemake and the jobs that neither train nor evaluate: rendering, counting,"
    " resampling, tables, figures; the rest is starting Python and PyTorch in those that do"
)

Span = tuple[float, float]


@dataclass(frozen=True)
class Run:
    """A finished run of Snakemake: when it lasted, and its spans of work (seconds since 1970)."""

    wall: Span
    jobs: list[Span]
    """Of training, inference and evaluation, from the start of their processes."""
    work: list[Span]
    """The same, but of training only the epochs and their validation."""


def measure(settings: Settings) -> list[Row]:
    """The demo's, when it has been run as a whole; else the miniature's, run here."""
    if not settings.quick:
        try:
            return _rows("the demo", read_run(ROOT, ROOT / "results/demo"))
        except PoseError:
            pass
    with tempfile.TemporaryDirectory() as folder:
        return _rows("the miniature", run_miniature(Path(folder)))


def _rows(what: str, run: Run) -> list[Row]:
    start, end = run.wall
    outside, others = (
        1 - covered(spans, run.wall) / (end - start) for spans in (run.work, run.jobs)
    )
    limit = LIMIT.format(others=others) if outside >= AIM else ""
    rows = (
        ("outside epochs and evaluation", outside, f"< {AIM:.0%}", limit),
        ("outside the jobs that train and evaluate", others, "", ""),
    )
    name = f"harness overhead of {what}, {end - start:.0f} s"
    return [
        Row(name, variant, share, share, share, 1, "share", aim=aim, limit=limit)
        for variant, share, aim, limit in rows
    ]


def run_miniature(folder: Path) -> Run:
    """Run config/miniature.yaml in ``folder``, on all cores."""
    for part in PARTS:
        (folder / part).symlink_to(ROOT / part)
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--quiet", "all"]
    command += ["--configfile", "config/miniature.yaml"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    if done.returncode:
        raise PoseError(f"the miniature failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return read_run(folder, folder / "results/miniature")


def read_run(folder: Path, results: Path) -> Run:
    """The run of Snakemake in ``folder`` that made all of ``results``.

    It lasts from the start that its log's name tells to the last file's writing, the report apart,
    which another run makes. Jobs end when their benchmark file is written and epochs when they are
    logged. PoseError when there are no results, or when several runs made them.
    """
    jobs = _jobs(results, "train") + [span for rule in EVALUATION for span in _jobs(results, rule)]
    if not jobs:
        raise PoseError(f"{results}: no finished run; make demo first")
    work = [span for rule in EVALUATION for span in _jobs(results, rule)]
    for log in results.glob("*/seed*/performance.jsonl"):
        work += _epochs(log)
    first = min(start for start, _ in jobs)
    files = [path for path in results.rglob("*") if path.is_file()]
    last = max(path.stat().st_mtime for path in files if path.name != "report.zip")
    starts = [_start(log) for log in (folder / ".snakemake/log").glob("*.snakemake.log")]
    before = [start for start in starts if start <= first]
    if not before or any(first < start < last for start in starts):
        raise PoseError(f"{results}: not the work of one run of Snakemake")
    return Run((max(before), last), jobs, work)


def covered(spans: Iterable[Span], wall: Span) -> float:
    """Seconds of ``wall`` that lie in at least one span."""
    total, reached = 0.0, wall[0]
    for start, end in sorted(spans):
        start, end = max(start, reached), min(end, wall[1])
        total += max(end - start, 0)
        reached = max(reached, end)
    return total


def _jobs(results: Path, rule: str) -> list[Span]:
    spans = []
    for path in (results / "benchmarks" / rule).glob("*.tsv"):
        header, values = path.read_text().splitlines()[:2]
        seconds = float(dict(zip(header.split("\t"), values.split("\t"), strict=True))["s"])
        end = path.stat().st_mtime
        spans.append((end - seconds, end))
    return spans


def _epochs(log: Path) -> list[Span]:
    events = map(json.loads, log.read_text().splitlines())
    return [
        (event["time"] - event["seconds"] - event["validation_seconds"], event["time"])
        for event in events
        if event["event"] == "epoch"
    ]


def _start(log: Path) -> float:
    """When Snakemake began, by the name of its log."""
    stamp = re.match(r"(\d{4}-\d\d-\d\dT\d{6}\.\d+)", log.name)[1]
    return datetime.strptime(stamp, "%Y-%m-%dT%H%M%S.%f").timestamp()
