"""The miniature as a whole: under odd names, and after a change of the code."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from snakemake_cli import ROOT, plan, snakemake
from training_runs import people

pytestmark = pytest.mark.slow

PARTS = ("Snakefile", "analysis", "config", "environment.yml", "profiles", "workflow")
ODD = 'it\'s $(touch pwned) `touch pwned`; touch pwned #1 "x"'


def test_names_with_spaces_quotes_and_commands_are_names_and_nothing_else(tmp_path):
    folder = tmp_path / ODD
    folder.mkdir()
    for part in (*PARTS, "pose"):
        (folder / part).symlink_to(ROOT / part)
    data_root = f"data_root=data {ODD} {{run}} <x>"
    options = ("--configfile", "config/miniature.yaml", "--config", data_root)
    done = snakemake(folder, "--cores", "2", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing to be done" in snakemake(folder, "-n", *options).stdout
    report = snakemake(folder, *options, "--report", "report.zip")
    assert report.returncode == 0, report.stderr
    assert not list(tmp_path.rglob("pwned"))
    shutil.rmtree(folder / ".snakemake")
    assert "Nothing to be done" in snakemake(folder, "-n", *options).stdout
    changed = "overrides={train: {lr: 0.1}}"
    assert plan(folder, *options, changed)["train"] == 2


def test_after_a_change_of_code_a_training_on_real_data_is_kept_or_repeated_as_asked(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    for part in PARTS:
        (folder / part).symlink_to(ROOT / part)
    shutil.copytree(ROOT / "pose", folder / "pose", ignore=shutil.ignore_patterns("*.pyc"))
    settings = yaml.safe_load((ROOT / "config/coco_mini.yaml").read_text())
    settings |= {"data_root": str(people(tmp_path)), "models": ["eeffpose-p0-order1"]}
    settings["overrides"]["train"] |= {"batch_size": 4, "epochs": 1, "warmup_epochs": 0}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    options = ("--configfile", str(tmp_path / "config.yaml"))
    whole = snakemake(folder, "--cores", "2", *options)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    results = folder / "results/coco_mini/eeffpose-p0-order1/seed0"
    weights = (results / "weights.safetensors").read_bytes()
    made_from = json.loads((results / "metrics_gt.json").read_text())["made_from"]

    change(folder / "pose/targets/losses.py", "FACTOR = 2")
    for call in (("-n",), ("--cores", "2")):
        asked = snakemake(folder, *call, *options)
        assert asked.returncode != 0
        assert "1 of 1 epochs; changed" in asked.stderr
        assert "pose/targets/losses.py" in asked.stderr
    kept = snakemake(folder, "--cores", "2", *options, "--config", "on_code_change=keep")
    assert kept.returncode == 0 and "rule train:" not in kept.stderr
    assert (results / "weights.safetensors").read_bytes() == weights
    scores = json.loads((results / "metrics_gt.json").read_text())
    assert scores["kept_code"].startswith(f"{made_from['code']['train']}, kept beside ")
    assert list(json.loads((results / "kept_code.json").read_text())) == [
        made_from["code"]["train"]
    ]
    assert "Nothing to be done" in snakemake(folder, "-n", *options).stdout

    change(folder / "pose/targets/losses.py", "FACTOR = 3")
    retrained = snakemake(folder, "--cores", "2", *options, "--config", "on_code_change=retrain")
    assert retrained.returncode == 0, retrained.stderr
    assert "rule train:" in retrained.stderr
    now = json.loads((results / "metrics_gt.json").read_text())["made_from"]
    assert now["experiment"] == made_from["experiment"]
    assert now["code"]["train"] != made_from["code"]["train"]
    runs = sorted(path.name for path in (folder / "runs/eeffpose-p0-order1/seed0").iterdir())
    assert len(runs) == 2 and re.fullmatch(f"{runs[0]}-{made_from['code']['train']}", runs[1])
    assert "Nothing to be done" in snakemake(folder, "-n", *options).stdout


def change(file: Path, line: str) -> None:
    file.write_text(f"{file.read_text()}\n{line}\n")
