"""A config worked off without Snakemake leaves what tables and figures are made of."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import yaml
from training_runs import ROOT, small_experiment

from analysis.results import load_results
from pose.datasets.identity import data_hash, run_identity
from workflow.scripts import plain
from workflow.settings import read


def test_the_showcase_is_a_config_of_the_workflow_with_all_orders_at_full_size():
    (config,) = read(yaml.safe_load((ROOT / "config/gpu_showcase.yaml").read_text()))
    assert config.models == tuple(f"eeffpose-p0-order{order}" for order in range(1, 9))
    assert (config.input, config.device) == ((256, 192), "cuda")


@pytest.mark.slow
def test_the_archive_makes_table_1_and_figure_8_elsewhere(tmp_path, monkeypatch):
    settings = yaml.safe_load((ROOT / "config/miniature.yaml").read_text())
    config = tmp_path / "miniature.yaml"
    config.write_text(yaml.safe_dump(settings | {"device": "cpu"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    plain.main([str(config), "--at-once", "2", "--archive", "showcase.tar.gz"])
    elsewhere = tmp_path / "elsewhere"
    with tarfile.open("showcase.tar.gz") as archive:
        assert not any(name.endswith((".safetensors", ".jpg")) for name in archive.getnames())
        archive.extractall(elsewhere, filter="data")
    folders = sorted(elsewhere.glob("results/miniature/*/seed0"))
    assert len(folders) == 2
    runs = load_results(*folders)
    assert runs[["commit", "device", "batch", "versions"]].notna().all(axis=None)
    sheet = ("--models", str(ROOT / "config/models.tsv"), "--output-dir", str(tmp_path / "out"))
    for name in (["analysis.figure8"], ["analysis.comparison", "1"]):
        command = [sys.executable, "-m", *name, *map(str, folders), *sheet]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
        assert done.returncode == 0, done.stderr
    assert {"figure8.svg", "table1.csv"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_command_that_fails_is_told_by_its_last_line(tmp_path):
    with pytest.raises(plain.PoseError, match=r"seed0, train: .* --experiment"):
        (tmp_path / "seed0").mkdir()
        plain.run(tmp_path / "seed0", "train", "pose.train")


def test_a_command_that_is_killed_is_told_by_the_signal_and_not_by_its_progress(
    tmp_path, monkeypatch
):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho epoch 3 of 5\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(plain.sys, "executable", str(program))
    with pytest.raises(plain.PoseError, match=r"train: killed by SIGKILL$"):
        plain.run(tmp_path, "train", "pose.train")


@pytest.mark.parametrize("config", ["coco.yaml", "paper.yaml"])
def test_nobody_is_rendered_where_photographs_belong(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="is not of rendered people alone: give it to snakemake"):
        plain.main([str(ROOT / "config" / config), "--archive", "a.gz"])
    assert not list(tmp_path.iterdir())


def test_scores_of_another_training_are_kept_and_told_of(data_root, tmp_path):
    chosen, metrics = small_experiment(), tmp_path / "metrics_gt.json"
    assert not plain.scored(metrics, chosen, data_root)
    identity = run_identity(chosen, data_hash(chosen.dataset, data_root))
    metrics.write_text(json.dumps({"made_from": {"experiment": identity}}))
    assert plain.scored(metrics, chosen, data_root)
    with pytest.raises(plain.PoseError, match=f"not of this config's training: move {tmp_path} aw"):
        plain.scored(metrics, small_experiment(lr=0.1), data_root)
    metrics.write_text("[]")
    with pytest.raises(plain.PoseError, match="not of this config's training"):
        plain.scored(metrics, chosen, data_root)


def test_after_an_interruption_no_further_training_begins(tmp_path, monkeypatch):
    begun = []

    def run(folder: Path, log: str, *_: object) -> None:
        if log == "train":
            begun.append(folder)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)  # as a training that saves
            raise plain.PoseError("stopped by SIGINT")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plain, "run", run)
    with pytest.raises(SystemExit) as end:
        plain.main([str(ROOT / "config/miniature.yaml"), "--archive", "a.gz"])
    assert end.value.code == 130 and len(begun) == 1
    assert not Path("a.gz").exists()
