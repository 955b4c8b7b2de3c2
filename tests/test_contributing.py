"""The recipes of CONTRIBUTING.md, performed to the letter in a copy of the project."""

import csv
import json
import re
import runpy
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from result_folders import write_run
from snakemake_cli import ROOT, plan, snakemake

import pose.datasets
import pose.models
from pose import evaluate, infer, train
from pose.complexity import measure
from pose.config import experiment
from pose.config.datasets import DATASETS
from pose.config.model_sheet import model_sheet, read_sheet
from pose.data.samples import open_split
from pose.datasets import dataset_of
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


def copied_to(folder: Path, copied: tuple[str, ...] = ("config", "pose")) -> Path:
    """The project in ``folder``: copies of what a recipe changes, links to the rest."""
    parts = {"Snakefile", "environment.yml", "profiles", "workflow", "analysis", "config", "pose"}
    for part in parts - set(copied):
        (folder / part).symlink_to(ROOT / part)
    for part in copied:
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
    assert list(table.index) == [8, 9]  # the orders of the config
    assert table.loc[9, "neck"] == "apart" and pd.isna(table.loc[9, "AP paper"])
    assert table.loc[9, "AP gt n"] == 1
    for figure, text in (
        ("4", "ApartNeck"),
        ("8", "9: backbone + apart neck + head"),
        ("9", "Order 9: backbone + apart neck + head"),
    ):
        assert text in (results / f"figures/figure{figure}.svg").read_text()


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
    assert last["model"] == STRIDED and pd.isna(last["AP paper"])
    assert last["AP gt n"] == 1


@pytest.fixture(scope="module")
def with_a_data_set(tmp_path_factory) -> Path:
    """The project after the steps of "Add a data set", with a few athletes."""
    folder = copied_to(tmp_path_factory.mktemp("athletes"))
    module, name, config = code_blocks("Add a data set")
    (folder / "pose/datasets/athletes.py").write_text(module)
    insert(folder / "pose/config/datasets.py", "DATASETS = {\n", name)
    (folder / "config/athletes.yaml").write_text(config)
    for split, count in (("train", 4), ("val", 3)):
        write_athletes(folder / "data/athletes", split, count)
    return folder


def write_athletes(root: Path, split: str, count: int) -> None:
    """Grey images, each with a person of 14 joints in COCO's format."""
    rng = np.random.default_rng(count)
    images, people = [], []
    for number in range(1, count + 1):
        name = f"{split}{number}.png"
        (root / "images").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "images" / name), np.full((90, 70, 3), 100 + number, np.uint8))
        images.append({"id": number, "file_name": name, "width": 70, "height": 90})
        joints = np.column_stack([rng.uniform(10, 60, (14, 2)).round(1), np.full(14, 2)])
        person = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 2000.0}
        person |= {"bbox": [5, 5, 60, 80], "keypoints": joints.ravel().tolist()}
        people.append(person | {"num_keypoints": 14})
    content = {"images": images, "annotations": people}
    content["categories"] = [{"id": 1, "name": "person"}]
    (root / "annotations").mkdir(exist_ok=True)
    (root / f"annotations/{split}.json").write_text(json.dumps(content))


@pytest.fixture
def athletes(with_a_data_set, monkeypatch) -> Path:
    """The folder of the data set, which this process knows now."""
    path = [*pose.datasets.__path__, str(with_a_data_set / "pose/datasets")]
    monkeypatch.setattr(pose.datasets, "__path__", path)
    monkeypatch.setitem(DATASETS, "athletes", "AP")
    return with_a_data_set / "data/athletes"


def test_a_further_data_set_is_opened_with_its_own_joints(athletes):
    samples = open_split("athletes", athletes, "train", (64, 48))
    assert samples.joints.shape == (4, 14, 2) and samples.visible.all()
    assert samples.keypoints.names[-1] == "head_top"


