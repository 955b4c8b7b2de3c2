"""Predict the persons of a data set's split: ``python -m pose.infer``.

Writes raw predictions, before rescoring and suppression, which :mod:`pose.evaluate` scores.
``torchrun --nproc-per-node N -m pose.infer`` shares the work between processes.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from pose.support import cli
from pose.support.device import arithmetic, device_name, select_device
from pose.support.errors import PoseError, command
from pose.support.fingerprint import code_of
from pose.support.progress import progress_bar


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.infer", __doc__)
    parser.add_argument("--experiment", required=True, help="JSON text or file")
    parser.add_argument("--weights", type=Path, required=True, help=cli.WEIGHTS)
    parser.add_argument("--data-root", type=Path, required=True, help=cli.DATA_ROOT)
    parser.add_argument("--split", choices=("val", "test-dev"), default="val")
    parser.add_argument("--detections", type=Path, help="detector boxes; default: ground truth")
    parser.add_argument("--output", type=cli.output_file(), required=True, help="an .npz file")
    parser.add_argument(
        "--gt-output",
        type=cli.output_file(),
        metavar="FILE",
        help="beside --detections: predict the ground-truth boxes as well, into this file",
    )
    parser.add_argument("--device", type=device_name, default="auto", help=cli.DEVICE)
    parser.add_argument("--workers", type=cli.WORKERS, default=0, help="loader processes")
    return parser


cli.answer_early(__name__, command_line)

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from pose.config import Experiment, Target, Testing, read_experiment
from pose.data.dataset import PoseDataset
from pose.data.loader import testing_loader
from pose.data.samples import Samples, open_split
from pose.datasets.keypoints import KeypointSet
from pose.evaluation.decode import decode
from pose.evaluation.flip_test import flip_average
from pose.evaluation.predictions import Predictions
from pose.models import create_model
from pose.models.folding import fold_batch_norm
from pose.parallel.distributed import process_group, rank
from pose.parallel.share import gather, own_share, raise_together
from pose.targets.heatmap import normalise
from pose.training.faults import faults_in_one_line
from pose.weights.about import read_about, require_fit
from pose.weights.file import load_weights

TRAINING_FACTS = ("training_persons", "training_skipped")  # of a weights file, if it has them
PATIENCE = timedelta(minutes=30)  # with a process that has more to do than the others


def predict(
    model: nn.Module,
    samples: Samples,
    experiment: Experiment,
    device: torch.device,
    workers: int = 0,
) -> Predictions:
    """Keypoints of every sample in order, by the experiment's test settings.

    In a process group each process predicts its share, and every one returns the whole, on a CPU
    equal to the bit to what a single process finds. Raises PoseError for an unreadable image, in
    all.
    """
    model.eval()
    batch_size = experiment.test.inference_batch
    share = own_share(len(samples), batch_size)
    dataset = Subset(PoseDataset(samples, experiment.input_size), share)
    loader = testing_loader(dataset, batch_size, workers, device)
    own = torch.zeros(0, len(samples.keypoints), 3)
    error = None
    try:
        own = predict_batches(model, loader, samples, experiment, device)
    except PoseError as caught:
        error = caught
    raise_together(error)
    whole = gather(own, share, len(samples)).numpy()
    return predictions_of(samples, whole, **_about(samples, experiment))


def predictions_of(samples: Samples, keypoints: np.ndarray, **about: Any) -> Predictions:
    """The raw predictions that ``keypoints`` (N, K, 3) of all samples are."""
    return Predictions(
        image_ids=samples.image_ids,
        person_ids=samples.person_ids,
        keypoints=keypoints,
        box_scores=samples.box_scores,
        areas=samples.areas,
        centers=samples.centers,
        scales=samples.scales,
        about=about,
    )


def _about(samples: Samples, experiment: Experiment) -> dict[str, Any]:
    """The choices behind the predictions, which every result made of them tells."""
    test = experiment.test
    return {
        "boxes": "det" if (samples.person_ids < 0).any() else "gt",
        "decode": test.decode,
        "flip": test.flip,
        "flip_shift": test.flip_shift if test.flip else None,
        "skipped": dict(samples.skipped),
    }


def _made_from(weights: dict[str, Any], experiment: Experiment) -> dict[str, Any]:
    """What the weights were made from, and the code of this step."""
    origin = weights.get("made_from")
    if not (isinstance(origin, dict) and isinstance(origin.get("code"), dict)):
        origin = {"code": {}}  # they do not tell
    code = code_of("pose.infer", experiment.model, experiment.dataset)
    return origin | {"code": origin["code"] | {"infer": code.fingerprint}}


@arithmetic()
@torch.inference_mode()
def predict_batches(
    model: nn.Module,
    loader: DataLoader,
    samples: Samples,
    experiment: Experiment,
    device: torch.device,
) -> Tensor:
    """Joints and scores (N, K, 3), on the CPU, of the samples that ``loader`` gives.

    PoseError where the model gives values that are not finite.
    """
    parts = [torch.zeros(0, len(samples.keypoints), 3)]
    with progress_bar("inference", len(loader.dataset)) as advance:
        for batch in loader:
            heatmaps = _heatmaps(model, batch["image"], samples.keypoints, experiment, device)
            index = batch["index"].numpy()  # numpy would take a tensor of one element for a scalar
            parts.append(found_joints(heatmaps, samples, index, experiment.test, experiment.target))
            advance(len(index))
    return torch.cat(parts)


def found_joints(
    heatmaps: Tensor, samples: Samples, index: np.ndarray, test: Testing, target: Target
) -> Tensor:
    """Joints and scores (B, K, 3), on the CPU, in the maps of the samples ``index`` (B,).

    PoseError for values that are not finite.
    """
    boxes = [
        torch.from_numpy(array[index]).to(heatmaps.device)
        for array in (samples.centers, samples.scales)
    ]
    joints, scores = decode(
        heatmaps, *boxes, test.decode, target.sigma, test.soft_argmax_beta, target.offset
    )
    found = torch.cat([joints, scores[..., None]], dim=-1).cpu()
    if not found.isfinite().all():
        raise PoseError(
            "the model gives values that are not finite numbers: its weights are damaged or"
            " of another model; train or fetch them again"
        )
    return found


def _heatmaps(
    model: nn.Module,
    crops: Tensor,
    keypoints: KeypointSet,
    experiment: Experiment,
    device: torch.device,
) -> Tensor:
    """Heat maps (B, K, h, w) of ``crops`` (B, H, W, 3) uint8; a certain joint reaches 1."""
    images = normalise(crops.to(device, non_blocking=True), experiment.image)
    if experiment.test.flip:
        shift = experiment.test.flip_shift
        heatmaps = flip_average(model, images, keypoints, shift)
    else:
        heatmaps = model(images)
    return heatmaps / experiment.target.peak


@command
def main(argv: list[str] | None = None) -> None:
    parser = command_line()
    args = parser.parse_args(argv)
    if args.gt_output and not args.detections:
        parser.error("--gt-output stands beside --detections; without them, --output is enough")

    experiment = read_experiment(args.experiment)
    about = read_about(args.weights)
    differing = require_fit(args.weights, about, experiment)
    device = select_device(args.device)
    sources = {args.output: args.detections} | ({args.gt_output: None} if args.gt_output else {})
    place = experiment.dataset, args.data_root, args.split, experiment.input_size
    people = {output: open_split(*place, boxes) for output, boxes in sources.items()}
    joints = len(people[args.output].keypoints)
    architecture = experiment.model_options.architecture()
    model = create_model(experiment.model, joints, **architecture)
    load_weights(model, args.weights)
    smaller = f"set test.inference_batch below {experiment.test.inference_batch}"
    with faults_in_one_line(smaller), process_group(PATIENCE):
        model.to(device, memory_format=torch.channels_last)
        fold_batch_norm(model.eval(), torch.zeros(1, 3, *experiment.input_size, device=device))
        for output, samples in people.items():
            predictions = predict(model, samples, experiment, device, args.workers)
            if rank() == 0:
                predictions.about.update({key: about.get(key) for key in TRAINING_FACTS})
                predictions.about["differs_from_training"] = "; ".join(differing) or None
                predictions.about["made_from"] = _made_from(about, experiment)
                predictions.save(output)


if __name__ == "__main__":
    main()
