"""How far each choice of the protocol moves one checkpoint's score: ``python -m pose.audit``.

One inference pass over each source of boxes: every variant is decoded while the maps are there, and
none are stored. Each row differs from the experiment's own protocol, the first row, in one choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pose.support import cli
from pose.support.device import arithmetic, device_name, select_device
from pose.support.errors import command
from pose.support.files import write_file
from pose.support.progress import progress_bar


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.audit", __doc__)
    parser.add_argument("--experiment", required=True, help="JSON text or file")
    parser.add_argument("--weights", type=Path, required=True, help=cli.WEIGHTS)
    parser.add_argument("--data-root", type=Path, required=True, help=cli.DATA_ROOT)
    parser.add_argument("--detections", type=Path, help="a detector's boxes, beside the true ones")
    parser.add_argument("--output", type=cli.output_file(".csv"), help="write the table here")
    parser.add_argument("--device", type=device_name, default="auto", help=cli.DEVICE)
    parser.add_argument("--workers", type=cli.WORKERS, default=0, help="loader processes")
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd
import torch
from torch import Tensor, nn

from pose.config import Experiment, Testing, read_experiment
from pose.data.dataset import PoseDataset
from pose.data.loader import testing_loader
from pose.data.samples import Samples, open_split
from pose.datasets import dataset_of
from pose.evaluation.coco import FAST, evaluate
from pose.evaluation.decode import Method
from pose.evaluation.flip_test import average
from pose.evaluation.options import Evaluator
from pose.evaluation.predictions import Predictions
from pose.evaluation.results import to_records
from pose.evaluation.score import SCORERS, APScorer
from pose.infer import found_joints, predictions_of
from pose.models import create_model
from pose.targets.heatmap import normalise
from pose.training.faults import faults_in_one_line
from pose.weights.about import read_about, require_fit
from pose.weights.file import load_weights

PROTOCOL = "protocol"
SHIFTS = (0, 1, 2)
METRICS = {"AP": ("AP",), "PCKh@0.5": ("PCKh@0.5", "PCKh@0.1")}


class Variant(NamedTuple):
    """The protocol, or what stands for one ``choice`` of it."""

    choice: str
    value: str
    test: Testing


def variants(test: Testing, is_ap: bool) -> list[Variant]:
    """The protocol, and for each choice the other values; those of persons' scores for AP alone."""
    choices: dict[str, Iterable[Any]] = {
        "flip": (True, False),
        "flip_shift": SHIFTS if test.flip else (),
        "decode": get_args(Method),
    }
    if is_ap:
        choices |= {
            "rescore_threshold": (0.0, 0.2),
            "oks_nms": (0.9, 0.99, 1.0),
            "soft_oks_nms": (True, False),
        }
    found = [Variant(PROTOCOL, "", test)]
    for name, values in choices.items():
        for value in values:
            if value != getattr(test, name):
                changed = test.model_copy(update={name: value})
                found.append(Variant(name, str(value), changed))
    return found


@arithmetic()
@torch.inference_mode()
def predict(
    model: nn.Module,
    samples: Samples,
    experiment: Experiment,
    tests: Iterable[Testing],
    device: torch.device,
    workers: int = 0,
) -> dict[tuple[Any, ...], Tensor]:
    """Joints and scores (N, K, 3) of every sample, by each way of reading maps among ``tests``.

    They are equal to the bit to :func:`pose.infer.predict`'s. PoseError where the model gives
    values that are not finite, and for an unreadable image.
    """
    model.eval()
    tests = {_reading(test): test for test in tests}
    parts: dict[tuple[Any, ...], list[Tensor]] = {reading: [] for reading in tests}
    dataset = PoseDataset(samples, experiment.input_size)
    target, batch_size = experiment.target, experiment.test.inference_batch
    with progress_bar("audit", len(dataset)) as advance:
        for batch in testing_loader(dataset, batch_size, workers, device):
            images = normalise(batch["image"].to(device, non_blocking=True), experiment.image)
            index = batch["index"].numpy()
            mirrored, straight = model(images.flip(-1)), model(images)
            for reading, test in tests.items():
                maps = straight
                if test.flip:
                    flip_index = samples.keypoints.flip_index
                    maps = average(straight, mirrored, flip_index, test.flip_shift)
                found = found_joints(maps / target.peak, samples, index, test, target)
                parts[reading].append(found)
            advance(len(index))
    return {reading: torch.cat(part) for reading, part in parts.items()}


