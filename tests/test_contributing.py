"""The recipes of CONTRIBUTING.md, performed to the letter in a copy of the project."""

import csv
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from snakemake_cli import ROOT, plan, snakemake

import pose.models
from pose.complexity import measure
from pose.config.model_sheet import model_sheet, read_sheet
from pose.models import create_model, list_models
from pose.weights import PublishedFile, catalogue, convert, to_published
from pose.weights.file import load_weights

NAME = "eeffpose-p0-apart"
CONFIG = ("--configfile", "config/miniature.yaml", "--config")
MODELS = f"models=[eeffpose-p0-order8, {NAME}]"
STRIDED = "strided-32"
CHECKPOINT = "strided-32@coco-256x192"


def code_blocks(section: str) -> list[str]:
    text = (ROOT / "CONTRIBUTING.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def insert(file: Path, after: str, addition: str) -> None:
    text = file.read_text()
    assert text.count(after) == 1
    file.write_text(text.replace(after, after + addition))


def append(file: Path, row: str) -> None:
    with file.open("a") as lines:
        lines.write(row)


def copied_to(folder: Path) -> Path:
    """The project in ``folder``: copies of what the recipes change, links to the rest."""
    for part in ("Snakefile", "environment.yml", "profiles", "workflow", "analysis"):
        (folder / part).symlink_to(ROOT / part)
    for part in ("config", "pose"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def with_a_neck(tmp_path_factory) -> Path:
    """The project after the steps of "Add a neck"."""
    folder = copied_to(tmp_path_factory.mktemp("neck"))
    module, import_line, neck, model, row = code_blocks("Add a neck")
    (folder / "pose/models/apart_neck.py").write_text(module)
    registry = folder / "pose/models/eeffpose/net.py"
    insert(registry, "from pose.support.errors import PoseError, nearest\n", import_line)
    insert(registry, "NECKS = {", f"\n{neck}")
    insert(registry, "MODELS = {", f"\n{model}")
    append(folder / "config/models.tsv", row)
    return folder


@pytest.mark.slow
def test_a_fourth_neck_is_planned_with_the_orders(with_a_neck):
    done = snakemake(with_a_neck, "--dry-run", *CONFIG, MODELS)
    assert len(re.findall(r"^rule train:", done.stdout, re.MULTILINE)) == 2
    for rule in ("table1", "figure8"):
        inputs = re.search(rf"^rule {rule}:\n    input: (.*)$", done.stdout, re.MULTILINE)[1]
        assert f"results/miniature/{NAME}/seed0/" in inputs


@pytest.mark.slow
def test_a_fourth_neck_is_trained_tabled_and_plotted_beside_the_eight(with_a_neck):
    done = snakemake(with_a_neck, "--cores", "2", *CONFIG, MODELS)
    assert done.returncode == 0, done.stdout + done.stderr
    results = with_a_neck / "results/miniature"
    table = pd.read_csv(results / "tables/table1.csv", index_col="order")
    assert list(table.index) == list(range(1, 10))
    assert tuple(table.loc[9, ["MEMe neck", "paper AP (COCO val)"]]) == ("apart", "-")
    assert 0 < table.loc[9, "params (M)"] < table.loc[8, "params (M)"]
    assert table.loc[9, "measured AP, gt boxes"] != "not run"
    assert "9: backbone + apart neck + head" in (results / "figures/figure8.svg").read_text()


@pytest.fixture(scope="module")
def with_a_model(tmp_path_factory) -> Path:
    """The project after the steps of "Add a model"."""
    folder = copied_to(tmp_path_factory.mktemp("model"))
    module, row, checkpoint = code_blocks("Add a model")
    (folder / "pose/models/strided.py").write_text(module)
    append(folder / "config/models.tsv", row)
    append(folder / "pose/weights/published.csv", checkpoint)
    return folder


@pytest.fixture
def strided(with_a_model, monkeypatch) -> torch.nn.Module:
    """The model, in this process: torch takes seconds to be imported in another one."""
    path = [*pose.models.__path__, str(with_a_model / "pose/models")]
    monkeypatch.setattr(pose.models, "__path__", path)
    row = read_sheet(with_a_model / "config/models.tsv")[STRIDED]
    monkeypatch.setitem(model_sheet(), STRIDED, row)
    with (with_a_model / "pose/weights/published.csv").open(newline="") as file:
        *_, published = csv.DictReader(file)
    monkeypatch.setitem(catalogue(), CHECKPOINT, PublishedFile(**published))
    return create_model(STRIDED).eval()


def test_a_further_model_is_listed_built_and_counted(strided):
    assert list_models()[-1] == STRIDED
    assert strided(torch.zeros(2, 3, 64, 48)).shape == (2, 17, 16, 12)
    assert measure(strided, (64, 48)).params == 3 * 32 * 4 * 4 + 2 * 32 + 32 * 17 + 17


def test_a_further_model_s_checkpoint_is_read_under_its_authors_names(
    strided, tmp_path, monkeypatch
):
    published = to_published(strided)
    assert "features.0.weight" in published
    monkeypatch.setenv("POSE_CACHE", str(tmp_path))
    torch.save({"state_dict": published}, tmp_path / f"{CHECKPOINT}.pth")
    convert(CHECKPOINT, tmp_path / "weights.safetensors")
    model = create_model(STRIDED).eval()
    load_weights(model, tmp_path / "weights.safetensors")
    images = torch.randn(1, 3, 64, 48)
    assert torch.equal(model(images), strided(images))


@pytest.mark.slow
def test_a_further_model_is_planned_by_its_name_in_a_config(with_a_model):
    assert plan(with_a_model, *CONFIG, f"models=[{STRIDED}]")["train"] == 1


@pytest.mark.slow
def test_a_further_model_is_trained_and_stands_below_the_paper_s_rows_of_table_2(with_a_model):
    done = snakemake(with_a_model, "--cores", "2", *CONFIG, f"models=[{STRIDED}]")
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(with_a_model / "results/miniature/tables/table2.csv")
    last = table.iloc[-1]
    assert (last["method"], last["paper AP"]) == (STRIDED, "-")
    assert last["measured AP, gt boxes"] != "not run"
