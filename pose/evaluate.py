"""Score predictions: COCO's AP from results or raw predictions, MPII's PCKh.

Works on anybody's files: COCO results (.json), MPII's pred.mat, or the .npz of ``pose.infer``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np

from pose.errors import PoseError, command
from pose.evaluation import coco, pckh
from pose.evaluation.predictions import Predictions
from pose.files import atomic, read_json


def evaluate_coco(args: argparse.Namespace) -> dict[str, Any]:
    """AP and friends (fractions), with the numbers of persons scored and of images."""
    if args.predictions.suffix == ".npz":
        raw = Predictions.load(args.predictions)
        results = coco.to_results(raw, args.rescore_threshold, args.oks_nms, args.soft_oks_nms)
    else:
        results = read_json(args.predictions)
    metrics = coco.evaluate(results, args.annotations, args.evaluator)
    images = len(read_json(args.annotations)["images"])
    return metrics | {"persons": len(results), "images": images}


def evaluate_mpii(args: argparse.Namespace) -> dict[str, Any]:
    """PCKh in percent."""
    truth = pckh.read_ground_truth(args.ground_truth)
    if args.predictions.suffix == ".npz":
        raw = Predictions.load(args.predictions)
        joints = raw.keypoints[np.argsort(raw.person_ids), :, :2].astype(float)
    else:
        joints = pckh.read_predictions(args.predictions)
    return pckh.pckh(joints, truth) | {"persons": len(joints)}


def label(text: str) -> tuple[str, Any]:
    """KEY=VALUE; a value that reads as JSON (a number, true) becomes what it says."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m pose.evaluate", description=__doc__)
    datasets = result.add_subparsers(dest="dataset", required=True)
    for name, evaluate in (("coco", evaluate_coco), ("mpii", evaluate_mpii)):
        sub = datasets.add_parser(name, help=evaluate.__doc__)
        sub.set_defaults(evaluate=evaluate)
        sub.add_argument("--predictions", type=Path, required=True)
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.add_argument("--output", type=Path, help="write the JSON object to this file")
        sub.add_argument(
            "--label",
            type=label,
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="add to the JSON object (repeatable)",
        )
        if name == "coco":
            sub.add_argument("--annotations", type=Path, required=True)
            evaluators = get_args(coco.Evaluator)
            sub.add_argument("--evaluator", choices=evaluators, default=evaluators[0])
            raw = sub.add_argument_group("raw predictions (.npz)")
            raw.add_argument("--rescore-threshold", type=float, default=0.2)
            raw.add_argument("--oks-nms", type=float, default=0.99, metavar="THRESHOLD")
            raw.add_argument("--soft-oks-nms", action="store_true", help="lower scores, not drop")
        else:
            sub.add_argument("--ground-truth", type=Path, required=True, help="gt_valid.mat")
    return result


@command
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parser().parse_args(argv)
    if args.predictions.suffix not in (".json", ".npz", ".mat"):
        raise PoseError(f"predictions {args.predictions}: neither .json nor .npz nor .mat")
    metrics = dict(args.label) | args.evaluate(args)
    text = json.dumps(metrics)
    if args.output:
        with atomic(args.output) as temporary:
            temporary.write_text(text + "\n")
    if args.json:
        print(text)
    else:
        numbers = metrics | metrics.pop("per_joint", {})
        for name, value in numbers.items():
            print(f"{name:<16} {value:.4f}" if isinstance(value, float) else f"{name:<16} {value}")


if __name__ == "__main__":
    main()
