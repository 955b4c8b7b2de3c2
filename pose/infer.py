"""Predict the persons of a data set's val split: ``python -m pose.infer``.

Writes raw predictions, before rescoring and suppression, which :mod:`pose.evaluate` scores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from pose.config import Experiment, read_experiment
from pose.data.dataset import PoseDataset
from pose.data.samples import Samples, open_split
from pose.device import select_device
from pose.errors import PoseError, command
from pose.evaluation.decode import decode
from pose.evaluation.flip_test import flip_average
from pose.evaluation.predictions import Predictions
from pose.heatmap import normalise
from pose.models import create_model
from pose.progress import progress_bar
from pose.training.loader import testing_loader

BATCH_SIZE = 64


@torch.inference_mode()
def predict(
    model: nn.Module,
    samples: Samples,
    experiment: Experiment,
    device: torch.device,
    workers: int = 0,
) -> Predictions:
    """Keypoints of every sample in order, by the experiment's test settings."""
    model.eval()
    loader = testing_loader(PoseDataset(samples, experiment.input_size), BATCH_SIZE, workers)
    parts = []
    with progress_bar("inference", len(samples)) as advance:
        for batch in loader:
            images = normalise(batch["image"].to(device))
            if experiment.test.flip:
                shift = experiment.test.flip_shift
                heatmaps = flip_average(model, images, samples.keypoints, shift)
            else:
                heatmaps = model(images)
            index = batch["index"].numpy()  # numpy would take a tensor of one element for a scalar
            boxes = (
                torch.from_numpy(array[index]).to(device)
                for array in (samples.centers, samples.scales)
            )
            coords, scores = decode(heatmaps, *boxes)
            parts.append(torch.cat([coords, scores[..., None]], dim=-1).cpu())
            advance(len(images))
    return Predictions(
        image_ids=samples.image_ids,
        person_ids=samples.person_ids,
        keypoints=torch.cat(parts).numpy(),
        box_scores=samples.box_scores,
        areas=samples.areas,
        centers=samples.centers,
        scales=samples.scales,
    )


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a ``.safetensors`` file of the same architecture, strictly."""
    try:
        load_model(model, path)
    except FileNotFoundError:
        raise PoseError(f"weights {path}: no such file; run pose.train first") from None
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise PoseError(f"weights {path} do not fit the model: {reason}") from None


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True, help="JSON text or file")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--detections", type=Path, help="detector boxes; default: ground truth")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()

    experiment = read_experiment(args.experiment)
    device = select_device(args.device)
    samples = open_split(
        experiment.dataset, args.data_root, "val", experiment.input_size, args.detections
    )
    model = create_model(
        experiment.model,
        len(samples.keypoints),
        activation=experiment.model_options.activation,
    )
    load_weights(model, args.weights)
    model.to(device, memory_format=torch.channels_last)
    predict(model, samples, experiment, device, args.workers).save(args.output)


if __name__ == "__main__":
    main()
