"""Measured numbers that are in git."""

import importlib.util

import pandas as pd
import pytest
from result_folders import write_complexity, write_run

from analysis import measured
from pose.support.errors import PoseError
from pose.support.fingerprint import ROOT
from workflow.settings import Config, parse

SPEC = importlib.util.spec_from_file_location("measured_page", ROOT / "docs/measured.py")


def add(*places, output) -> None:
    measured.main([*map(str, places), "--command", "make demo", "--output-dir", str(output)])


def test_a_file_says_data_protocol_and_device_and_each_row_commit_and_command(tmp_path):
    write_run(tmp_path / "demo", protocol="controlled (lr=0.008)")
    write_complexity(tmp_path / "demo")
    add(tmp_path / "demo", output=tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/synthetic-controlled-a-cpu.csv")
    row = table.iloc[0]
    assert (row["AP"], row["commit"], row["command"]) == (25.0, "c0ffee", "make demo")
    assert (row["device"], row["protocol"]) == ("a CPU", "controlled (lr=0.008)")
    assert "PCKh@0.5" not in table and "folder" not in table


def test_a_run_that_is_there_already_is_replaced_and_others_stay(tmp_path):
    write_run(tmp_path / "a", "eeffpose-p0-order1")
    write_run(tmp_path / "a", AP=0.1)
    write_run(tmp_path / "b", AP=0.4)
    add(tmp_path / "a", output=tmp_path / "out")
    add(tmp_path / "b", output=tmp_path / "out")
    (file,) = (tmp_path / "out").glob("*.csv")
    assert pd.read_csv(file).set_index("order")["AP"].to_dict() == {1: 25.0, 8: 40.0}


def test_devices_are_told_apart_by_file_and_published_weights_have_none(tmp_path):
    assert measured._slug("Intel(R) Xeon(R) CPU @ 2.20GHz") == "intel-xeon-cpu"
    assert measured._slug("mpii released NVIDIA H100 80GB") == "mpii-released-nvidia-h100-80gb"
    name = "eeffpose-p0-order8@coco"
    place = tmp_path / "demo/released"
    write_run(place, run=name, training=False, checkpoint=name, protocol="released")
    add(tmp_path / "demo", output=tmp_path / "out")
    assert (tmp_path / "out/synthetic-released-published-weights.csv").exists()


def test_benchmarks_are_taken_too_and_other_files_refused(tmp_path):
    file = tmp_path / "training.csv"
    rows = {"name": "step", "variant": ["a", "b"], "median": [1.0, 2.0], "unit": "s"}
    pd.DataFrame(rows | {"commit": "c0ffee", "cpu": "A CPU"}).to_csv(file, index=False)
    for _ in "ab":
        add(file, output=tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out/bench-training-a-cpu.csv")) == 2
    on_gpu = tmp_path / "gpu.csv"
    pd.DataFrame(rows | {"commit": "c0ffee", "cpu": "A CPU", "gpu": "A GPU"}).to_csv(on_gpu)
    add(on_gpu, output=tmp_path / "out")
    assert (tmp_path / "out/bench-gpu-a-gpu.csv").exists()
    file.write_text("a,b\n1,2\n")
    with pytest.raises(PoseError, match=r"training\.csv: not a file of pose\.bench"):
        measured.benchmark_rows(file, "")


def test_figures_of_gpu_checks_keep_all_their_digits(tmp_path):
    checks = tmp_path / "checks.csv"
    rows = {"check": "parity", "verdict": "passed", "figure": ["a", "b"], "value": [1.5e-7, 2.5e-3]}
    pd.DataFrame(rows | {"commit": "c0ffee", "device": "A GPU"}).to_csv(checks, index=False)
    add(checks, output=tmp_path / "out")
    assert list(pd.read_csv(tmp_path / "out/gpu-check-a-gpu.csv")["value"]) == [1.5e-7, 2.5e-3]


def test_a_training_outside_of_git_is_refused(tmp_path):
    write_run(tmp_path, training=False)
    with pytest.raises(PoseError, match="does not tell its commit"):
        measured.measured_rows(measured.load_results(tmp_path), "")


def test_the_page_and_the_readmes_table_are_made_of_the_files(tmp_path, monkeypatch):
    page = importlib.util.module_from_spec(SPEC)
    SPEC.loader.exec_module(page)
    monkeypatch.setattr(page, "FOLDER", tmp_path / "out")
    write_run(tmp_path / "demo")
    write_run(tmp_path / "demo", "eeffpose-p0-order1")
    write_complexity(tmp_path / "demo")
    add(tmp_path / "demo", output=tmp_path / "out")
    (csv,) = (tmp_path / "out").glob("synthetic-*.csv")
    showcase = csv.read_text().replace("make demo", "plain.py config/gpu_showcase.yaml")
    csv.with_name("synthetic-controlled-a-gpu.csv").write_text(showcase.replace(",25.0,", ",99.0,"))
    text = page.page()
    assert "## `synthetic-controlled-a-cpu.csv`" in text and "command: make demo" in text
    assert page.BLOCK.search(page.README.read_text())
    last = page.demo_table().splitlines()[-1]
    assert [cell.strip() for cell in last.split("|")[1:-1]] == [
        *("8", "✓", "✓", "✓", "9.004", "4.000", "75.4", "25.0", "not run"),
    ]


def test_no_config_may_be_called_as_the_folder_of_measured_numbers():
    config = {"name": "Measured", "dataset": "coco", "data_root": "x", "models": ["hrnet-w32"]}
    config |= {"input": [256, 192], "protocol": "released", "seeds": [0], "device": "cpu"}
    with pytest.raises(PoseError, match="results/measured holds the numbers that are in git"):
        parse(Config, config, "config")
    assert parse(Config, config | {"name": "measured2"}, "config")
