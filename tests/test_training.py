"""A training can be interrupted anywhere and ends as if it had not been."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file
from torch import nn

from pose.config import Experiment, Training, experiment
from pose.data.dataset import PoseDataset
from pose.data.keypoints import COCO
from pose.data.samples import open_split
from pose.data.synthetic import SyntheticSettings, write_dataset
from pose.errors import PoseError
from pose.train import Trainer, train
from pose.training import checkpoint
from pose.training.loader import EpochBatches, training_loader
from pose.training.schedule import Schedule

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
TIMES = {"images_per_second", "seconds", "validation_seconds"}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("people") / "data"
    write_dataset(folder, SyntheticSettings(train_images=10, val_images=3))
    return folder


def small_experiment(**train: object) -> Experiment:
    overrides = {
        "model_options": {"init": "scratch"},
        "train": {"batch_size": 4, "epochs": 2, "warmup_epochs": 1, **train},
    }
    return experiment("eeffpose-p0-order8", "synthetic", (64, 48), "controlled", 0, overrides)


class TinyNet(nn.Module):
    """Stride 4, with the batch normalisation and the randomness that resuming must respect."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 4, stride=4),
            nn.BatchNorm2d(8),
            nn.Dropout(0.5),
            nn.Conv2d(8, len(COCO), 1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def tiny_trainer(data_root: Path, run_dir: Path, **train: object) -> Trainer:
    settings = small_experiment(**train)
    samples = open_split("synthetic", data_root, "train", settings.input_size)
    dataset = PoseDataset(samples, settings.input_size, settings.augmentation, settings.seed)
    torch.manual_seed(0)
    run_dir.mkdir(parents=True, exist_ok=True)

    def validate(model: nn.Module) -> dict[str, float]:
        return {"AP": model.layers[0].weight.sum().item()}

    return Trainer(settings, TinyNet(), dataset, validate, run_dir, CPU)


def log(run_dir: Path) -> list[dict[str, float]]:
    lines = (run_dir / "training.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def interrupt_after(trainer: Trainer, steps: int) -> None:
    step = trainer._step

    def counted(batch: dict[str, torch.Tensor]) -> float:
        loss = step(batch)
        if trainer._global_step() + 1 == steps:
            trainer.stop_signal = signal.SIGTERM
        return loss

    trainer._step = counted


@pytest.mark.parametrize("steps", [2, 6, 9])
def test_an_interrupted_training_ends_bit_equal_to_an_undisturbed_one(data_root, tmp_path, steps):
    tiny_trainer(data_root, tmp_path / "whole").run()
    interrupted = tiny_trainer(data_root, tmp_path / "broken")
    interrupt_after(interrupted, steps)
    with pytest.raises(PoseError, match="stopped by SIGTERM; start again to resume"):
        interrupted.run()
    tiny_trainer(data_root, tmp_path / "broken").run()

    assert log(tmp_path / "broken") == log(tmp_path / "whole")
    whole, broken = (
        load_file(tmp_path / name / "best.safetensors") for name in ("whole", "broken")
    )
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[key], broken[key]) for key in whole)


def test_the_log_shows_the_rate_that_each_epoch_ended_with(data_root, tmp_path):
    tiny_trainer(data_root, tmp_path, warmup_epochs=2, epochs=1, lr=0.01).run()
    assert [epoch["lr"] for epoch in log(tmp_path)] == pytest.approx([0.005, 0.01, 0.01])


def test_a_torn_checkpoint_falls_back_to_the_one_before(data_root, tmp_path, capsys):
    tiny_trainer(data_root, tmp_path / "whole").run()
    tiny_trainer(data_root, tmp_path / "torn").run()
    earlier, newest = sorted((tmp_path / "torn").glob("checkpoint-*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = tiny_trainer(data_root, tmp_path / "torn")
    resumed.run()

    assert f"{newest} is unreadable" in capsys.readouterr().err
    assert earlier.exists()
    assert log(tmp_path / "torn") == log(tmp_path / "whole")


def test_another_experiments_run_is_not_resumed(data_root, tmp_path):
    tiny_trainer(data_root, tmp_path).run()
    with pytest.raises(PoseError, match="another experiment"):
        tiny_trainer(data_root, tmp_path, lr=0.5).run()


def test_one_trainer_at_a_time_holds_a_run(data_root, tmp_path):
    with FileLock(tmp_path / "lock"), pytest.raises(PoseError, match="another trainer holds"):
        train(small_experiment(), data_root, tmp_path, CPU)


def test_a_loss_that_is_not_finite_names_the_samples_and_keeps_the_last_checkpoint(
    data_root, tmp_path
):
    trainer = tiny_trainer(data_root, tmp_path)
    trainer._train_epoch()
    trainer._end_epoch()
    kept = sorted(tmp_path.glob("checkpoint-*.pt"))
    with torch.no_grad():
        trainer.model.layers[3].bias.fill_(float("nan"))
    with pytest.raises(PoseError, match=r"loss is nan in epoch 0, step 0, .*samples \[\d+"):
        trainer._train_epoch()
    assert sorted(tmp_path.glob("checkpoint-*.pt")) == kept


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_corrupt_image_ends_the_training_in_one_line(data_root, tmp_path, workers):
    damaged = tmp_path / "data"
    shutil.copytree(data_root, damaged)
    for image in (damaged / "train2017").iterdir():
        image.write_bytes(image.read_bytes()[:500])
    command = [sys.executable, "-m", "pose.train", "--data-root", damaged, "--device", "cpu"]
    command += ["--experiment", small_experiment().model_dump_json(), "--workers", workers]
    command += ["--run-dir", tmp_path / "run", "--weights", tmp_path / "w", "--log", tmp_path / "l"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"error: image \S+\.jpg: truncated JPEG; fetch it again\n", done.stderr)
    assert not (tmp_path / "w").exists()


def test_a_failing_write_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, {"epoch": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(PoseError, match=r"No space left on device; the last good one is .*0001"):
        checkpoint.save(tmp_path, 2, {"epoch": 2})
    assert checkpoint.load_latest(tmp_path, CPU) == {"epoch": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_real_model_trains_through_the_command_and_improves(data_root, tmp_path):
    train(small_experiment(), data_root, tmp_path, CPU)
    epochs = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [-1, 0, 1]
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert {"AP", "AR", "lr", "images_per_second"} <= epochs[0].keys()


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
        "plateau_patience": 5,
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
