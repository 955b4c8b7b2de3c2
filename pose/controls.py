"""Between which scores a net can be, from the annotations alone: ``python -m pose.controls``.

The reference is a net that gives the target itself: the annotated joints go through target maps,
decoding and back-projection to the evaluator, with the protocol's centres rounded to heat-map
pixels and with unrounded ones. The floor is the mean pose of the annotated persons, put into each
box. A detector's box shows the person that it covers best, at an IoU above 0.5; boxes without one
count for the floor alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.files import write_file


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.controls", __doc__)
    parser.add_argument(
        "--experiment", nargs="+", required=True, help="JSON texts or files, of one data set"
    )
    parser.add_argument("--data-root", type=Path, required=True, help="images are not needed")
    parser.add_argument("--detections", type=Path, help="a detector's boxes, beside the true ones")
    parser.add_argument("--output", type=cli.output_file(".csv"), help="write the table here")
    return parser


cli.answer_early(__name__, command_line)

import numpy as np
import pandas as pd
import torch

from pose.config import Experiment, read_experiment
from pose.data.crop import PIXEL_STD
from pose.data.samples import Samples, load_detections, load_persons
from pose.datasets import dataset_of
from pose.datasets.records import Records, read_detections
from pose.evaluation.boxes import box_iou
from pose.evaluation.decode import Method, decode
from pose.evaluation.predictions import Predictions
from pose.evaluation.score import SCORERS
from pose.targets.heatmap import gaussian_targets

BATCH_SIZE = 256
COVERED = 0.5  # IoU of a detector's box with a person's
CENTRES = {"rounded": False, "unrounded": True}
METRICS = {"AP": ("AP", "AP50", "AP75", "APM", "APL", "AR"), "PCKh@0.5": ("PCKh@0.5", "PCKh@0.1")}


@dataclass(frozen=True)
class Boxes:
    """The boxes (N) of one ``source``, "gt" or "det", and whom they show.

    ``persons`` (N,): the annotated person in each box, -1 for none.
    """

    source: str
    samples: Samples
    persons: np.ndarray

    def predictions(self, rows: np.ndarray, joints: np.ndarray, scores: np.ndarray) -> Predictions:
        """``joints`` (M, K, 2) in image pixels and ``scores`` (M, K) in the boxes ``rows`` (M,)."""
        samples = self.samples
        return Predictions(
            image_ids=samples.image_ids[rows],
            person_ids=samples.person_ids[rows],
            keypoints=np.concatenate([joints, scores[..., None]], axis=-1),
            box_scores=samples.box_scores[rows],
            areas=samples.areas[rows],
            centers=samples.centers[rows],
            scales=samples.scales[rows],
        )


def covered_persons(
    boxes: np.ndarray, images: np.ndarray, persons: np.ndarray, person_images: np.ndarray
) -> np.ndarray:
    """The person (N,) that each box covers best at an IoU above 0.5, -1 where there is none.

    ``boxes`` (N, 4) and ``persons`` (P, 4) x, y, width, height; ``person_images`` (P,) is sorted.
    """
    first = np.searchsorted(person_images, images)
    end = np.searchsorted(person_images, images, side="right")
    best, found = np.full(len(boxes), COVERED), np.full(len(boxes), -1)
    for place in range((end - first).max(initial=0)):
        rows = np.flatnonzero(first + place < end)
        candidates = first[rows] + place
        iou = box_iou(boxes[rows], persons[candidates])
        better = iou > best[rows]
        best[rows[better]], found[rows[better]] = iou[better], candidates[better]
    return found


def reference(
    boxes: Boxes, truth: Samples, experiment: Experiment, method: Method, unbiased: bool
) -> Predictions:
    """What is read from the target maps of the persons in the boxes, with or without rounding."""
    rows = np.flatnonzero(boxes.persons >= 0)
    samples, target = boxes.samples, experiment.target
    parts = [(torch.zeros(0, len(samples.keypoints), 2), torch.zeros(0, len(samples.keypoints)))]
    for batch in np.split(rows, range(BATCH_SIZE, len(rows), BATCH_SIZE)):
        persons = boxes.persons[batch]
        centers, scales = samples.centers[batch, None], samples.scales[batch, None]
        height, width = experiment.input_size
        joints = (truth.joints[persons] - centers) * (width / (PIXEL_STD * scales[..., :1]))
        maps, _ = gaussian_targets(
            torch.from_numpy(joints + np.float32([width / 2, height / 2])),
            torch.from_numpy(truth.visible[persons]),
            experiment.heatmap_size,
            *(target.sigma, target.stride, target.offset, unbiased),
        )
        box = torch.from_numpy(samples.centers[batch]), torch.from_numpy(samples.scales[batch])
        beta = experiment.test.soft_argmax_beta
        parts.append(decode(maps, *box, method, target.sigma, beta, target.offset))
    joints, scores = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    return boxes.predictions(rows, joints, scores)


def floor(boxes: Boxes, truth: Samples) -> Predictions:
    """The mean pose of the annotated persons, relative to their boxes, in each of the boxes."""
    relative = (truth.joints - truth.centers[:, None]) / truth.scales[:, None]
    known = truth.visible[..., None]
    mean = (relative * known).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    samples = boxes.samples
    joints = samples.centers[:, None] + mean * samples.scales[:, None]
    return boxes.predictions(np.arange(len(samples)), joints, np.ones(joints.shape[:2]))


def read_boxes(
    experiment: Experiment, data_root: Path, detections: Path | None
) -> tuple[Samples, list[Boxes]]:
    """The annotated persons of the val split, and their boxes and, if any, the detector's.

    PoseError for malformed records, and for detections on a data set that takes none.
    """
    dataset, size = dataset_of(experiment.dataset), experiment.input_size
    annotations = dataset.annotations(data_root, "val")
    truth = load_persons(dataset, annotations, data_root, size)
    sources = [Boxes("gt", truth, np.arange(len(truth)))]
    if detections:
        if "det" not in dataset.boxes:
            raise PoseError(f"{detections}: no detector's boxes are taken on {dataset.name}")
        samples = load_detections(dataset, detections, annotations, data_root, size)
        found = read_detections(detections, dataset.read_images(annotations))
        persons = dataset.read_persons(annotations)
        shown = covered_persons(_xywh(found), found["image"], _xywh(persons), persons["image"])
        sources.append(Boxes("det", samples, shown))
    return truth, sources


def _xywh(records: Records) -> np.ndarray:
    return np.concatenate([records["center"] - records["sides"] / 2, records["sides"]], axis=1)


def controls(
    experiment: Experiment, data_root: Path, detections: Path | None = None
) -> Iterator[dict[str, Any]]:
    """A row per source of boxes and control, with the metrics as ``pose.evaluate`` gives them."""
    dataset = dataset_of(experiment.dataset)
    scorer = SCORERS[dataset.metric](dataset.read_truth(dataset.ground_truth(data_root)))
    truth, sources = read_boxes(experiment, data_root, detections)
    for boxes in sources:
        cases = {("floor", "", ""): floor(boxes, truth)}
        for centre, unbiased in CENTRES.items():
            for method in get_args(Method):
                found = reference(boxes, truth, experiment, method, unbiased)
                cases["reference", centre, method] = found
        for (control, centre, method), predictions in cases.items():
            row = {"boxes": boxes.source, "control": control, "centre": centre, "decode": method}
            metrics = scorer.metrics(predictions, experiment.test)
            yield row | {name: metrics[name] for name in METRICS[dataset.metric]}


def _same(experiment: Experiment) -> Any:
    """What the controls of an experiment depend on."""
    test = experiment.test.model_copy(update={"decode": "quarter", "flip": False, "flip_shift": 0})
    return experiment.dataset, experiment.input_size, experiment.target, test


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)

    experiments = [read_experiment(text) for text in args.experiment]
    if len(names := {experiment.dataset for experiment in experiments}) > 1:
        raise PoseError(f"experiments on {' and '.join(sorted(names))}: give those of one data set")
    rows, known = [], {}
    for experiment in experiments:
        key = repr(_same(experiment))
        if key not in known:
            known[key] = list(controls(experiment, args.data_root, args.detections))
        about = {
            "model": experiment.model,
            "dataset": experiment.dataset,
            "protocol": experiment.protocol,
            "input": "{}x{}".format(*experiment.input_size),
        }
        rows += [about | row for row in known[key]]
    table = pd.DataFrame(rows)
    if args.output:
        write_file(args.output, table.to_csv(index=False))
    shown = table.drop_duplicates(list(table.columns.drop(["model", "protocol"])))
    print(shown.to_markdown(index=False, floatfmt=".4f"))


if __name__ == "__main__":
    main()