def test_a_further_data_set_is_trained_on_predicted_and_scored_by_its_own_sigmas(
    athletes, with_a_data_set, tmp_path, monkeypatch
):
    config = yaml.safe_load((with_a_data_set / "config/athletes.yaml").read_text())
    settings = experiment(
        *(config["models"][1], config["dataset"], tuple(config["input"]), config["protocol"]),
        overrides=config["overrides"],
    )
    given = ["--experiment", settings.model_dump_json(), "--data-root", str(athletes)]
    given += ["--device", "cpu"]
    weights, raw, scores = (str(tmp_path / name) for name in ("w.safetensors", "p.npz", "m.json"))
    outputs = ["--run-dir", str(tmp_path / "run"), "--weights", weights]
    monkeypatch.setattr(train.signal, "signal", lambda *_: None)
    train.main([*given, *outputs, "--training-log", str(tmp_path / "log.jsonl")])
    infer.main([*given, "--weights", weights, "--output", raw])
    truth = athletes / "annotations/val.json"
    given = ["athletes", "--annotations", str(truth)]
    evaluate.main([*given, "--predictions", raw, "--output", scores])
    assert json.loads(Path(scores).read_text())["persons"] == 3

    results = [
        {"image_id": person["image_id"], "category_id": 1, "score": 0.5}
        | {"keypoints": (np.array(person["keypoints"]) + 3).tolist()}
        for person in json.loads(truth.read_text())["annotations"]
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    annotated = COCO(str(truth))
    judge = COCOeval(annotated, annotated.loadRes(results), "keypoints")
    judge.params.kpt_oks_sigmas = np.array(dataset_of("athletes").keypoints.sigmas)
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert 0 < judge.stats[0] < 1
    for evaluator in ("pycocotools", "fast"):
        predictions = ["--predictions", str(tmp_path / "results.json"), "--evaluator", evaluator]
        evaluate.main([*given, *predictions, "--output", scores])
        assert json.loads(Path(scores).read_text())["AP"] == judge.stats[0]


@pytest.mark.slow
def test_a_further_data_set_is_planned_trained_and_tabled(with_a_data_set):
    config = ("--configfile", "config/athletes.yaml")
    assert plan(with_a_data_set, *config)["train"] == 2
    done = snakemake(with_a_data_set, "--cores", "2", *config)
    assert done.returncode == 0, done.stdout + done.stderr
    results = with_a_data_set / "results/athletes"
    table = pd.read_csv(results / "tables/table1.csv", index_col="order")
    assert table.loc[8, "AP gt n"] == 1
    assert "val set 3 of 500 images" in (results / "tables/table1.md").read_text()


@pytest.fixture
def with_a_figure(tmp_path) -> Path:
    """The project after the steps of "Add a table or a figure"."""
    folder = copied_to(tmp_path, ("analysis", "workflow"))
    module, rule = code_blocks("Add a table or a figure")
    (folder / "analysis/hours.py").write_text(module)
    append(folder / "workflow/rules/present.smk", f"\n\n{rule}")
    insert(folder / "workflow/plan.py", 'found = ["claims"', ', "hours"')
    insert(folder / "workflow/figures.py", '"training"', ', "hours"')
    insert(folder / "analysis/report.py", '("costs", "complexity", "steps"', ', "hours"')
    insert(folder / "analysis/report.py", '("training",', ' "hours"')
    return folder


def test_a_further_table_and_figure_are_made_of_any_results(with_a_figure):
    write_run(with_a_figure / "results/demo")
    main = runpy.run_path(str(with_a_figure / "analysis/hours.py"))["main"]
    main([str(with_a_figure / "results/demo"), "--output-dir", str(with_a_figure / "out")])
    made = {file.name for file in (with_a_figure / "out").glob("*/*")}
    assert "| eeffpose-p0-order8 | 2.5 " in (with_a_figure / "out/tables/hours.md").read_text()
    assert made == {f"hours.{kind}" for kind in ("csv", "md", "html", "tex", "svg", "png", "pdf")}


@pytest.mark.slow
def test_a_further_table_and_figure_are_planned_and_shown_in_the_report(with_a_figure):
    assert plan(with_a_figure, *CONFIG[:2])["hours"] == 1
