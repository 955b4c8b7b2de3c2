"""A training can be interrupted anywhere and ends as if it had not been."""

import json
import multiprocessing
import signal
import sys
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn
from training_runs import CPU, small_experiment, tiny_trainer

from pose.config import Training
from pose.data.dataset import PoseDataset
from pose.data.loader import EpochBatches, training_loader
from pose.data.samples import open_split
from pose.datasets.identity import annotation_hashes
from pose.support.errors import PoseError
from pose.support.fingerprint import code_of
from pose.train import train
from pose.training import checkpoint
from pose.training.monitor import Monitor, span
from pose.training.schedule import Schedule
from pose.training.step import batch_loss
from pose.training.trainer import Trainer
from pose.weights.about import read_about


def lines(file: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def interrupt_after(trainer: Trainer, steps: int) -> None:
    step = trainer._step

    def counted(batch: dict[str, torch.Tensor]) -> None:
        step(batch)
        if trainer._global_step() + 1 == steps:
            trainer.stop_signal = signal.SIGTERM

    trainer._step = counted


def assert_equal_runs(one: Path, other: Path) -> None:
    for name in ("best.safetensors", "training.jsonl"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize("steps", [2, 6, 9])
def test_an_interrupted_training_ends_bit_equal_to_an_undisturbed_one(data_root, tmp_path, steps):
    tiny_trainer(data_root, tmp_path / "whole").run()
    interrupted = tiny_trainer(data_root, tmp_path / "broken")
    interrupt_after(interrupted, steps)
    with pytest.raises(PoseError, match="stopped by SIGTERM; start again to resume"):
        interrupted.run()
    tiny_trainer(data_root, tmp_path / "broken").run()
    assert_equal_runs(tmp_path / "whole", tmp_path / "broken")


def test_checkpoints_within_an_epoch_change_nothing(data_root, tmp_path):
    tiny_trainer(data_root, tmp_path / "whole").run()
    tiny_trainer(data_root, tmp_path / "saving", {"checkpoint_minutes": 0}).run()
    assert_equal_runs(tmp_path / "whole", tmp_path / "saving")


def test_a_checkpoint_is_due_after_the_given_minutes(data_root, tmp_path):
    trainer = tiny_trainer(data_root, tmp_path, {"checkpoint_minutes": 5})
    trainer._train_epoch()
    assert not list(tmp_path.glob("checkpoint-*.pt"))
    trainer.position.step = 0
    trainer.saved -= 5 * 60
    trainer._train_epoch()
    assert list(tmp_path.glob("checkpoint-*.pt"))


def test_a_kill_between_the_last_checkpoint_and_the_log_loses_no_epoch(data_root, tmp_path):
    tiny_trainer(data_root, tmp_path).run()
    log = tmp_path / "training.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    tiny_trainer(data_root, tmp_path).run()
    assert log.read_bytes() == whole


def test_a_checkpoint_tells_the_experiment_and_the_versions_it_is_of(data_root, tmp_path):
    trainer = tiny_trainer(data_root, tmp_path)
    trainer.run()
    state = checkpoint.load(checkpoint.whole(tmp_path)[0], CPU)
    assert state["identity"]["train"]["lr"] == trainer.experiment.train.lr
    assert state["identity"]["data"] == annotation_hashes("synthetic", data_root)
    model = trainer.experiment.model
    assert state["codes"] == [code_of("pose.train", model, "synthetic").fingerprint]
    assert state["versions"]["torch"] == str(torch.__version__)
    assert state["versions"]["python"] == sys.version.split()[0]


def test_resuming_with_other_versions_says_that_the_bits_may_differ(data_root, tmp_path, capsys):
    trainer = tiny_trainer(data_root, tmp_path)
    trainer.versions |= {"torch": "1.0"}
    trainer.run()
    tiny_trainer(data_root, tmp_path).run()
    assert "torch: 1.0 there" in capsys.readouterr().err


def test_the_log_shows_the_rate_that_each_epoch_ended_with(data_root, tmp_path):
    tiny_trainer(data_root, tmp_path, warmup_epochs=2, epochs=1, lr=0.01).run()
    rates = [epoch["lr"] for epoch in lines(tmp_path / "training.jsonl")]
    assert rates == pytest.approx([0.005, 0.01, 0.01])


def test_speed_and_memory_are_logged_by_interval_and_by_epoch(data_root, tmp_path, monkeypatch):
    monkeypatch.setattr("pose.training.monitor.INTERVAL_STEPS", 2)
    trainer = tiny_trainer(data_root, tmp_path)
    trainer.run()
    events = lines(tmp_path / "performance.jsonl")
    steps = [event["step"] for event in events if event["event"] == "steps"]
    epochs = [event for event in events if event["event"] == "epoch"]
    per_epoch = len(trainer.batches)
    assert steps == sorted({*range(2, per_epoch + 1, 2), per_epoch} | {
        epoch * per_epoch + step
        for epoch in (1, 2)
        for step in (*range(2, per_epoch + 1, 2), per_epoch)
    })  # fmt: skip
    assert [epoch["epoch"] for epoch in epochs] == [-1, 0, 1]
    for event in events:
        assert event["images_per_second"] == pytest.approx(4 / event["step_seconds"])
        assert 0 <= event["data_wait_share"] <= 1
        assert event["rss_mb"] > 50
        assert event["gpu_memory_mb"] is None and event["bandwidth_share"] is None
    log = lines(tmp_path / "training.jsonl")
    assert [epoch["loss"] for epoch in epochs] == [epoch["loss"] for epoch in log]
    assert [epoch["AP"] for epoch in epochs] == [epoch["AP"] for epoch in log]


def test_a_resumed_training_logs_no_step_twice(data_root, tmp_path, monkeypatch):
    monkeypatch.setattr("pose.training.monitor.INTERVAL_STEPS", 1)
    tiny_trainer(data_root, tmp_path).run()
    *_, newest = sorted(tmp_path.glob("checkpoint-*.pt"))
    newest.unlink()
    log = tmp_path / "performance.jsonl"
    log.write_text(log.read_text() + '{"event": "ste')  # torn by a kill
    tiny_trainer(data_root, tmp_path).run()
    steps = [event["step"] for event in lines(log) if event["event"] == "steps"]
    assert steps == list(range(1, len(steps) + 1))


def test_tensorboard_gets_what_the_log_gets(data_root, tmp_path):
    pytest.importorskip("tensorboard")
    tiny_trainer(data_root, tmp_path, {"tensorboard": True}).run()
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_missing_tensorboard_is_named(data_root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(PoseError, match="pip install tensorboard"):
        tiny_trainer(data_root, tmp_path, {"tensorboard": True})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(50, "1 min"), (3600 + 300, "1 h 05 min"), (3 * 86400 + 4 * 3600, "3 d 4 h")],
)
def test_the_time_left_is_told_in_two_units_at_most(seconds, text):
    assert span(seconds) == text


def test_memory_stays_flat_over_two_hundred_steps_and_ten_epochs(data_root, tmp_path):
    trainer = tiny_trainer(data_root, tmp_path, epochs=80, warmup_epochs=0)
    process, resident = psutil.Process(), []
    end_epoch = trainer._end_epoch

    def measured() -> None:
        end_epoch()
        resident.append(process.memory_info().rss)

    trainer._end_epoch = measured
    trainer.run()
    assert trainer._global_step() >= 200
    assert resident[-1] - resident[10] < 5 * 2**20


def test_a_real_model_trains_through_the_command_and_improves(data_root, tmp_path):
    train(small_experiment(), data_root, tmp_path, CPU)
    epochs = lines(tmp_path / "training.jsonl")
    assert [epoch["epoch"] for epoch in epochs] == [-1, 0, 1]
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert {"AP", "AR", "lr", "loss"} <= epochs[0].keys()
    about = read_about(tmp_path / "best.safetensors")
    assert about["experiment"] == small_experiment()
    persons = open_split("synthetic", data_root, "train", (64, 48))
    assert (about["training_persons"], about["training_skipped"]) == (len(persons), {})


def test_the_net_starts_with_the_heads_weight_that_the_experiment_names(
    data_root, tmp_path, monkeypatch
):
    class NoTraining:
        def __init__(self, experiment, model, *others: object, floor: float | None) -> None:
            self.weights = [project[-1].weight for project in model.head.project]

        def run(self) -> None:
            for weight in self.weights:
                torch.testing.assert_close(weight, torch.full_like(weight, 0.1))

    monkeypatch.setattr("pose.train.Trainer", NoTraining)
    settings = small_experiment()
    options = settings.model_options.model_copy(update={"head_weight": 0.1})
    train(settings.model_copy(update={"model_options": options}), data_root, tmp_path, CPU)


def test_batches_are_the_same_however_many_processes_share_them():
    def epoch(processes: int) -> list[list[int]]:
        shares = [EpochBatches(60, 12, 0, rank, processes) for rank in range(processes)]
        return [[index for part in parts for index in part] for parts in zip(*shares, strict=True)]

    assert epoch(1) == epoch(2) == epoch(3) == epoch(4)


def test_a_batch_that_the_processes_cannot_share_equally_is_refused():
    with pytest.raises(PoseError, match="batch_size is 10, which 4 processes cannot share"):
        EpochBatches(60, 10, 0, 0, 4)
    with pytest.raises(PoseError, match=r"64 in chunks of 16 .* 3 processes .* divides 4"):
        EpochBatches(64, 64, 0, 0, 3, chunk=16)


def test_workers_change_nothing_about_the_batches(data_root):
    settings = small_experiment()
    samples = open_split("synthetic", data_root, "train", settings.input_size)

    def images(workers: int) -> torch.Tensor:
        dataset = PoseDataset(samples, settings.input_size, settings.augmentation, seed=0)
        batches = EpochBatches(len(dataset), 4, seed=0)
        batches.epoch = 3
        dataset.set_epoch(3)
        return torch.cat([batch["image"] for batch in training_loader(dataset, batches, workers)])

    assert torch.equal(images(0), images(2))


def test_the_loaders_workers_end_with_the_training(data_root, tmp_path):
    others = multiprocessing.active_children()
    trainer = tiny_trainer(data_root, tmp_path, {"workers": 2}, epochs=1, warmup_epochs=0)
    trainer.run()
    assert trainer.position.epoch == 1
    assert set(multiprocessing.active_children()) <= set(others)


def test_every_epoch_has_its_own_order_and_no_sample_twice():
    batches = EpochBatches(10, 4, seed=0)
    first = [i for batch in batches for i in batch]
    batches.epoch = 1
    second = [i for batch in batches for i in batch]
    assert len(set(first)) == len(first) == 8  # the incomplete third batch is left out
    assert first != second
    batches.start = 1
    assert [i for batch in batches for i in batch] == second[4:]


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(PoseError, match="batch_size is 64 but the training set has only 10"):
        EpochBatches(10, 64, seed=0)


def schedule(warmup_epochs: int = 0) -> Schedule:
    settings = small_experiment().train.model_dump() | {
        "lr": 1e-3,
        "warmup_epochs": warmup_epochs,
        "schedule": {"name": "plateau", "factor": 0.3, "patience": 5},
    }
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    return Schedule(optimizer, Training(**settings), steps_per_epoch=10)


def test_the_rate_rises_linearly_over_the_warm_up():
    rates = [schedule(warmup_epochs=2).before_step(step) for step in (0, 9, 19, 20, 100)]
    assert rates == pytest.approx([5e-5, 5e-4, 1e-3, 1e-3, 1e-3])


def test_the_rate_falls_to_three_tenths_after_the_sixth_epoch_without_a_better_score():
    plan = schedule()
    rates = []
    for score in (0.5, 0.6, *[0.55] * 12):
        plan.after_epoch(score)
        rates.append(plan.rate)
    assert rates == pytest.approx([1e-3] * 7 + [3e-4] * 6 + [9e-5])


def test_a_schedule_resumes_where_it_was():
    plan, resumed = schedule(), schedule()
    for score in (0.5, 0.4, 0.4, 0.4):
        plan.after_epoch(score)
    resumed.load_state_dict(plan.state_dict())
    for score in (0.4, 0.4, 0.4):
        plan.after_epoch(score)
        resumed.after_epoch(score)
    assert plan.rate == resumed.rate == pytest.approx(3e-4)


def test_a_stride_that_is_not_the_models_is_refused_at_the_first_step():
    settings = small_experiment()
    other = settings.model_copy(update={"target": settings.target.model_copy(update={"stride": 8})})
    height, width = settings.input_size
    batch = {"image": torch.zeros(1, height, width, 3, dtype=torch.uint8)}
    net = nn.AvgPool2d(4)
    with pytest.raises(PoseError, match=r"target\.stride 8: .* gives heat maps of 16x12 .* set 4"):
        batch_loss(net, batch, other, 0, CPU)


def test_the_share_of_a_gpus_bandwidth_is_the_rate_times_what_an_image_takes_at_it(tmp_path):
    monitor = Monitor(tmp_path, 4, CPU, floor=0.001)
    for _ in range(3):
        with monitor.waiting():
            pass
    figures = monitor.end_interval(step=3)
    assert figures["bandwidth_share"] == pytest.approx(figures["images_per_second"] * 0.001)
