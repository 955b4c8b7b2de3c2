"""Prediction is the same to the bit for any number of processes, and tells what went wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from prediction_runs import CPU, ROOT, SIZE, TinyNet, predict_together, settings, with_a_lost_image

from pose import evaluate, infer
from pose.config import experiment
from pose.data.samples import open_split
from pose.data.synthetic.render import SyntheticSettings, write_dataset
from pose.datasets.keypoints import COCO
from pose.evaluation.predictions import Predictions
from pose.evaluation.score import score
from pose.infer import predict
from pose.models import create_model
from pose.weights.file import write


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("people") / "data"
    write_dataset(folder, SyntheticSettings(train_images=2, val_images=8))
    return folder


@pytest.fixture(scope="module")
def samples(data_root):
    return open_split("synthetic", data_root, "val", SIZE)


@pytest.mark.parametrize("processes", [2, 3])
def test_any_number_of_processes_predicts_the_same_to_the_bit(
    processes, data_root, samples, tmp_path, monkeypatch
):
    predict_together(processes, tmp_path, data_root)
    for batch_size in (4, 64):
        monkeypatch.setattr(infer, "BATCH_SIZE", batch_size)
        alone = predict(TinyNet(), samples, settings(), CPU)
        assert len(alone) % batch_size
        for rank in range(processes):
            shared = Predictions.load(tmp_path / f"{processes}-{rank}-{batch_size}.npz")
            for name in ("keypoints", "person_ids", "image_ids", "box_scores"):
                np.testing.assert_array_equal(getattr(shared, name), getattr(alone, name))
            assert score(settings(), shared, data_root) == score(settings(), alone, data_root)
    errors = {(tmp_path / f"{processes}-{rank}.txt").read_text() for rank in range(processes)}
    assert len(errors) == 1 and "lost.jpg" in errors.pop()


def test_a_lost_image_met_by_a_loaders_worker_is_one_line(samples, monkeypatch):
    def main() -> None:
        predict(TinyNet(), with_a_lost_image(samples), settings(), CPU, workers=1)

    with pytest.raises(SystemExit, match=r"^error: image [^\n]*lost.jpg[^\n]*$"):
        infer.command(main)()


@pytest.mark.parametrize("decode", ["quarter", "argmax", "dark", "soft_argmax"])
def test_a_net_of_stride_1_is_decoded_from_its_own_maps_size(decode, samples):
    found = predict(TinyNet(stride=1), samples, settings(decode=decode, flip_shift=0), CPU)
    half = samples.scales * 100
    inside = np.abs(found.keypoints[..., :2] - samples.centers[:, None]) <= half[:, None] + 8
    assert inside.mean() > 0.95
    coarse = predict(TinyNet(stride=4), samples, settings(decode=decode), CPU)
    assert found.keypoints.shape == coarse.keypoints.shape
    expected = {"boxes": "gt", "decode": decode, "flip": True, "flip_shift": 0, "skipped": {}}
    assert found.about == expected


def test_scores_are_shares_of_the_targets_peak(samples):
    usual = settings()
    high = usual.model_copy(update={"target": usual.target.model_copy(update={"peak": 255.0})})
    one, other = (predict(TinyNet(), samples, which, CPU).keypoints for which in (usual, high))
    np.testing.assert_allclose(other[..., 2] * 255, one[..., 2], rtol=1e-5)
    np.testing.assert_allclose(other[..., :2], one[..., :2], atol=1e-3)


def arguments_of(data_root: Path, folder: Path, **training_facts: object) -> list[str]:
    """Arguments of ``pose.infer`` for a small net's weights, which are written to ``folder``."""
    net = create_model("shufflenetv2", len(COCO))
    settings = experiment("shufflenetv2", "synthetic", (64, 64))
    write(folder / "weights.safetensors", net, settings, **training_facts)
    arguments = ["--experiment", settings.model_dump_json(), "--data-root", str(data_root)]
    return [*arguments, "--weights", str(folder / "weights.safetensors"), "--device", "cpu"]


def test_a_result_tells_what_was_left_out_of_its_training_set(data_root, tmp_path, monkeypatch):
    arguments = arguments_of(
        data_root, tmp_path, training_persons=7, training_skipped={"box has no area": 2}
    )
    monkeypatch.setattr("sys.argv", ["", *arguments, "--output", str(tmp_path / "raw.npz")])
    infer.main()
    annotations = data_root / "annotations" / "person_keypoints_val2017.json"
    result = tmp_path / "metrics.json"
    files = {"predictions": tmp_path / "raw.npz", "annotations": annotations, "output": result}
    evaluate.main(["coco", *(f"--{name}={file}" for name, file in files.items())])
    row = json.loads(result.read_text())
    assert row["skipped"] == {}
    assert (row["training_persons"], row["training_skipped"]) == (7, {"box has no area": 2})


@pytest.mark.slow
def test_torchrun_writes_once_what_a_single_process_writes(data_root, tmp_path):
    arguments = ["-m", "pose.infer", *arguments_of(data_root, tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for launcher, output in (([], "alone.npz"), (torchrun, "shared.npz")):
        command = [sys.executable, *launcher, *arguments, "--output", str(tmp_path / output)]
        subprocess.run(command, check=True, env=environment, cwd=ROOT)
    alone, shared = (Predictions.load(tmp_path / f"{name}.npz") for name in ("alone", "shared"))
    np.testing.assert_array_equal(alone.keypoints, shared.keypoints)
