"""The 95 % intervals of a config's scores, and the resamples that differences are computed from.

Scores the runs' predictions once more on resampled images, all with the same draws. Beside each
``metrics_BOXES.json`` stands ``intervals_BOXES.json``; the resamples of all runs go to one file.
Scores whose predictions are not there or cannot be read have no intervals, and are told.
"""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

from analysis.options import truth_file
from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.files import write_file

RESAMPLES = 2000


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.intervals", __doc__)
    parser.add_argument("places", type=Path, nargs="+", help="folders of results or single runs")
    parser.add_argument(
        "--truth", type=truth_file, nargs="+", required=True, metavar="DATASET=FILE",
        help="what was scored against: val annotations, gt_valid.mat",
    )  # fmt: skip
    parser.add_argument("--resamples", type=cli.whole(1, 1_000_000), default=RESAMPLES)
    parser.add_argument("--output", type=cli.output_file(".parquet"), required=True)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd

from analysis.compare import read_sample
from analysis.results import run_folders
from analysis.run_folder import tell
from analysis.statistics import SEED, Sample, interval, resampled
from pose.datasets import dataset_of
from pose.evaluation.predictions import Predictions

KEYS = ["run", "seed", "boxes", "score"]


def read_resamples(file: Path) -> pd.DataFrame:
    """A row per resample, a column per run, seed, boxes and score; scores in percent."""
    try:
        # Given a folder, pandas would read all its files.
        frame = pd.read_parquet(BytesIO(Path(file).read_bytes()))
        frame.columns = pd.MultiIndex.from_tuples(
            [(run, int(seed), boxes, score) for run, seed, boxes, score in map(json.loads, frame)],
            names=KEYS,
        )
    except (OSError, TypeError, ValueError) as error:
        raise PoseError(f"{file}: not resamples ({error}); run analysis.intervals") from None
    return frame


def _choices(metrics: dict[str, Any]) -> tuple[float, float, bool]:
    """How results were made of the raw predictions when they were scored."""
    try:
        kind = metrics["oks_nms_kind"]
        return metrics["rescore_threshold"], metrics["oks_nms"], kind == "soft"
    except KeyError as error:
        raise PoseError(f"{metrics['file']}: lacks {error}; run pose.evaluate again") from None


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)

    files = dict(options.truth)
    truths = {name: dataset_of(name).read_truth(file) for name, file in files.items()}
    samples: dict[tuple[str, int, str, Path], Sample] = {}
    for folder in run_folders(options.places):
        for metrics in folder.metrics:
            dataset, boxes = metrics["dataset"], metrics["boxes"]
            if dataset not in truths:
                raise PoseError(f"{metrics['file']} is of {dataset}: give --truth {dataset}=FILE")
            metric, file = dataset_of(dataset).metric, folder.path / f"predictions_{boxes}.npz"
            if folder.read(Predictions.load, file) is None:
                continue
            key = folder.place["run"], metrics["seed"], boxes, folder.path
            choices = _choices(metrics) if metric == "AP" else ()
            samples[key] = read_sample(file, metric, truths[dataset], choices)
    if not samples:
        tell("no score with its predictions in any of the places, so no intervals")
    drawn = resampled(list(samples.values()), options.resamples) if samples else []
    columns, found = {}, {}
    for (key, sample), scores in zip(samples.items(), drawn, strict=True):
        *of_the_run, folder = key
        about = {"resamples": options.resamples, "draws_seed": SEED, "units": sample.units}
        unit = 100 if sample.metrics[0] == "AP" else 1
        for name, column in zip(sample.metrics, unit * scores.T, strict=True):
            columns[json.dumps([*of_the_run, name])] = column
            about |= dict(zip((f"{name}_low", f"{name}_high"), interval(column), strict=True))
        found[folder / f"intervals_{of_the_run[-1]}.json"] = about
    write_file(options.output, pd.DataFrame(columns).to_parquet(index=False))
    for file, about in found.items():
        write_file(file, json.dumps(about) + "\n")


if __name__ == "__main__":
    main()
