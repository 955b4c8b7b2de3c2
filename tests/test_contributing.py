"""The recipes of CONTRIBUTING.md, performed to the letter in a copy of the project."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from snakemake_cli import ROOT, snakemake

NAME = "eeffpose-p0-apart"
CONFIG = ("--configfile", "config/miniature.yaml", "--config")
MODELS = f"models=[eeffpose-p0-order8, {NAME}]"


def code_blocks(section: str) -> list[str]:
    text = (ROOT / "CONTRIBUTING.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def insert(file: Path, after: str, addition: str) -> None:
    text = file.read_text()
    assert text.count(after) == 1
    file.write_text(text.replace(after, after + addition))


@pytest.fixture(scope="module")
def with_a_neck(tmp_path_factory) -> Path:
    """The project after the steps of "Add a neck"."""
    folder = tmp_path_factory.mktemp("neck")
    for part in ("Snakefile", "environment.yml", "profiles", "workflow", "analysis"):
        (folder / part).symlink_to(ROOT / part)
    for part in ("config", "pose"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    module, import_line, neck, model, row = code_blocks("Add a neck")
    (folder / "pose/models/apart_neck.py").write_text(module)
    registry = folder / "pose/models/eeffpose/net.py"
    insert(registry, "from pose.support.errors import PoseError, nearest\n", import_line)
    insert(registry, "NECKS = {", f"\n{neck}")
    insert(registry, "MODELS = {", f"\n{model}")
    with (folder / "config/models.tsv").open("a") as sheet:
        sheet.write(row)
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
