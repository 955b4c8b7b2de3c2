"""Small predictions for the tests, in this process or by several."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from pose import infer
from pose.config import Experiment, experiment
from pose.data.samples import Samples, open_split
from pose.datasets.coco import COCO
from pose.support.errors import PoseError

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
SIZE = (64, 48)


class TinyNet(nn.Module):
    """Random heat maps, of stride 4 or 1, that depend on the image."""

    def __init__(self, stride: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, len(COCO), 5, stride, padding=2 if stride == 1 else 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images)


def settings(**test: object) -> Experiment:
    overrides = {"model_options": {"init": "scratch"}, "test": test}
    return experiment("eeffpose-p0-order8", "synthetic", SIZE, "controlled", 0, overrides)


def with_a_lost_image(samples: Samples) -> Samples:
    """The last image is not there: with several processes, the last one meets it."""
    paths = samples.image_paths.copy()
    paths[-1] = "lost.jpg"
    return replace(samples, image_paths=paths)


def one_of_several(rank: int, processes: int, folder: Path, data_root: Path) -> None:
    """Predict whole batches and less than a batch a process, then meet a lost image."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder / f'rendezvous{processes}'}"
    dist.init_process_group("gloo", rendezvous, rank=rank, world_size=processes)
    samples = open_split("synthetic", data_root, "val", SIZE)
    for batch_size in (4, 64):
        chosen = settings(inference_batch=batch_size)
        predictions = infer.predict(TinyNet(), samples, chosen, CPU)
        predictions.save(folder / f"{processes}-{rank}-{batch_size}.npz")
    try:
        infer.predict(TinyNet(), with_a_lost_image(samples), settings(), CPU)
    except PoseError as error:
        (folder / f"{processes}-{rank}.txt").write_text(str(error))
    dist.destroy_process_group()


def predict_together(processes: int, folder: Path, data_root: Path) -> None:
    """Run :func:`one_of_several` as real processes, which a server that imported torch forks."""
    os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prediction_runs"])
    started = [
        context.Process(target=one_of_several, args=(rank, processes, folder, data_root))
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * processes
