"""What the benchmarks compare gives equal results, and every row is complete."""

import csv
import sys
import time
from dataclasses import fields
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from pose.bench import __main__ as bench
from pose.bench import ap, decoding, gpu, inference, loading, training, workflow
from pose.bench.measure import Row, Settings, as_it_comes, compare, interleave
from pose.bench.traffic import Traffic, roofline, traffic
from pose.data.samples import Samples


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Samples:
    return loading.open_samples(Settings(quick=True), tmp_path_factory.mktemp("images"))[0]


@pytest.fixture(scope="module")
def steps():
    return training.variants((64, 48), 2)


def test_training_steps_have_equal_losses(steps):
    losses = [[step(), step()] for step in steps.values()]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[2] == pytest.approx(losses[0], rel=1e-3)


def test_batches_have_equal_crops_targets_and_weights(samples):
    runs = loading.variants(samples, list(range(min(8, len(samples)))))
    plain, with_opencv, ours = (
        runs[name]() for name in (loading.BASELINE, loading.OPENCV, loading.OURS)
    )
    for images, targets, weights in (plain, with_opencv):
        # A grey level is 0.017: the pixels are equal.
        assert torch.allclose(ours[0], images, atol=1e-5)
        assert torch.allclose(ours[1], targets, atol=1e-6)
        assert torch.equal(ours[2], weights)


def test_decoded_joints_are_equal():
    plain, batched = (run() for run in decoding.variants(3).values())
    assert torch.allclose(plain[..., :2], batched[..., :2], atol=1e-3)
    assert torch.equal(plain[..., 2], batched[..., 2])


def test_both_evaluators_give_the_same_statistics():
    pytest.importorskip("hotcoco")
    statistics = ap.statistics(*ap.scene(100))
    assert statistics["fast"] == statistics["pycocotools"]
    assert 0 < statistics["fast"][0] < 1


def test_inference_gives_equal_heat_maps():
    torch.manual_seed(0)
    model = inference.create_model(inference.MODEL).eval()
    images = torch.randn(2, 3, 64, 48)
    runs = {inference.BASELINE, inference.OURS}
    found, _ = inference.variants(model, images, only=runs)
    first, second = (run(images) for run in found.values())
    assert torch.allclose(first, second, atol=1e-5)
    assert traffic(lambda: found[inference.OURS](images)).seconds["products"] > 0


@pytest.mark.slow
def test_exported_models_give_equal_heat_maps():
    torch.manual_seed(0)
    model = inference.create_model(inference.MODEL).eval()
    images = torch.randn(2, 3, 64, 48)
    found, missing = inference.variants(model, images)
    reference = found[inference.BASELINE](images)
    for name, run in found.items():
        assert torch.allclose(run(images), reference, atol=1e-4), name
    for reason in missing.values():
        assert "is not installed" in reason


