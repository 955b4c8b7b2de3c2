"""Measure speed: ``python -m pose.bench [NAME...]``; a CSV a table, and all on the screen."""

from __future__ import annotations

import csv
import math
import sys
from importlib import import_module
from itertools import groupby
from pathlib import Path

from pose.support import cli
from pose.support.errors import PoseError, command, nearest
from pose.support.files import atomic

BENCHMARKS = (
    *("gemm", "training", "loading", "decoding", "ap", "inference", "starting", "workflow"),
)
"""Modules of this package, each with a function ``measure``; and one that only GPUs need."""
ON_GPUS = ("gpu",)


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.bench", __doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS + ON_GPUS)}"
    )
    parser.add_argument("--output-dir", type=cli.output_folder, default=Path("results/bench"))
    parser.add_argument("--repeats", type=cli.whole(1, 1000), default=5)
    parser.add_argument("--quick", action="store_true", help="smallest sizes: only to see it work")
    parser.add_argument(
        "--within",
        type=cli.number(0, 1e6),
        default=math.inf,
        metavar="SECONDS",
        help="gpu: begin no further table after that",
    )
    return parser


cli.answer_early(__name__, command_line)

from rich.console import Console
from rich.table import Table

from pose.bench.measure import Row, Settings, machine, record


def write(path: Path, rows: list[Row]) -> None:
    """Write a table with the machine's columns."""
    records = [record(row) for row in rows]
    with atomic(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows(records)


def show(console: Console, rows: list[Row]) -> None:
    """Print a table, the rows of one name."""
    table = Table(title=rows[0].name, title_justify="left")
    for column in ("variant", "median", "min", "max", "unit", "ratio", "of peak", "aim"):
        numeric = column in ("median", "min", "max", "ratio", "of peak")
        table.add_column(column, justify="right" if numeric else "left")
    table.add_column("limit", overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)


def _cells(row: Row) -> list[str]:
    numbers = (_number(value) for value in (row.median, row.min, row.max))
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
    share = "" if row.peak_share is None else f"{row.peak_share:.0%}"
    return [row.variant, *numbers, row.unit, ratio, share, row.aim, row.limit]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)
    for name in args.names:
        if name not in BENCHMARKS + ON_GPUS:
            raise PoseError(f"unknown benchmark {name!r}{nearest(name, BENCHMARKS + ON_GPUS)}")
    console = Console(width=None if sys.stdout.isatty() else 140)
    for key, value in machine().items():
        console.print(f"{key:15} {value}", highlight=False)
    settings = Settings(args.repeats, args.quick, args.within)
    for name in args.names or BENCHMARKS:
        rows: list[Row] = []
        measured = import_module(f"pose.bench.{name}").measure(settings)
        for title, table in groupby(measured, lambda row: row.name):
            rows += table
            write(args.output_dir / f"{name}.csv", rows)  # what is measured is kept if it stops
            show(console, [row for row in rows if row.name == title])


if __name__ == "__main__":
    main()
