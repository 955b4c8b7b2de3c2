"""Prediction is the same to the bit for any number of processes, and tells what went wrong."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from prediction_runs import CPU, ROOT, SIZE, TinyNet, predict_together, settings, with_a_lost_image
from safetensors.torch import save_file

from pose import audit, evaluate, infer
from pose.config import experiment
from pose.data.samples import open_split
from pose.data.synthetic.render import write_dataset
from pose.data.synthetic.rendered import SyntheticSettings
from pose.datasets.coco import COCO
from pose.evaluation.predictions import Predictions
from pose.evaluation.score import score
from pose.infer import predict
from pose.models import create_model
from pose.models.mobile import ShuffleNetV2Pose
from pose.support.errors import PoseError
from pose.support.fingerprint import code_of
from pose.weights.about import read_about, require_fit
from pose.weights.file import load_weights, write


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
    processes, data_root, samples, tmp_path
):
    predict_together(processes, tmp_path, data_root)
    for batch_size in (4, 64):
        alone = predict(TinyNet(), samples, settings(inference_batch=batch_size), CPU)
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


def test_a_prediction_never_computes_in_tf32(samples, monkeypatch):
    class Looking(TinyNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.add((torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark))
            return super().forward(images)

    seen = set()
    for flag in ("allow_tf32", "benchmark"):
        monkeypatch.setattr(torch.backends.cudnn, flag, True)
    predict(Looking(), samples, settings(), CPU)
    assert seen == {(False, False)}


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


def test_a_result_tells_what_its_weights_were_made_from(data_root, tmp_path, monkeypatch):
    arguments = arguments_of(
        *(data_root, tmp_path),
        training_persons=7,
        training_skipped={"box has no area": 2},
        made_from={"experiment": "0123abcd", "data": "4567cdef", "code": {"train": "89ab0123"}},
    )
    monkeypatch.setattr("sys.argv", ["", *arguments, "--output", str(tmp_path / "raw.npz")])
    infer.main()
    annotations = data_root / "annotations" / "person_keypoints_val2017.json"
    result = tmp_path / "metrics.json"
    files = {"predictions": tmp_path / "raw.npz", "annotations": annotations, "output": result}
    evaluate.main(["synthetic", *(f"--{name}={file}" for name, file in files.items())])
    row = json.loads(result.read_text())
    assert row["differs_from_training"] is None
    assert row["made_from"] == {
        "experiment": "0123abcd",
        "data": "4567cdef",
        "code": {
            "train": "89ab0123",
            "infer": code_of("pose.infer", "shufflenetv2", "synthetic").fingerprint,
            "evaluate": code_of("pose.evaluate", dataset="synthetic").fingerprint,
        },
    }
    assert row["skipped"] == {}
    assert (row["training_persons"], row["training_skipped"]) == (7, {"box has no area": 2})


def test_one_process_predicts_both_sources_of_boxes_as_two_do(data_root, tmp_path):
    arguments = arguments_of(data_root, tmp_path)
    found = ["--detections", str(data_root / "person_detections_val2017.json")]
    paths = {name: tmp_path / f"{name}.npz" for name in ("gt", "det", "both_gt", "both_det")}
    infer.main([*arguments, "--output", str(paths["gt"])])
    infer.main([*arguments, *found, "--output", str(paths["det"])])
    files = ["--output", str(paths["both_det"]), "--gt-output", str(paths["both_gt"])]
    infer.main([*arguments, *found, *files])
    for boxes in ("gt", "det"):
        alone, together = (Predictions.load(paths[name]) for name in (boxes, f"both_{boxes}"))
        np.testing.assert_array_equal(together.keypoints, alone.keypoints)
        assert together.about == alone.about and together.about["boxes"] == boxes


@pytest.mark.parametrize("method", ["to", "forward"])
def test_a_full_memory_names_the_batch_of_inference(data_root, tmp_path, monkeypatch, method):
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    arguments = arguments_of(data_root, tmp_path)
    monkeypatch.setattr(ShuffleNetV2Pose, method, full)
    line = r"^error: out of memory \(.* 2.00 GiB\); set test.inference_batch below 64$"
    for main, output in ((infer.main, "gt.npz"), (audit.main, "audit.csv")):
        with pytest.raises(SystemExit, match=line):
            main([*arguments, "--output", str(tmp_path / output)])


def test_a_second_output_without_a_second_source_of_boxes_is_refused(tmp_path, capsys):
    arguments = ["--experiment", "{}", "--weights", "w", "--data-root", "d", "--output", "a.npz"]
    with pytest.raises(SystemExit):
        infer.main([*arguments, "--gt-output", str(tmp_path / "b.npz")])
    assert "--gt-output stands beside --detections" in capsys.readouterr().err


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


MISH = {"model_options": {"activation": "mish"}}
OTHER = {
    "image.channels: rgb there, bgr here": {"image": {"channels": "bgr"}},
    "model_options.activation: silu there, mish here": MISH,
    "target.offset: 0.0 there, 0.5 here": {"target": {"offset": 0.5}},
    "target.peak: 1.0 there, 255.0 here": {"target": {"peak": 255.0}},
    "target.stride: 4 there, 2 here": {"target": {"stride": 2}},
}


@pytest.mark.parametrize("said", OTHER)
def test_weights_trained_for_other_settings_are_refused_with_both_values(said):
    trained = experiment("eeffpose-p0-order8", "coco", SIZE)
    asked = experiment("eeffpose-p0-order8", "coco", SIZE, overrides=OTHER[said])
    with pytest.raises(PoseError, match=rf"^weights w were trained for other settings \({said}\)"):
        require_fit(Path("w"), {"experiment": trained}, asked)


def test_weights_for_another_data_sets_joints_are_refused():
    of_coco, of_mpii = (experiment("hrnet-w32", name, (256, 256)) for name in ("coco", "mpii"))
    with pytest.raises(PoseError, match=r"\(joints of: coco there, mpii here\)"):
        require_fit(Path("w"), {"experiment": of_coco}, of_mpii)


def test_other_sizes_data_and_tests_are_allowed_and_told():
    trained = experiment("hrnet-w32", "coco", (256, 192))
    other = {"test": {"flip": False, "decode": "dark"}, "train": {"lr": 1}}
    asked = experiment("hrnet-w32", "synthetic", (384, 288), seed=1, overrides=other)
    assert require_fit(Path("w"), {"experiment": trained}, trained) == []
    assert require_fit(Path("w"), {"experiment": trained}, asked) == [
        "dataset: coco there, synthetic here",
        "input_size: [256, 192] there, [384, 288] here",
        "target.sigma: 2.0 there, 3.0 here",
        "test.flip: True there, False here",
        "test.decode: quarter there, dark here",
    ]


def test_weights_that_do_not_tell_their_experiment_are_refused(data_root, tmp_path, monkeypatch):
    arguments = arguments_of(data_root, tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "weights.safetensors", {"about": '{"by": "them"}'})
    monkeypatch.setattr("sys.argv", ["", *arguments, "--output", str(tmp_path / "raw.npz")])
    with pytest.raises(SystemExit, match=r"do not tell .* use the weights.safetensors of"):
        infer.main()


def flipped(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_in_weights_is_noticed_wherever_it_lies(tmp_path):
    path, net = tmp_path / "weights.safetensors", TinyNet()
    write(path, net, settings())
    load_weights(TinyNet(), path)
    whole = path.read_bytes()
    at = {
        "tensor": len(whole) - 2,
        "learning rate": whole.index(b"0.001") + 4,
        "name": whole.index(b"layer.bias"),
        "length": 0,
    }
    for byte in at.values():
        path.write_bytes(whole)
        flipped(path, byte)
        with pytest.raises(PoseError, match=rf"^weights {path}[^\n]*$"):
            load_weights(TinyNet(), path)
    path.write_bytes(whole[:-9])
    with pytest.raises(PoseError, match=r"not a safetensors file, or a damaged one"):
        load_weights(TinyNet(), path)


def test_weights_of_earlier_versions_without_a_checksum_are_loaded(tmp_path):
    text = json.dumps({"experiment": settings().model_dump(mode="json")})
    net, path = TinyNet(), tmp_path / "weights.safetensors"
    save_file(net.state_dict(), path, {"about": text})
    load_weights(net, path)
    assert require_fit(path, read_about(path), settings()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-30],
        lambda content: content[:200] + b"~" + content[201:],
    ],
    ids=["empty", "cut", "flipped"],
)
def test_damaged_predictions_are_named_with_the_remedy(samples, tmp_path, damage):
    path = tmp_path / "raw.npz"
    predict(TinyNet(), samples, settings(), CPU).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PoseError, match=rf"^predictions {path}: not [^\n]*; run it again$"):
        Predictions.load(path)


@pytest.mark.parametrize("about", ["[]", '{"made_from": 3}', '{"made_from": {}}'])
def test_predictions_that_do_not_tell_how_they_were_made_are_refused(about, samples, tmp_path):
    path = tmp_path / "raw.npz"
    found = predict(TinyNet(), samples, settings(), CPU)
    replace(found, about=json.loads(about)).save(path)
    with pytest.raises(PoseError, match=r"does not tell how they were made; run pose\.infer again"):
        Predictions.load(path)


@pytest.mark.parametrize("content", [b"\x80\x04.", b"{}", b"text"])
def test_no_line_about_predictions_advises_to_load_them_unsafely(content, tmp_path):
    path = tmp_path / "raw.npz"
    path.write_bytes(content)
    with pytest.raises(PoseError, match=r"not a file of pose\.infer.*no \.npz file") as error:
        Predictions.load(path)
    assert "pickle" not in str(error.value)


def test_predictions_of_a_wrong_type_are_refused(samples, tmp_path):
    path = tmp_path / "raw.npz"
    found = predict(TinyNet(), samples, settings(), CPU)
    replace(found, image_ids=found.image_ids.astype(str)).save(path)
    with pytest.raises(PoseError, match="image_ids is of the type <U"):
        Predictions.load(path)
