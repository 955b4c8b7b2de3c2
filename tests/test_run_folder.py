"""A run folder holds one training, which mends its own files and leaves all others alone."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_training import assert_equal_runs, interrupt_after, lines
from training_runs import CPU, ROOT, small_experiment, tiny_trainer

from pose.config import experiment
from pose.datasets.identity import data_hash, run_identity
from pose.support.errors import PoseError
from pose.support.files import atomic
from pose.train import train
from pose.training import checkpoint, record
from pose.training.trainer import Trainer
from pose.weights.about import read_about

ONE_EPOCH = {"epochs": 1, "warmup_epochs": 0}


@pytest.fixture(scope="module")
def finished(data_root, tmp_path_factory) -> Path:
    """The run folder of a finished training of three epochs, of which the first is the best."""
    folder = tmp_path_factory.mktemp("finished")
    tiny_trainer(data_root, folder).run()
    return folder


@pytest.fixture
def run_dir(finished, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def improving(trainer: Trainer) -> Trainer:
    """The last epoch is the best one."""
    trainer.validate = lambda model: {"AP": float(trainer.position.epoch)}
    return trainer


def test_files_that_no_training_wrote_are_never_removed(data_root, tmp_path):
    names = (".gitlab-ci.yml", ".best.notes.safetensors", "checkpoint-best.pt", "checkpoint-1.pt")
    for name in names:
        (tmp_path / name).write_text(name)
    tiny_trainer(data_root, tmp_path, {"checkpoint_minutes": 0}, **ONE_EPOCH).run()
    assert [(tmp_path / name).read_text() for name in names] == list(names)
    assert len(list(tmp_path.glob("checkpoint-0*.pt"))) == checkpoint.KEPT


def test_what_a_killed_training_left_half_written_is_cleared_away(data_root, tmp_path):
    for name in ("checkpoint-000000123.pt", *checkpoint.OUTPUTS, record.FILE):
        with pytest.raises(ZeroDivisionError), atomic(tmp_path / name) as partial:
            raise ZeroDivisionError
        partial.write_text("half")
    tiny_trainer(data_root, tmp_path, **ONE_EPOCH).run()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["training.jsonl", "best.safetensors", "run.json"])
def test_another_programs_results_in_the_run_folder_are_not_replaced(data_root, tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(PoseError, match=rf"{name} is not of a training that can go on: move it"):
        tiny_trainer(data_root, tmp_path).run()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "{}"


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(pickle.dumps({"model": 1})),
        lambda path: torch.save({"state_dict": {"a": torch.ones(1)}}, path),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save(dict.fromkeys(checkpoint.PARTS, 5), path),
        lambda path: torch.save({"model": Path("an object")}, path),
    ],
    ids=["pickle", "keys", "list", "types", "object"],
)
def test_another_programs_checkpoint_is_named_and_left_alone(data_root, tmp_path, write):
    path = tmp_path / "checkpoint-000000007.pt"
    write(path)
    before = path.read_bytes()
    with pytest.raises(PoseError, match=rf"{path} is not a checkpoint of .*: move it away") as told:
        tiny_trainer(data_root, tmp_path).run()
    assert "\n" not in str(told.value) and "trusted" not in str(told.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("key", ["identity", "codes", "position", "history", "best", "optimizer"])
def test_a_checkpoint_with_something_else_under_a_key_is_named(data_root, run_dir, key):
    path = checkpoint.newest_first(run_dir)[0]
    torch.save(torch.load(path, weights_only=True) | {key: None}, path)
    with pytest.raises(PoseError, match=rf"is not a checkpoint of .* \(no {key} in it\): move it"):
        tiny_trainer(data_root, run_dir).run()


@pytest.mark.parametrize("key", ["optimizer", "schedule", "model"])
def test_a_checkpoint_that_other_code_cannot_take_is_named(data_root, run_dir, key):
    path = checkpoint.newest_first(run_dir)[0]
    torch.save(torch.load(path, weights_only=True) | {key: {}}, path)
    with pytest.raises(PoseError, match=r"does not fit the present code: .*; choose another"):
        tiny_trainer(data_root, run_dir).run()


def test_a_torn_checkpoint_never_displaces_a_whole_one(tmp_path):
    kept = checkpoint.save(tmp_path, 1, {})
    torn = checkpoint.save(tmp_path, 9, {})
    torn.write_bytes(torn.read_bytes()[:100])
    newest = checkpoint.save(tmp_path, 2, {})
    assert checkpoint.whole(tmp_path) == [newest, kept]


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_the_best_weights_are_made_again_from_their_checkpoint(data_root, tmp_path, damage, capsys):
    improving(tiny_trainer(data_root, tmp_path, **ONE_EPOCH)).run()
    best = tmp_path / "best.safetensors"
    whole = best.read_bytes()
    best.unlink()
    if damage != "missing":
        best.write_bytes(whole[:-5] + (bytes([whole[-5] ^ 1]) + whole[-4:]) * (damage != "cut"))
    improving(tiny_trainer(data_root, tmp_path, **ONE_EPOCH)).run()
    assert best.read_bytes() == whole
    assert f"{best} was missing or damaged: made again" in capsys.readouterr().err


def test_best_weights_that_no_checkpoint_holds_any_more_are_named(data_root, run_dir):
    (run_dir / "best.safetensors").unlink()
    with pytest.raises(PoseError, match=r"best.safetensors, the weights of epoch -1, is missing"):
        tiny_trainer(data_root, run_dir).run()


def test_a_damaged_log_is_written_again(data_root, run_dir):
    log = run_dir / "training.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[:20] + b"\xff" + whole[21:])
    tiny_trainer(data_root, run_dir).run()
    assert log.read_bytes() == whole


def test_a_lost_performance_log_keeps_the_epochs_and_a_damaged_one_its_whole_lines(
    data_root, run_dir
):
    log = run_dir / "performance.jsonl"
    log.unlink()
    tiny_trainer(data_root, run_dir).run()
    events = lines(log)
    expected = [("epoch", epoch["loss"]) for epoch in lines(run_dir / "training.jsonl")]
    assert [(event["event"], event["loss"]) for event in events] == expected
    assert {event["images_per_second"] for event in events} == {None}
    log.write_bytes(b"[]\n\xff\n{}\n" + log.read_bytes())
    tiny_trainer(data_root, run_dir).run()
    assert lines(log) == events


def copy_of(data_root: Path, folder: Path) -> Path:
    """A data set whose annotations can be edited."""
    shutil.copytree(data_root / "annotations", folder / "annotations")
    for images in data_root.glob("*2017"):
        (folder / images.name).symlink_to(images)
    return folder / "annotations/person_keypoints_val2017.json"


def test_a_val_set_that_was_edited_is_another_training(data_root, run_dir, tmp_path):
    val = copy_of(data_root, tmp_path / "data")
    assert data_hash("synthetic", tmp_path / "data") == data_hash("synthetic", data_root)
    content = json.loads(val.read_text())
    content["annotations"][0]["keypoints"][0] += 1
    val.write_text(json.dumps(content))
    assert data_hash("synthetic", tmp_path / "data") != data_hash("synthetic", data_root)
    with pytest.raises(PoseError, match=r"val2017.json: \w{8} there, \w{8} here\)"):
        tiny_trainer(tmp_path / "data", run_dir).run()


def test_a_run_is_named_by_what_changes_its_numbers_beyond_rounding():
    def identity(protocol: str = "controlled", seed: int = 0, **train: object) -> str:
        overrides = {"train": train}
        return run_identity(
            experiment("hrnet-w32", "coco", (256, 192), protocol, seed, overrides), "data"
        )

    rounding = {"channels_last": False, "compile": True, "fused": False, "cpu_kernels": False}
    rounding |= {"cudnn_benchmark": True, "cuda_graph": True, "deterministic": True}
    rounding |= {"expandable_segments": True}
    assert identity(**rounding) == identity("released") == identity() == identity(recompute=True)
    assert identity(batch_size=64) != identity(batch_size=64, micro_batch=16)
    assert len({identity(), identity(seed=1), identity(lr=0.1), identity(precision="bf16")}) == 4


@pytest.mark.parametrize(
    ("model", "identity"), [("eeffpose-p0-order8", "63374d39"), ("hrnet-w32", "3c3d1276")]
)
def test_a_new_setting_that_nobody_uses_renames_no_run(model, identity):
    """After a change of a protocol or a recipe: the new digests."""
    assert run_identity(experiment(model, "coco", (256, 192)), "data") == identity


def test_data_without_annotations_has_no_identity(tmp_path):
    with pytest.raises(PoseError, match=r"person_keypoints_train2017.json: No such file"):
        data_hash("coco", tmp_path)


def test_a_run_folder_tells_without_torch_whose_training_it_is_and_how_far(data_root, tmp_path):
    trainer = tiny_trainer(data_root, tmp_path)
    interrupt_after(trainer, 6)
    with pytest.raises(PoseError, match="stopped"):
        trainer.run()
    told = record.read(tmp_path)
    data = data_hash("synthetic", data_root)
    assert (told["epochs_done"], told["epochs"]) == (1, 3)
    assert told["made_from"] == {
        "experiment": run_identity(small_experiment(), data),
        "data": data,
        "code": {"train": trainer.codes[0]},
    }
    assert "pose/training/trainer.py" in told["code_files"]
    light = "import sys, pose.training.record, pose.weights.about; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", light], cwd=ROOT, check=True)


def test_a_training_that_goes_on_with_other_code_tells_both(data_root, tmp_path):
    earlier = tiny_trainer(data_root, tmp_path)
    earlier.codes = ["0a0a0a0a"]
    interrupt_after(earlier, 6)
    with pytest.raises(PoseError, match="stopped"):
        earlier.run()
    later = tiny_trainer(data_root, tmp_path)
    present = later.codes[0]
    later.run()  # the best epoch is the first, of the earlier code
    both = f"0a0a0a0a+{present}"
    assert record.read(tmp_path)["made_from"]["code"] == {"train": both}
    assert read_about(tmp_path / "best.safetensors")["made_from"]["code"] == {"train": both}
    after = tiny_trainer(data_root, tmp_path)
    after.codes = ["0b0b0b0b"]
    after.run()  # does nothing more
    assert record.read(tmp_path)["made_from"]["code"] == {"train": both}


def test_a_disk_that_is_full_at_any_one_write_ends_in_one_line_and_loses_nothing(
    data_root, tmp_path, monkeypatch
):
    tiny_trainer(data_root, tmp_path / "whole", **ONE_EPOCH).run()
    replace, writes = os.replace, []

    def full(source: Path, target: Path) -> None:
        writes.append(target)
        if len(writes) % 2 == 0:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("pose.support.files.os.replace", full)
    for _ in range(30):
        try:
            tiny_trainer(data_root, tmp_path / "full", **ONE_EPOCH).run()
        except PoseError as error:
            assert str(error).startswith(f"cannot write {writes[-1]}: No space left on device; ")
            assert not list((tmp_path / "full").glob(".*"))
        else:
            break
    monkeypatch.undo()
    tiny_trainer(data_root, tmp_path / "full", **ONE_EPOCH).run()
    assert_equal_runs(tmp_path / "whole", tmp_path / "full")


def test_a_truth_that_only_the_scorer_would_refuse_ends_before_the_first_step(data_root, tmp_path):
    val = copy_of(data_root, tmp_path / "data")
    content = json.loads(val.read_text())
    del content["annotations"][0]["num_keypoints"]
    val.write_text(json.dumps(content))
    with pytest.raises(PoseError, match=r"val2017.json: record 0 of .* no .num_keypoints"):
        train(small_experiment(), tmp_path / "data", tmp_path / "run", CPU)
    assert not list((tmp_path / "run").glob("*.*"))