def test_variants_take_turns():
    turns = []
    seconds = interleave({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, 2)
    assert turns == ["a", "b", "a", "b", "a", "b"]
    assert [len(times) for times in seconds.values()] == [2, 2]


def test_only_a_missed_aim_tells_its_limit():
    seconds = {"plain": [4.0, 4.0, 5.0], "good": [1.0], "poor": [3.0]}
    aims = {"good": 4, "poor": 4}
    plain, good, poor = compare("", seconds, "1/s", lambda s: 1 / s, "plain", aims, "memory")
    assert (plain.median, plain.min, plain.max, plain.ratio) == (0.25, 0.2, 0.25, 1)
    assert (good.ratio, good.aim, good.limit) == (4, ">= 4x", "")
    assert poor.ratio == pytest.approx(4 / 3)
    assert poor.limit == "memory"


def test_an_operator_moves_its_inputs_and_its_output_and_a_view_moves_nothing():
    a, row = torch.ones(100, 50), torch.ones(1, 50)
    assert traffic(lambda: a.t() + a.view(50, 100)).operators == [3 * 4 * 5000]
    assert traffic(lambda: torch.mul(a, row.expand(100, 50))).operators == [4 * (2 * 5000 + 50)]


def test_a_step_with_our_kernels_moves_fewer_bytes_than_with_the_operators_of_pytorch(steps):
    plain, kernels = (traffic(steps[name]) for name in (training.BASELINE, training.KERNELS))
    assert sum(kernels.operators) < 0.8 * sum(plain.operators)
    assert plain.seconds["kernels"] == 0 < min(kernels.seconds.values())


def test_what_limits_a_step_is_told_by_the_whole_of_it():
    counted = Traffic()
    for _ in range(10):
        counted.note("products", 0.1, torch.ones(1_000_000))
    limit = roofline(counted, arithmetic=0.5, seconds=2.0, times=4)
    assert "arithmetic at the measured peak takes 25%" in limit
    assert "0.16 GB of its 40 operators" in limit


def test_time_outside_all_spans_is_what_the_harness_costs():
    spans = [(10.0, 12.0), (11.0, 15.0), (18.0, 30.0)]  # two overlap, one lasts too long
    assert workflow.covered(spans, (8.0, 20.0)) == 7


def test_the_command_writes_complete_tables(tmp_path, monkeypatch, capsys):
    names = ["gemm", "decoding", "ap", "starting"]
    command = ["bench", *names, "--quick", "--repeats", "1", "--output-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    bench.main()
    for name in names:
        rows = list(csv.DictReader((tmp_path / f"{name}.csv").open()))
        assert rows
        for row in rows:
            assert {field.name for field in fields(Row)} < row.keys()
            assert {"cpu", "cores", "threads", "versions", "commit", "date"} < row.keys()
            assert np.isfinite([float(row[key]) for key in ("median", "min", "max")]).all()
    assert "torch.mm" in capsys.readouterr().out


@pytest.mark.slow
def test_the_bench_of_gpus_measures_all_its_parts_on_a_cpu(tmp_path, capsys):
    bench.main(["gpu", "--quick", "--repeats", "1", "--output-dir", str(tmp_path)])
    rows = list(csv.DictReader((tmp_path / "gpu.csv").open()))
    assert all(row["median"] for row in rows), rows
    parts = ("memory", "training, shuffle", "training, processes", "inference")
    for part in (*parts, "rendered people, loader", "rendered people, end", "the paper's orders"):
        assert any(row["name"].startswith(part) for row in rows), part
    assert any(row["variant"] == "fp16, recorded" for row in rows)
    assert rows[-1]["unit"] == "h"


def test_what_the_bench_of_gpus_has_no_time_for_is_told_by_name():
    told = list(gpu.measure(Settings(1, quick=True, within=0)))
    late = {row.name: row.limit for row in told if row.median is None}
    assert late["training, shufflenetv2, 2"] == "not begun within 0 s"
    assert {"loader, end to end", "training, shufflenetv2, 3"} < late.keys()
    assert late["the paper's orders on COCO, chunks of 2"] == "some order's steps were not measured"


@pytest.mark.parametrize("model", gpu.MODELS)
def test_a_chunk_on_a_gpu_is_whole_whatever_the_recipe_of_its_net(model):
    for images in gpu.CHUNKS:
        assert gpu.Way("fp16").settings(model, (256, 192), images).train.chunk_size == images


def test_a_table_of_the_bench_of_gpus_that_fails_does_not_end_the_others(monkeypatch):
    def fails(name: str) -> list[Row]:
        raise EOFError

    parts = {"first": fails, "second": lambda name: [Row(name, "ours", 1, 1, 1, 1, "images/s")]}
    monkeypatch.setattr(gpu, "_parts", lambda *_: parts)
    told = {row.name: row for row in gpu.measure(Settings(1, quick=True))}
    assert told["first"].limit == "EOFError: " and told["second"].median == 1


def test_our_inference_on_a_gpu_is_without_batch_norms_as_that_of_pose_infer(monkeypatch):
    seen = {}

    def look(net: nn.Module, crops: torch.Tensor, keypoints: object, tf32: bool) -> None:
        seen[tf32] = any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())

    monkeypatch.setattr(gpu, "_flip", look)
    bench = gpu.Bench(torch.device("cpu"), (64, 64), Settings(1, quick=True))
    bench.inference("flip", "eeffpose-p0-order1", 1)
    assert seen == {True: True, False: False}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_bench_says_so(tmp_path):
    (row,) = gpu.measure(Settings())
    assert row.median is None and row.limit == "no GPU is visible"


def test_an_unknown_benchmark_is_named(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench", "trainin"])
    with pytest.raises(SystemExit, match=r"unknown benchmark 'trainin'.*'training'"):
        bench.main()


def test_a_baseline_that_hangs_does_not_hold_up_the_bench():
    with as_it_comes(time.sleep, 60):
        began = time.monotonic()
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_a_baseline_as_it_comes_is_timed_in_a_process_of_its_own():
    with as_it_comes(partial, time.sleep, 0.05) as step:
        seconds = interleave({"pause": step}, 2)["pause"]
    assert min(seconds) >= 0.05
