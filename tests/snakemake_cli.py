"""Snakemake as the tests call it, in a folder of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def snakemake(
    folder: Path, *arguments: str, path: Path = Path(sys.executable).parent
) -> subprocess.CompletedProcess:
    """Run Snakemake in ``folder``; the jobs' programs are looked for in ``path`` first."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    path = f"{path}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def plan(folder: Path, *arguments: str) -> dict[str, int]:
    """How many jobs of each rule a dry run announces."""
    done = snakemake(folder, "--dry-run", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    stats = done.stdout.rsplit("Job stats:", 1)[1].split("\n\n")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}
