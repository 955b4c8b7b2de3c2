"""Several processes train what one would, and end together."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from timm.layers import BatchNormAct2d, DropPath
from torch import nn
from training_runs import statuses

from pose.parallel.global_batch import SharedDraw, SynchronisedBatchNorm


def output(run_dir: Path, rank: int) -> str:
    return Path(f"{run_dir}-{rank}.txt").read_text()


def wait_for(file: Path) -> None:
    for _ in range(600):
        if list(file.parent.glob(file.name)):
            return
        time.sleep(0.05)
    raise AssertionError(f"{file} did not come")


def test_two_processes_train_what_one_does(data_root, tmp_path, runs):
    arguments = {"epochs": 1, "warmup_epochs": 0, "synchronised_batch_norm": True}
    for processes in (1, 2):
        run_dir = tmp_path / str(processes)
        assert runs.finish(data_root, run_dir, processes=processes, **arguments) == [0] * processes
    one, two = (load_file(tmp_path / name / "best.safetensors") for name in "12")
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        torch.testing.assert_close(tensor, two[key], rtol=1e-4, atol=1e-6, msg=key)
    logs = [json.loads((tmp_path / name / "training.jsonl").read_text()) for name in "12"]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=1e-6)


def test_chunks_of_one_process_train_what_as_many_processes_do(data_root, tmp_path, runs):
    chunks = {"batch_size": 8, "micro_batch": 2, "synchronised_batch_norm": False}
    # Adam would hide a gradient that is a multiple of what it ought to be.
    sgd = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0}
    arguments = {"epochs": 2, "warmup_epochs": 0, **chunks, "optimizer": sgd, "lr": 0.1}
    for processes in (1, 2, 4):
        run_dir = tmp_path / str(processes)
        assert runs.finish(data_root, run_dir, processes=processes, **arguments) == [0] * processes
    one, *others = (load_file(tmp_path / name / "best.safetensors") for name in "124")
    for other in others:
        for key, tensor in one.items():
            torch.testing.assert_close(tensor, other[key], rtol=1e-4, atol=1e-6, msg=key)


def test_a_signal_to_one_process_stops_all_at_the_same_step(data_root, tmp_path, runs):
    run_dir = tmp_path / "run"
    trainers = runs.start(data_root, run_dir, processes=2, epochs=1000)
    wait_for(run_dir / "checkpoint-*.pt")
    os.kill(trainers[1].pid, signal.SIGUSR1)
    assert statuses(trainers) == [1, 1]
    assert "stopped by SIGUSR1; start again to resume" in output(run_dir, 0)
    assert "error" not in output(run_dir, 1)  # it is told once


def test_a_killed_process_ends_the_others_and_the_training_can_go_on(data_root, tmp_path, runs):
    run_dir = tmp_path / "run"
    arguments = {"processes": 2, "epochs": 40, "options": {"checkpoint_minutes": 0}}
    trainers = runs.start(data_root, run_dir, slow_from=20, **arguments)
    wait_for(run_dir / "checkpoint-0000000[2-9]*.pt")
    trainers[1].kill()
    assert statuses(trainers) == [1, -signal.SIGKILL]
    assert "error: lost touch with another process of this training" in output(run_dir, 0)
    assert runs.finish(data_root, run_dir, **arguments) == [0, 0]
    assert "resumed at" in output(run_dir, 0)


def test_a_process_that_does_not_answer_ends_the_others(data_root, tmp_path, runs):
    run_dir = tmp_path / "run"
    trainers = runs.start(data_root, run_dir, processes=2, epochs=1000, timeout=10.0)
    wait_for(run_dir / "checkpoint-*.pt")
    os.kill(trainers[1].pid, signal.SIGSTOP)
    trainers[0].join(60)
    assert trainers[0].exitcode == 1
    assert "error: lost touch with another process" in output(run_dir, 0)
    trainers[1].kill()
    trainers[1].join()


def test_processes_that_resume_take_the_same_checkpoint(data_root, tmp_path, runs):
    run_dir = tmp_path / "run"
    assert runs.finish(data_root, run_dir, processes=1) == [0]
    newest = max(run_dir.glob("checkpoint-*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    assert runs.finish(data_root, run_dir, processes=2) == [0, 0]
    assert output(run_dir, 0).count(f"{newest} is unreadable") == 1


@pytest.mark.parametrize("layer", [DropPath(0.4), nn.Dropout(0.4)], ids=["path", "values"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_random_layers_draw_for_the_global_batch(layer, memory_format):
    x = torch.randn(6, 4, 5, 3).contiguous(memory_format=memory_format)
    torch.manual_seed(1)
    whole = layer(x)
    parts = []
    for part in range(3):
        torch.manual_seed(1)
        parts.append(SharedDraw(layer, torch.tensor([part]), 3)(x[2 * part : 2 * part + 2]))
        after = torch.rand(1)
    assert torch.equal(torch.cat(parts), whole)
    torch.manual_seed(1)
    layer(x)
    assert torch.equal(torch.rand(1), after)  # what is drawn later is the same, too


@pytest.fixture
def group_of_one(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_synchronised_batch_norm_is_torchs_in_value_gradient_and_statistics(group_of_one, kind):
    rng = np.random.default_rng(0)
    reference = kind(5)
    with torch.no_grad():
        reference.weight.copy_(torch.from_numpy(rng.uniform(0.5, 2, 5)))
        reference.bias.copy_(torch.from_numpy(rng.normal(size=5)))
    state = {key: value.clone() for key, value in reference.state_dict().items()}
    replaced = kind(5)
    replaced.load_state_dict(state)
    synchronised = SynchronisedBatchNorm(replaced)
    assert synchronised.state_dict().keys() == state.keys()

    inputs = [
        torch.from_numpy(rng.normal(3, 2, (4, 5, 6, 7))).float().requires_grad_() for _ in "ab"
    ]
    with torch.no_grad():
        inputs[1].copy_(inputs[0])
    weight = torch.from_numpy(rng.normal(size=(4, 5, 6, 7))).float()
    results = [layer(x) for layer, x in zip((reference, synchronised), inputs, strict=True)]
    for result in results:
        (result * weight).sum().backward()
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(reference.weight.grad, synchronised.weight.grad)
    for key, value in reference.state_dict().items():
        torch.testing.assert_close(synchronised.state_dict()[key], value, msg=key)
    torch.testing.assert_close(reference.eval()(inputs[0]), synchronised.eval()(inputs[0]))
