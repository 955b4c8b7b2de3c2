"""Add measured numbers to ``results/measured``, which is in git: ``python -m analysis.measured``.

Small files whose names say data set, protocol and device. Every row has the commit that it was
measured at, and the command that makes it again. A run that is there already is replaced.
"""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

from analysis.options import PLACES
from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.files import read_text

FOLDER = Path(__file__).parents[1] / "results" / "measured"


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.measured", __doc__)
    parser.add_argument(
        "places", type=Path, nargs="+", help=f"{PLACES}, CSV files of pose.bench and pose.gpu_check"
    )
    parser.add_argument("--command", required=True, help="what makes these numbers again")
    parser.add_argument("--output-dir", type=cli.output_folder, default=FOLDER)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd

from analysis import tables
from analysis.results import load_results

RUN = ["model", "input", "val_set", "boxes", "protocol", "seed", "checkpoint"]
"""What tells the rows of a file apart."""
LEFT_OUT = ["name", "run", "label", "split", "val_share", "folder", "code_infer", "code_evaluate"]
BENCHMARK = {"name", "variant", "median", "unit", "commit", "cpu"}
CHECK = {"check", "verdict", "figure", "value", "commit", "device"}
"""Columns of a file of ``pose.bench``, and of one of ``pose.gpu_check``."""
KEYS = (RUN, ["name", "variant"], ["check", "figure"])


def measured_rows(results: pd.DataFrame, how: str) -> dict[str, pd.DataFrame]:
    """File name -> the rows of :func:`load_results` that belong there; ``how`` makes them again.

    Raises PoseError for a run that does not tell its commit.
    """
    scored = results[results["boxes"].notna() & results["evaluator"].notna()]
    unknown = scored[scored["commit"].isna() & (scored["source"] == "trained")]
    for row in unknown.head(1).itertuples():
        raise PoseError(f"{row.folder} does not tell its commit; train it in a checkout of git")
    protocol = scored["protocol"].str.extract(r"^(\w+)", expand=False).fillna("")
    unknown_device = scored["source"].map({"published": "published weights"})
    device = scored["device"].fillna(unknown_device).fillna("unknown device")
    names = (scored["dataset"] + " " + protocol + " " + device).map(_slug)
    return {
        f"{name}.csv": rows.drop(columns=LEFT_OUT).assign(command=how)
        for name, rows in scored.groupby(names)
    }


def benchmark_rows(file: Path, how: str) -> dict[str, pd.DataFrame]:
    """The same of a file of ``pose.bench`` or ``pose.gpu_check``; PoseError for another one."""
    try:
        rows = pd.read_csv(file, dtype={"value": str})
    except (OSError, ValueError) as error:
        raise PoseError(f"{file}: not a file of pose.bench ({error})") from None
    if not rows.empty and set(rows) >= CHECK:
        name = f"gpu check {rows['device'][0]}"
    elif not rows.empty and set(rows) >= BENCHMARK:
        of_gpus = file.stem == "gpu" and "gpu" in rows
        name = f"bench {file.stem} {rows['gpu' if of_gpus else 'cpu'][0]}"
    else:
        raise PoseError(f"{file}: not a file of pose.bench; give one of results/bench")
    return {f"{_slug(name)}.csv": rows.assign(command=how)}


def add(file: Path, rows: pd.DataFrame) -> None:
    """Write ``rows`` among those of the file, in place of those of the same runs or variants."""
    written = pd.read_csv(StringIO(rows.round(4).to_csv(index=False)), dtype=str)
    if file.exists():
        written = pd.concat([pd.read_csv(StringIO(read_text(file)), dtype=str), written])
    key = next([n for n in key if n in written] for key in KEYS if key[0] in written)
    merged = written.drop_duplicates(key, keep="last").dropna(axis=1, how="all")
    tables.write_csv(merged.sort_values([name for name in key if name in merged]), file)


def _slug(text: str) -> str:
    """``text`` as a part of a file's name."""
    plain = re.sub(r"\((R|TM)\)|@.*|\bProcessor\b", " ", text)
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)
    found: dict[str, pd.DataFrame] = {}
    if places := [place for place in options.places if place.suffix != ".csv"]:
        found |= measured_rows(load_results(*places), options.command)
    for file in options.places:
        if file.suffix == ".csv":
            found |= benchmark_rows(file, options.command)
    for name, rows in found.items():
        add(options.output_dir / name, rows)
        print(f"{options.output_dir / name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
