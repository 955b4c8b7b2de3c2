"""The checks of a GPU, tried on the CPU: they pass here, can fail, and tell what they found."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from recording import imitate_a_gpu
from training_runs import CPU, ROOT, TinyNet

from pose.config import Experiment
from pose.gpu_check import CHECKS, __main__, nets, numerics, run
from pose.gpu_check.findings import Findings, Setup
from pose.training.step import Batch


def test_a_figure_beyond_its_limit_is_a_failure_and_one_within_is_none():
    found = Findings()
    found.at_most("error", 1e-5, 1e-4)
    found.above("TF32", 5e-3, 1e-3)
    assert found.failures == []
    found.at_most("error", float("nan"), 1e-4)
    found.above("TF32", 1e-4, 1e-3)
    assert found.failures == ["error is nan, above 0.0001", "TF32 is 0.0001, not above 0.001"]


def test_heat_maps_of_another_net_fail_the_comparison(monkeypatch):
    def worse(device: torch.device, model: torch.nn.Module, last: bool) -> torch.nn.Module:
        return (lambda images: model(images) * (1 + 3e-4 * last)) if last else model

    told = run.check("parity", CPU)
    assert told["verdict"] == "passed" and told["figures"][f"{nets.SMALL} NHWC"] < numerics.SAME
    monkeypatch.setattr(nets, "on", worse)
    told = run.check("parity", CPU)
    assert told["verdict"] == "failed" and "NHWC is 0.0003, above 0.0001" in told["reason"]


def test_a_check_that_cannot_run_says_why_and_one_that_breaks_is_a_failure(monkeypatch):
    told = run.check("waits", CPU)
    assert told["verdict"] == "skipped" and told["reason"]

    def breaks(setup: object, found: Findings) -> None:
        found.note("seen", 1)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(numerics, "step", breaks)
    told = run.check("step", CPU)
    assert told["verdict"] == "failed" and told["figures"] == {"seen": 1}
    assert told["reason"].startswith("RuntimeError: CUDA error: an illegal memory access")


def test_a_check_whose_process_dies_is_a_failure_that_says_how(monkeypatch):
    fork = run.multiprocessing.get_context("fork")  # starts at once, and knows the stand-in
    monkeypatch.setattr(run.multiprocessing, "get_context", lambda _: fork)
    monkeypatch.setattr(run, "PATIENCE", 20.0)
    monkeypatch.setattr(numerics, "step", lambda *_: os._exit(7))
    told = run.check_apart("step", CPU)
    assert told["verdict"] == "failed" and told["reason"] == "its process ended with 7"


@pytest.mark.parametrize("verdict", ["passed", "failed", "skipped"])
def test_every_check_is_a_line_a_row_of_the_table_and_rows_of_the_csv(
    monkeypatch, tmp_path, capsys, verdict
):
    def told(name: str, device: torch.device) -> dict[str, object]:
        figures = {"a": 1, "b": 2.5} if name == "step" else {}
        facts = {"check": name, "verdict": verdict, "seconds": 0.1, "reason": "so"}
        return facts | {"figures": figures}

    monkeypatch.setattr(__main__, "check_apart", told)
    output = tmp_path / "checks.csv"
    arguments = ["--device", "cpu", "--output", str(output)]
    if verdict == "failed":
        with pytest.raises(SystemExit, match="10 of 10 checks failed: environment, parity"):
            __main__.main(arguments)
    else:
        __main__.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert {json.loads(line)["check"] for line in lines[: len(CHECKS)]} == set(CHECKS)
    assert [line.split()[:2] for line in lines[-11:-1]] == [[name, verdict] for name in CHECKS]
    assert re.fullmatch(r"all, together +[0-9]\.[0-9] s", lines[-1])
    with output.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(CHECKS) + 1
    assert [row["value"] for row in rows if row["check"] == "step"] == ["1", "2.5"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so_and_nothing_is_checked(tmp_path, capsys):
    __main__.main(["--output", str(tmp_path / "checks.csv")])
    out, err = capsys.readouterr()
    assert (out, err) == ("device auto: no GPU is visible; nothing was checked\n", "")
    assert not (tmp_path / "checks.csv").exists()


def test_an_unknown_check_is_named(capsys):
    with pytest.raises(SystemExit, match=r"unknown check 'party' \(did you mean 'parity'\?\)"):
        __main__.main(["party"])


def test_of_every_way_to_step_the_third_step_is_to_wait_for_nothing(monkeypatch):
    imitate_a_gpu(monkeypatch)
    monkeypatch.setattr(Setup, "require_gpu", lambda *_: None)
    monkeypatch.setattr(nets, "net", lambda *_: TinyNet())
    judged, modes, stepper = [], ["default"], nets.stepper

    def looking(setup: Setup, model: torch.nn.Module, chosen: Experiment) -> Callable:
        take, taken = stepper(setup, model, chosen), []

        def step(crops: Batch, number: int) -> None:
            take(crops, number)
            taken.append(number)
            if modes[-1] == "error":
                judged.append((len(taken), take.chunks, take.recorded is not None))
                raise RuntimeError("called a synchronizing CUDA operation")

        return step

    monkeypatch.setattr(nets, "stepper", looking)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    told = run.check("waits", CPU)
    assert judged == [(3, 1, False), (3, 1, False), (3, 1, True), (3, 2, False)]
    assert modes[-1] == "default"
    for kind in ("fp32", "fp16", "recorded", "two chunks"):
        assert f"{kind}: called a synchronizing CUDA operation" in told["reason"]


@pytest.mark.slow
def test_recorded_steps_are_judged_where_nothing_compiles_them(monkeypatch):
    def no_compiler(images: torch.Tensor) -> None:
        raise RuntimeError("Cannot find a working triton installation.")

    imitate_a_gpu(monkeypatch)
    monkeypatch.setattr(torch, "compile", lambda net, **_: no_compiler)
    monkeypatch.setattr(Setup, "require_gpu", lambda *_: None)
    told = run.check("compiled", CPU)
    assert told["verdict"] == "skipped" and "triton" in told["reason"]
    assert told["figures"]["recorded, gradients"] == told["figures"]["draw 3"] == 0


@pytest.mark.slow
def test_the_command_passes_on_the_cpu(tmp_path):
    output = tmp_path / "checks.csv"
    command = [sys.executable, "-m", "pose.gpu_check", "--device", "cpu", "--output", str(output)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = {
        told["check"]: told["verdict"] for told in map(json.loads, done.stdout.splitlines()[:10])
    }
    assert {name for name, verdict in verdicts.items() if verdict == "skipped"} == {
        "waits",
        "compiled",
    }
    assert "failed" not in verdicts.values()
