"""The fault table of docs/reliability.md: every fault ends in one clear line, or is mended."""

import os
import re
import resource
import shutil
import subprocess
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from training_runs import (
    CPU,
    ROOT,
    Infinite,
    people,
    small_experiment,
    tiny_trainer,
    trainer_command,
)

from pose.support.errors import PoseError
from pose.support.files import atomic
from pose.train import train
from pose.training import checkpoint


def run_command(data_root: Path, folder: Path, *more: str) -> subprocess.CompletedProcess:
    command = trainer_command(data_root, folder, *more)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_torn_checkpoint_falls_back_to_the_one_before(data_root, tmp_path, capsys):
    tiny_trainer(data_root, tmp_path / "whole").run()
    tiny_trainer(data_root, tmp_path / "torn").run()
    earlier, newest = sorted((tmp_path / "torn").glob("checkpoint-*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    tiny_trainer(data_root, tmp_path / "torn").run()

    assert f"{newest} is unreadable" in capsys.readouterr().err
    assert earlier.exists()
    for name in ("best.safetensors", "training.jsonl"):
        assert (tmp_path / "torn" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_damaged_byte_inside_a_checkpoint_is_noticed(tmp_path, capsys):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"weights": torch.zeros(1000)})
    newest = max(tmp_path.iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert checkpoint.whole(tmp_path) == [min(tmp_path.iterdir())]
    assert f"{newest} is unreadable" in capsys.readouterr().err


def test_damage_to_a_checkpoints_directory_is_noticed_whatever_it_looks_like(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"weights": torch.zeros(9)})
    oldest, newest = sorted(tmp_path.iterdir())
    whole = newest.read_bytes()
    entry = whole.index(b"PK\1\2")
    for place in (6, 8, 10, 46):  # version, encryption, compression, name
        newest.write_bytes(whole[: entry + place] + b"\xff" + whole[entry + place + 1 :])
        assert checkpoint.whole(tmp_path) == [oldest]


def test_a_full_disk_ends_in_one_line_and_keeps_the_last_checkpoint(data_root, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        trainer = tiny_trainer(data_root, disk / "run")
        trainer._train_epoch()
        trainer._end_epoch()
        (kept,) = (disk / "run").glob("checkpoint-*.pt")
        free = shutil.disk_usage(disk).free
        (disk / "ballast").write_bytes(bytes(free - 8192))
        with pytest.raises(PoseError) as caught:
            trainer.run()
        assert re.fullmatch(r"cannot write \S+: No space left on device; .*", str(caught.value))
        assert checkpoint.whole(disk / "run") == [kept]
        (disk / "ballast").unlink()
        tiny_trainer(data_root, disk / "run").run()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_quota_ends_in_one_line_and_keeps_the_last_checkpoint(tmp_path):
    kept = checkpoint.save(tmp_path, 1, {"epoch": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(PoseError, match=rf"File too large.*last good checkpoint is {kept}"):
            checkpoint.save(tmp_path, 2, {"weights": torch.zeros(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.load(checkpoint.whole(tmp_path)[0]) == {"epoch": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_read_only_run_folder_ends_in_one_line(data_root, tmp_path):
    # Root may write everywhere, so the mount is read-only where it can be made so.
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    if os.getuid() == 0:
        bind = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", run_dir]
        if subprocess.run(bind, capture_output=True).returncode:
            pytest.skip("a read-only disk cannot be mounted here")
    else:
        run_dir.chmod(0o500)
    try:
        with pytest.raises(PoseError, match=rf"cannot write {run_dir}/lock: .*another folder"):
            train(small_experiment(), data_root, run_dir, CPU)
    finally:
        if os.getuid() == 0:
            subprocess.run(["umount", "-l", run_dir], check=True)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "target"
    target.write_text("old")
    with pytest.raises(PoseError, match=r"target: No space left on device"), atomic(target):
        raise OSError(28, "No space left on device")
    assert target.read_text() == "old"


def test_one_training_at_a_time_holds_a_run(data_root, tmp_path, runs):
    run_dir = tmp_path / "run"
    (first,) = runs.start(data_root, run_dir, epochs=1000, locked=True)
    while not run_dir.exists() or not list(run_dir.glob("checkpoint-*.pt")):
        time.sleep(0.05)
    with pytest.raises(PoseError, match=rf"another trainer \(process {first.pid} on .*\) holds"):
        train(small_experiment(), data_root, run_dir, CPU)
    first.kill()
    first.join()


def test_a_second_trainer_can_wait_for_the_first(data_root, tmp_path, runs):
    run_dir = tmp_path / "run"
    arguments = {"epochs": 20, "locked": True}
    (first,) = runs.start(data_root, run_dir, slow_from=10, **arguments)
    while not run_dir.exists() or not list(run_dir.glob("checkpoint-*.pt")):
        time.sleep(0.05)
    (second,) = runs.start(data_root, run_dir, wait=True, **arguments)
    wait_until_told(f"waiting for another trainer (process {first.pid}", run_dir, second)
    first.terminate()
    assert [trainer.join(60) or trainer.exitcode for trainer in (first, second)] == [1, 0]
    assert "resumed at" in Path(f"{run_dir}-0.txt").read_text()


def wait_until_told(words: str, run_dir: Path, trainer: BaseProcess) -> None:
    output = Path(f"{run_dir}-0.txt")
    while words not in output.read_text():
        assert trainer.exitcode is None, output.read_text()
        time.sleep(0.05)


def test_a_killed_trainer_with_loader_workers_frees_its_run_at_once(data_root, tmp_path, runs):
    run_dir = tmp_path / "run"
    arguments = {"locked": True, "epochs": 1000, "options": {"workers": 1}}
    (first,) = runs.start(data_root, run_dir, **arguments)
    while not run_dir.exists() or not list(run_dir.glob("checkpoint-*.pt")):
        time.sleep(0.05)
    first.kill()
    first.join()
    (second,) = runs.start(data_root, run_dir, **arguments)
    wait_until_told("resumed at", run_dir, second)
    second.kill()
    second.join()


def test_another_experiments_run_is_refused_with_what_differs(data_root, tmp_path):
    tiny_trainer(data_root, tmp_path, lr=0.001).run()
    with pytest.raises(PoseError) as caught:
        tiny_trainer(data_root, tmp_path, lr=0.5, epochs=3).run()
    assert "train.lr: 0.001 there, 0.5 here" in str(caught.value)
    assert "train.epochs: 2 there, 3 here" in str(caught.value)
    assert "batch_size" not in str(caught.value).partition("protocol")[0]


def test_a_run_on_other_data_is_refused(data_root, tmp_path):
    tiny_trainer(data_root, tmp_path / "run").run()
    more = people(tmp_path, images=12)
    with pytest.raises(PoseError, match=r"train2017.json: \w{8} there, \w{8} here"):
        tiny_trainer(more, tmp_path / "run").run()


def test_a_loss_that_is_not_finite_names_the_batch_and_keeps_the_last_checkpoint(
    data_root, tmp_path
):
    trainer = tiny_trainer(data_root, tmp_path)
    trainer._train_epoch()
    trainer._end_epoch()
    kept = sorted(tmp_path.glob("checkpoint-*.pt"))
    step = trainer._step

    def spoiled(batch: dict[str, torch.Tensor]) -> None:
        if trainer.position.step == 1:
            with torch.no_grad():
                trainer.model.layers[3].bias.fill_(float("nan"))
        step(batch)

    trainer._step = spoiled
    with pytest.raises(PoseError) as caught:
        trainer._train_epoch()
    trainer.batches.epoch = 1
    message = str(caught.value)
    assert "loss is nan in epoch 0, step 1, learning rate 0.001" in message
    assert f"samples {trainer.batches.batch(1)}" in message
    assert f"the last good checkpoint is {kept[-1]}" in message
    assert sorted(tmp_path.glob("checkpoint-*.pt")) == kept


def test_a_training_that_goes_on_before_its_failure_says_so_until_it_has_passed(
    data_root, tmp_path, capsys
):
    trainer = tiny_trainer(data_root, tmp_path)
    trainer._train_epoch()
    trainer._end_epoch()
    trainer.take_step.net = Infinite(trainer.model)
    with pytest.raises(PoseError, match="loss is nan"):
        trainer._train_epoch()
    tiny_trainer(data_root, tmp_path).run()
    told = "this training has stopped before: loss is nan in epoch 0, step 0, learning rate 0.001"
    assert told in capsys.readouterr().err
    tiny_trainer(data_root, tmp_path).run()
    assert "stopped before" not in capsys.readouterr().err


def test_weights_spoiled_by_the_last_step_enter_no_checkpoint(data_root, tmp_path):
    trainer = tiny_trainer(data_root, tmp_path)
    with torch.no_grad():
        trainer.model.layers[0].weight[0] = float("inf")
    with pytest.raises(PoseError, match=r"layers\.0\.weight is not finite .*no checkpoint yet"):
        trainer._checkpoint()
    assert not list(tmp_path.glob("checkpoint-*.pt"))


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_corrupt_image_ends_the_training_in_one_line(data_root, tmp_path, workers):
    damaged = tmp_path / "data"
    shutil.copytree(data_root, damaged)
    for image in (damaged / "train2017").iterdir():
        image.write_bytes(image.read_bytes()[:500])
    done = run_command(damaged, tmp_path, "--workers", workers)
    assert done.returncode == 1
    assert re.fullmatch(r"error: image \S+\.jpg: truncated JPEG; fetch it again\n", done.stderr)
    assert not (tmp_path / "w").exists()


def test_a_gpu_that_is_not_there_is_refused_in_one_line(data_root, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = run_command(data_root, tmp_path, "--device", "cuda")
    assert done.returncode == 1
    assert done.stderr == (
        "error: device cuda was asked for but no GPU is visible; set device: cpu or auto\n"
    )


def test_every_line_of_the_fault_table_names_a_test_that_exists():
    table = [
        line
        for line in (ROOT / "docs/reliability.md").read_text().splitlines()
        if line.startswith("| ") and "`test_" in line
    ]
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    named = {name for line in table for name in re.findall(r"`(test_\w+)`", line)}
    assert len(table) > 25
    assert {name for name in named if f"def {name}(" not in tests} == set()
