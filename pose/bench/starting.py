"""How soon commands answer: ``--help``, what a training imports, and the plan of all paper runs."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from statistics import median

from pose.bench.measure import ROOT, Row, Settings, interleave, summary

HELP = ("pose.train", "pose.infer", "pose.evaluate", "pose.weights", "pose.data.obtain")
IMPORTS = "import torch, timm, cv2"
SNAKEMAKE = "import snakemake.cli"
PLAN = "the plan of config/paper.yaml"
LIMIT = "{imports} alone takes {seconds:.2f} s"


def measure(settings: Settings) -> list[Row]:
    """Seconds from the start of Python to its end."""
    programs = {f"{name} --help": ["-m", name, "--help"] for name in HELP}
    if not settings.quick:
        programs |= {code: ["-c", code] for code in (IMPORTS, "import pose.train", SNAKEMAKE)}
        programs[PLAN] = ["-m", "snakemake", "--dry-run", "--quiet", "all"]
        programs[PLAN] += ["--configfile", "config/paper.yaml"]
    steps = {name: partial(_run, arguments) for name, arguments in programs.items()}
    seconds = interleave(steps, settings.repeats)
    aims = {f"{name} --help": 0.3 for name in HELP}
    if not settings.quick:
        aims |= {"import pose.train": median(seconds[IMPORTS]) + 1, PLAN: 3.0}
    return [_row(name, times, aims.get(name), seconds) for name, times in seconds.items()]


def _run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)


def _row(name: str, times: list[float], aim: float | None, seconds: dict[str, list[float]]) -> Row:
    missed = aim is not None and median(times) > aim
    imports = {"import pose.train": IMPORTS, PLAN: SNAKEMAKE}.get(name)
    limit = LIMIT.format(imports=imports, seconds=median(seconds[imports])) if imports else ""
    aimed = "" if aim is None else f"<= {aim:.2g} s"
    row = (*summary(times), len(times), "s")
    return Row("starting", name, *row, aim=aimed, limit=limit if missed else "")