def _reading(test: Testing) -> tuple[Any, ...]:
    """What of the settings decides the joints."""
    return test.flip, test.flip_shift if test.flip else None, test.decode


def audit(
    model: nn.Module,
    samples: Samples,
    experiment: Experiment,
    scorer: Any,
    device: torch.device,
    workers: int = 0,
) -> Iterator[dict[str, Any]]:
    """A row per variant and metric, the protocol's first: its score, and by how much it differs.

    ``scorer`` is one of :data:`pose.evaluation.score.SCORERS`, made from the val split's truth.
    """
    metric = dataset_of(experiment.dataset).metric
    is_ap = metric == "AP"
    tried = variants(experiment.test, is_ap)
    joints = predict(model, samples, experiment, (v.test for v in tried), device, workers)
    found = {reading: predictions_of(samples, of.numpy()) for reading, of in joints.items()}
    scores = {(v.choice, v.value): scorer.metrics(found[_reading(v.test)], v.test) for v in tried}
    own = found[_reading(experiment.test)]
    if is_ap:
        blank = own.keypoints.copy()
        blank[..., 2] = 1
        alone = predictions_of(samples, blank)
        scores["rescoring", "box score alone"] = scorer.metrics(alone, experiment.test)
        scores |= _by_evaluators(own, scorer, experiment.test)
    else:
        at_11 = {"PCKh@0.1": scores[PROTOCOL, ""]["PCKh@0.11"]}
        scores["limit", "0.11 for 0.1, as HRNet prints it"] = at_11
    for (key, row), name in product(scores.items(), METRICS[metric]):
        if name in row:
            choice, value = key
            yield {
                "choice": choice,
                "value": value,
                "metric": name,
                "score": row[name],
                "difference": row[name] - scores[PROTOCOL, ""][name],
            }


def _by_evaluators(
    predictions: Predictions, scorer: APScorer, test: Testing
) -> dict[tuple[str, str], dict[str, Any]]:
    """The protocol's metrics by each evaluator that is installed."""
    choices = test.rescore_threshold, test.oks_nms, test.soft_oks_nms
    results = to_records(predictions, scorer.truth.keypoints, *choices)
    return {
        ("evaluator", name): evaluate(results, scorer.truth, name)
        for name in get_args(Evaluator)
        if find_spec(FAST if name == "fast" else name)
    }


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)

    experiment = read_experiment(args.experiment)
    require_fit(args.weights, read_about(args.weights), experiment)
    device = select_device(args.device)
    dataset = dataset_of(experiment.dataset)
    sources: dict[str, Samples] = {}
    for name, detections in {"gt": None, "det": args.detections}.items():
        if name == "gt" or detections:
            where = experiment.dataset, args.data_root, "val", experiment.input_size, detections
            sources[name] = open_split(*where)
    architecture = experiment.model_options.architecture()
    model = create_model(experiment.model, len(dataset.keypoints), **architecture)
    load_weights(model, args.weights)
    scorer = SCORERS[dataset.metric](dataset.read_truth(dataset.ground_truth(args.data_root)))
    with faults_in_one_line(f"set test.inference_batch below {experiment.test.inference_batch}"):
        model.to(device, memory_format=torch.channels_last)
        rows = {
            boxes: list(audit(model, samples, experiment, scorer, device, args.workers))
            for boxes, samples in sources.items()
        }
    rows["gt"] += [
        there | {"choice": "boxes", "value": "det", "difference": there["score"] - here["score"]}
        for here, there in zip(rows["gt"], rows.get("det", []), strict=False)
        if here["choice"] == PROTOCOL
    ]
    about = {"model": experiment.model, "seed": experiment.seed}
    table = pd.DataFrame(about | {"boxes": name} | row for name in rows for row in rows[name])
    if args.output:
        write_file(args.output, table.to_csv(index=False))
    print(table.drop(columns=list(about)).to_markdown(index=False, floatfmt=".4f"))


if __name__ == "__main__":
    main()
