"""Which model is better, and how sure is that: intervals of scores and of their differences.

Works on anybody's files: COCO results (.json) or raw predictions (.npz) against the annotations,
MPII's pred.mat or .npz against gt_valid.mat. docs/statistics.md says what the numbers mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from pose.config.datasets import DATASETS
from pose.evaluation.options import add_suppression
from pose.support import cli
from pose.support.errors import PoseError, command

RESAMPLES = 10_000


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.compare", __doc__)
    parser.add_argument(
        "--annotations", type=Path, required=True, help="of the val set, or gt_valid.mat"
    )
    parser.add_argument("--results", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--dataset", choices=DATASETS, default="coco", help="default: coco")
    parser.add_argument(
        "--mpii", action="store_const", dest="dataset", const="mpii", help="--dataset mpii"
    )
    parser.add_argument("--resamples", type=cli.whole(1, 1_000_000), default=RESAMPLES)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_suppression(parser.add_argument_group("raw predictions (.npz) of AP"))
    return parser


cli.answer_early(__name__, command_line)

import numpy as np
import pandas as pd
from tabulate import tabulate

from analysis.statistics import (
    SEED,
    Hits,
    Matches,
    Sample,
    holm,
    interval,
    p_better,
    p_value,
    resampled,
)
from pose.datasets import dataset_of
from pose.datasets.coco_format import Truth
from pose.evaluation import pckh
from pose.evaluation.predictions import Predictions
from pose.evaluation.results import read_predictions, read_results, to_records


def read_records(path: Path, truth: Truth, choices: Sequence[Any]) -> list[dict[str, Any]]:
    """COCO results; ``choices`` make them of raw predictions, as in pose.evaluate."""
    if path.suffix != ".npz":
        return read_results(path, truth.image_ids, truth.keypoints)
    return to_records(read_predictions(path, truth), truth.keypoints, *choices)


def read_sample(path: Path, metric: str, truth: Any, choices: Sequence[Any]) -> Sample:
    """What one file achieved; ``choices`` are those of :func:`read_records`."""
    if metric == "AP":
        return Matches.of(read_records(path, truth, choices), truth)
    persons = len(truth.joints)
    if path.suffix != ".npz":
        return Hits.of(pckh.read_predictions(path, persons), truth)
    predictions = Predictions.load(path)
    joints = pckh.from_rows(predictions.keypoints[..., :2], predictions.person_ids, persons)
    return Hits.of(joints, truth)


def compare(samples: Mapping[str, Sample], resamples: int) -> dict[str, Any]:
    """``scores`` by name, and ``pairs``, in the metric's own unit: fractions of AP, percent PCKh.

    A difference is a's score less b's, ``p_better`` the share of resamples in which a is better,
    and ``p_holm`` that of no difference, corrected for the number of pairs.
    """
    names, files = list(samples), list(samples.values())
    metric = files[0].metrics[0]
    score = [one.scores(np.ones(one.units, np.int64))[0] for one in files]
    drawn = np.stack([scores[:, 0] for scores in resampled(files, resamples)], axis=1)
    scores = {}
    for place, name in enumerate(names):
        low, high = interval(drawn[:, place])
        scores[name] = {metric: score[place], "low": low, "high": high}
    pairs, p_values = [], []
    for a, b in combinations(range(len(names)), 2):
        differences = drawn[:, a] - drawn[:, b]
        low, high = interval(differences)
        p_values.append(p_value(differences))
        pair = {"a": names[a], "b": names[b], "difference": score[a] - score[b]}
        pairs.append(pair | {"low": low, "high": high, "p_better": p_better(differences)})
    for pair, corrected in zip(pairs, holm(p_values), strict=True):
        pair["p_holm"] = corrected
    return {"scores": scores, "pairs": pairs}


def _text(found: Mapping[str, Any], metric: str) -> str:
    """Two tables, in percent."""
    unit = 100 if metric == "AP" else 1
    columns = {metric: "{:.2f}", "difference": "{:+.2f}", "low": "{:.2f}", "high": "{:.2f}"}
    shown = []
    for rows in ([{"file": n} | row for n, row in found["scores"].items()], found["pairs"]):
        table = pd.DataFrame(rows)
        for name in table.columns.intersection(list(columns)):
            table[name] = (unit * table[name]).map(columns[name].format)
        for name in table.columns.intersection(["p_better", "p_holm"]):
            table[name] = table[name].map("{:.4f}".format)
        shown.append(tabulate(table, "keys", disable_numparse=True, showindex=False))
    return "\n\n".join(filter(None, shown))


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)
    names = [str(path) for path in options.results]
    if twice := [name for name in names if names.count(name) > 1]:
        raise PoseError(f"--results: {twice[0]} is named twice; name each file once")
    dataset = dataset_of(options.dataset)
    truth = dataset.read_truth(options.annotations)
    choices = options.rescore_threshold, options.oks_nms, options.soft_oks_nms
    samples = {
        str(path): read_sample(path, dataset.metric, truth, choices) for path in options.results
    }
    found = compare(samples, options.resamples)
    if options.json:
        print(json.dumps(found))
        return
    first = next(iter(samples.values()))
    units = "images" if dataset.metric == "AP" else "persons"
    print(
        f"In percent, with 95 % intervals: {options.resamples} bootstrap resamples of"
        f" {first.units} {units}, the same for all files, seed {SEED}\n"
    )
    print(_text(found, first.metrics[0]))


if __name__ == "__main__":
    main()
