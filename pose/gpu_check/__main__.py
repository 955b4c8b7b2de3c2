"""Check a GPU: ``python -m pose.gpu_check [NAME...]``; one JSON line a check, a table and a CSV.

Each check has a process of its own, so that the others go on whatever happens to it. The limits
stand at the head of the files of pose/gpu_check. Nothing is checked where no GPU is there; a CPU,
if it is asked for, goes through the shortest form of every check.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from pose.gpu_check import CHECKS
from pose.support import cli
from pose.support.errors import PoseError, command, nearest
from pose.support.files import atomic

LONGEST = ("compiled", "step", "training", "autocast")
"""Checks that begin first, as they take a minute or more."""


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.gpu_check", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--output", type=cli.output_file(".csv"), default=Path("results/gpu_check.csv")
    )
    return parser


cli.answer_early(__name__, command_line)

import torch

from pose.bench.measure import machine
from pose.gpu_check.run import AT_ONCE, check_apart
from pose.support.device import hardware, select_device


def write(path: Path, verdicts: list[dict[str, Any]], device: torch.device) -> None:
    """A row for every figure, with its check's verdict, the device and the commit."""
    where = [hardware(device), machine()["commit"]]
    with atomic(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        head = ("check", "verdict", "seconds", "reason")
        writer.writerow([*head, "figure", "value", "device", "commit"])
        for told in verdicts:
            for figure, value in told["figures"].items() or [("", "")]:
                writer.writerow([*(told[key] for key in head), figure, value, *where])


def _checked(names: list[str], device: torch.device) -> list[dict[str, Any]]:
    """Each one's verdict, told as it comes. What the environment can do is measured alone."""
    alone = [name for name in names if name == "environment"]
    others = [name for name in names if name not in alone]
    others.sort(key=lambda name: name not in LONGEST)
    at_once = AT_ONCE if device.type == "cuda" else 1
    # Each check has processes of its own; more threads than cores would wait for one another.
    threads = max(1, torch.get_num_threads() // (2 * at_once))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    with ThreadPoolExecutor(at_once) as pool:
        verdicts = {}
        for together in (alone, others):
            started = {pool.submit(check_apart, name, device): name for name in together}
            for ended in as_completed(started):
                verdicts[started[ended]] = ended.result()
                print(json.dumps(ended.result()), flush=True)
    return [verdicts[name] for name in names]


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)
    for name in args.names:
        if name not in CHECKS:
            raise PoseError(f"unknown check {name!r}{nearest(name, CHECKS)}")
    with redirect_stderr(io.StringIO()) as said:
        device = select_device("auto" if args.device == "cuda" else "cpu")
    if device.type != args.device:
        print(said.getvalue().strip().replace("running on the CPU", "nothing was checked"))
        return
    began = time.perf_counter()
    verdicts = _checked(args.names or list(CHECKS), device)
    print()
    for told in verdicts:
        print("{check:13} {verdict:8} {seconds!s:>6} s  {reason}".format(**told))
    print(f"all, together{time.perf_counter() - began:16.1f} s")
    write(args.output, verdicts, device)
    if failed := [told["check"] for told in verdicts if told["verdict"] == "failed"]:
        raise PoseError(f"{len(failed)} of {len(verdicts)} checks failed: {', '.join(failed)}")


if __name__ == "__main__":
    sys.exit(main())
