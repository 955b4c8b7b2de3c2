"""Score predictions by their data set's metric: AP (COCO's evaluator) or PCKh (MPII's).

Works on anybody's files: COCO results (.json), MPII's pred.mat, or the .npz of ``pose.infer``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

from pose.config.datasets import DATASETS
from pose.evaluation.options import Evaluator, add_suppression
from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.files import write_file


def _ap_options(sub: argparse.ArgumentParser) -> None:
    sub.set_defaults(suffixes=(".json",))
    sub.add_argument("--annotations", type=Path, required=True)
    evaluators = get_args(Evaluator)
    sub.add_argument("--evaluator", choices=evaluators, default=evaluators[0])
    add_suppression(sub.add_argument_group("raw predictions (.npz)"))


def _pckh_options(sub: argparse.ArgumentParser) -> None:
    sub.set_defaults(suffixes=(".mat",))
    sub.add_argument("--ground-truth", type=Path, required=True, help="gt_valid.mat")


OPTIONS = {"AP": _ap_options, "PCKh@0.5": _pckh_options}
"""By the data set's metric."""


def label(text: str) -> tuple[str, Any]:
    """KEY=VALUE; a value that reads as JSON (a number, true) becomes what it says."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.evaluate", __doc__)
    datasets = parser.add_subparsers(dest="dataset", required=True)
    for name, metric in DATASETS.items():
        sub = datasets.add_parser(name, help=f"{metric} and friends")
        sub.add_argument("--predictions", type=Path, required=True)
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.add_argument(
            "--output", type=cli.output_file(), help="write the JSON object to this file"
        )
        sub.add_argument(
            "--per-person",
            type=cli.output_file(".parquet"),
            metavar="FILE.parquet",
            help="write a row for each annotated person",
        )
        sub.add_argument(
            "--label",
            type=label,
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="add to the JSON object (repeatable)",
        )
        OPTIONS[metric](sub)
    return parser


cli.answer_early(__name__, command_line)

from pose.datasets import dataset_of
from pose.evaluation import coco, pckh, per_person
from pose.evaluation.predictions import Predictions
from pose.evaluation.results import read_predictions, read_results, to_records
from pose.support.fingerprint import code_of


def evaluate_ap(args: argparse.Namespace) -> dict[str, Any]:
    """AP and friends (fractions), with the numbers of persons scored and of images."""
    truth = dataset_of(args.dataset).read_truth(args.annotations)
    if args.predictions.suffix == ".npz":
        raw = read_predictions(args.predictions, truth)
        choices = args.rescore_threshold, args.oks_nms, args.soft_oks_nms
        results = to_records(raw, truth.keypoints, *choices)
        about = raw.about | {
            "rescore_threshold": args.rescore_threshold,
            "oks_nms": args.oks_nms,
            "oks_nms_kind": "soft" if args.soft_oks_nms else "hard",
        }
    else:
        results = read_results(args.predictions, truth.image_ids, truth.keypoints)
        about = {}
    if args.per_person:
        judge = coco.run(results, truth, "pycocotools")
        persons = per_person.coco_persons(judge, truth.keypoints)
        per_person.write_persons(persons, args.per_person)
    metrics = coco.evaluate(results, truth, args.evaluator)
    return about | metrics | {"persons": len(results), "images": len(truth.image_ids)}


def evaluate_pckh(args: argparse.Namespace) -> dict[str, Any]:
    """PCKh in percent."""
    truth = dataset_of(args.dataset).read_truth(args.ground_truth)
    about: dict[str, Any] = {}
    if args.predictions.suffix == ".npz":
        raw = Predictions.load(args.predictions)
        about = raw.about
        persons = len(truth.joints)
        joints = pckh.from_rows(raw.keypoints[..., :2], raw.person_ids, persons)
    else:
        joints = pckh.read_predictions(args.predictions, len(truth.joints))
    metrics = pckh.pckh(joints, truth)
    if args.per_person:
        per_person.write_persons(per_person.mpii_persons(joints, truth), args.per_person)
    return about | metrics | {"persons": len(joints), "evaluator": pckh.__name__}


EVALUATE = {"AP": evaluate_ap, "PCKh@0.5": evaluate_pckh}
"""By the data set's metric."""


@command
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = command_line().parse_args(argv)
    suffixes = (".npz", *args.suffixes)
    if args.predictions.suffix not in suffixes:
        raise PoseError(f"predictions {args.predictions}: not a {' or '.join(suffixes)} file")
    metrics = EVALUATE[DATASETS[args.dataset]](args)
    origin = metrics.setdefault("made_from", {"code": {}})
    origin["code"]["evaluate"] = code_of("pose.evaluate", dataset=args.dataset).fingerprint
    metrics = dict(args.label) | metrics
    text = json.dumps(metrics)
    if args.output:
        write_file(args.output, text + "\n")
    print(text if args.json else _table(metrics))


def _table(metrics: dict[str, Any]) -> str:
    lines = []
    for name, value in metrics.items():
        inner = value if isinstance(value, dict) else {"": value}
        for part, number in inner.items():
            shown = f"{number:.4f}" if isinstance(number, float) else number
            lines.append(f"{f'{name} {part}':<28} {shown}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
