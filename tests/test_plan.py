"""What the workflow makes of a config, asked without Snakemake."""

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from configs import ROOT, config, plan
from safetensors.numpy import save_file

from pose.datasets import coco
from pose.datasets.identity import data_hash, run_identity
from pose.support.errors import PoseError
from pose.support.fingerprint import code_of
from workflow import figures
from workflow.plan import Plan
from workflow.settings import read

RUN = "eeffpose-p0-order1"
PRESENT = code_of("pose.train", RUN, "coco")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with COCO's annotations, such as they are, in which the plan looks for results."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSE_CACHE", str(tmp_path / "cache"))
    for split in ("train", "val"):
        path = coco.DATASET.annotations(Path("data/coco_mini"), split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(split)
    return tmp_path


class Trained:
    """A finished training of order 1, as far as its files tell, by ``code``."""

    def __init__(self, code: str = PRESENT.fingerprint, files: dict | None = None):
        current = plan("coco_mini")
        experiment = current.experiments[RUN, 0]
        data = data_hash("coco", Path("data/coco_mini"))
        self.origin = {
            "experiment": run_identity(experiment, data),
            "data": data,
            "code": {"train": code},
        }
        about = {
            "experiment": experiment.model_dump(mode="json"),
            "made_from": self.origin,
            "code_files": PRESENT.files | (files or {}),
            "commit": "0123456789abcdef",
        }
        self.folder = Path("results/coco_mini", RUN, "seed0")
        self.folder.mkdir(parents=True)
        tensor = {"w": np.zeros(1, np.float32)}
        save_file(tensor, self.folder / "weights.safetensors", {"about": json.dumps(about)})
        self.run_dir = Path(current.run_directory(SimpleNamespace(run=RUN, seed="0")))
        self.run_dir.mkdir(parents=True)
        (self.run_dir / "checkpoint-000000009.pt").touch()
        state = {key: about[key] for key in ("made_from", "code_files", "commit")}
        state |= {"epochs_done": 11, "epochs": 11}
        (self.run_dir / "run.json").write_text(json.dumps(state))

    def evaluated(self, infer: str | None = None, **labels: str) -> None:
        steps = {"infer": infer or code_of("pose.infer", RUN, "coco").fingerprint}
        origin = self.origin | {"code": self.origin["code"] | steps}
        about = json.dumps({"made_from": origin})
        np.savez(self.folder / "predictions_gt.npz", about=about)
        origin["code"]["evaluate"] = code_of("pose.evaluate", dataset="coco").fingerprint
        content = json.dumps({"made_from": origin} | labels)
        (self.folder / "metrics_gt.json").write_text(content)


def stale(*entries: str) -> set[str]:
    return {Path(file).name for file in plan("coco_mini", *entries).check([])}


def test_arguments_with_odd_characters_stay_single_words():
    odd = "x $(touch pwned); '#\" {a}"
    current = plan("config", f"data_root={odd}")
    words = current.scoring(SimpleNamespace(run=RUN, seed="0", boxes="det"))
    assert f"{odd}/annotations/person_keypoints_val2017.json" in words
    assert shlex.split(shlex.join(words)) == words
    boxes = current.both_boxes(SimpleNamespace(run=RUN), "gt.npz")
    assert boxes[1].startswith(f"{odd}/") and boxes[2:] == ["--gt-output", "gt.npz"]


def test_a_run_is_predicted_by_one_job_with_as_many_sources_of_boxes_as_it_has():
    paper = Plan(read(config("paper")), several=True)
    both, single = paper.pattern("gt", "det").split("|"), paper.pattern("gt").split("|")
    assert sorted(both + single) == sorted(paper.runs)
    assert all(name.startswith("coco") for name in both)
    assert plan("config").pattern("gt") == "(?!)"


def test_every_file_that_the_readme_of_results_promises_is_a_target():
    targets = set(plan("config").targets())
    for line in (ROOT / "results/README.md").read_text().splitlines():
        if line.startswith("| `RUN/seedK/") and not re.search("submission|kept_code|audit", line):
            name = line.split("`")[1].removeprefix("RUN/seedK/").replace("{gt,det}", "det")
            assert f"results/demo/{RUN}/seed0/{name}" in targets, name
    for name in ("tables/table1",):
        assert {f"results/demo/{name}.{kind}" for kind in ("csv", "md", "html", "tex")} <= targets


def test_every_figure_that_the_readme_of_results_promises_is_a_target_in_its_formats():
    targets = set(figures.targets(plan("config")))
    promised = re.findall(
        r"`figures/(figure[\w{},]+|training)\.\{svg,png,pdf\}`",
        (ROOT / "results/README.md").read_text(),
    )
    names = [name for line in promised for name in expanded(line)]
    assert {f"figure{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9)} < set(names)
    for name in set(names) - {"figure7"}:  # which is of MPII
        assert {f"results/demo/figures/{name}.{k}" for k in ("svg", "png", "pdf")} <= targets, name


def expanded(name: str) -> list[str]:
    """``"figure{2,3}"`` to its names."""
    start, _, rest = name.partition("{")
    return [start + one for one in rest.removesuffix("}").split(",")]


def test_figures_show_the_papers_nets_and_orders_and_each_further_part():
    demo = plan("config")
    assert figures.nets(demo) == ["eeffpose-p0-order1", "eeffpose-p0-order8"]
    assert figures.with_maps(demo) == [f"eeffpose-p0-order{order}" for order in (1, 2, 6, 8)]
    assert figures.example(demo, "6") == "eeffpose-p0-order8" and figures.example(demo, "7") is None
    assert figures.example(plan("mpii_mini"), "6") is None
    assert figures.example(plan("mpii_mini"), "7")


def test_results_of_the_present_experiment_data_and_code_are_current(checkout):
    Trained().evaluated()
    assert stale() == set()


def test_an_edited_config_makes_weights_stale_even_without_snakemakes_memory(checkout):
    Trained().evaluated()
    assert stale("overrides={train: {lr: 0.1}}") == {"weights.safetensors"}
    assert stale("overrides={train: {compile: true}}") == set()  # rounding


def test_an_edited_val_set_makes_weights_stale(checkout):
    Trained().evaluated()
    coco.DATASET.annotations(Path("data/coco_mini"), "val").write_text("other people")
    assert stale() == {"weights.safetensors"}


def test_predictions_of_other_code_or_damaged_ones_are_stale_with_what_follows(checkout):
    trained = Trained()
    trained.evaluated(infer="00000000")
    assert stale() == {"predictions_gt.npz", "metrics_gt.json"}
    trained.evaluated()
    (trained.folder / "predictions_gt.npz").write_bytes(b"")
    assert stale() == {"predictions_gt.npz"}


@pytest.mark.parametrize("content", ["", "[]", "5", '{"made_from": 5}', '{"aaaaaaaa": 5}'])
@pytest.mark.parametrize("name", ["run.json", "kept_code.json", "metrics_gt.json"])
def test_a_file_that_does_not_tell_what_it_should_stops_no_plan(checkout, name, content):
    trained = Trained(code="aaaaaaaa")
    trained.evaluated()
    (trained.run_dir if name == "run.json" else trained.folder).joinpath(name).write_text(content)
    expected = {"metrics_gt.json"} if name == "metrics_gt.json" else set()
    assert expected <= stale("on_code_change=keep")


def test_an_empty_result_is_stale(checkout):
    trained = Trained()
    (trained.folder / "training.jsonl").touch()
    assert stale() == {"training.jsonl"}


def test_a_training_whose_code_has_changed_is_asked_about_by_run_epochs_and_files(checkout):
    Trained("aaaaaaaa", {"pose/targets/losses.py": "bbbbbbbb"})
    with pytest.raises(SystemExit) as stop:
        stale()
    text = str(stop.value)
    assert f"results/coco_mini/{RUN}/seed0: 11 of 11 epochs; changed since commit 01234567:" in text
    assert "pose/targets/losses.py" in text
    assert "on_code_change=keep" in text and "on_code_change=retrain" in text
    assert plan("coco_mini").check(["coco_data"]) == set()  # nothing is asked where it is not used


@pytest.mark.parametrize(
    "target", ["table1", "figure1", "TABLES/table1.csv", "FIGURES/figure8.svg"]
)
def test_a_table_or_figure_alone_asks_about_changed_code_too(checkout, target):
    Trained(code="aaaaaaaa", files={"pose/train.py": "00000000"})
    target = re.sub("^[A-Z]+", lambda folder: f"results/coco_mini/{folder[0].lower()}", target)
    with pytest.raises(SystemExit, match="the code has changed"):
        plan("coco_mini").check([target])


def test_a_kept_training_counts_as_current_and_is_not_asked_about_again(checkout):
    trained = Trained("aaaaaaaa")
    trained.evaluated()
    layout_of_val = Path("data/coco_mini/val2017")
    layout_of_val.mkdir()
    current = plan("coco_mini", "on_code_change=keep")
    assert {Path(file).name for file in current.check([])} == {"metrics_gt.json"}
    said = current.scoring(SimpleNamespace(run=RUN, seed="0", boxes="gt"))[-1]
    assert said == f"kept_code=aaaaaaaa, kept beside {PRESENT.fingerprint}"
    assert list(trained.folder.glob("kept*")) == []  # a plan writes nothing
    current.start([])
    trained.evaluated(kept_code=said.partition("=")[2])
    assert stale() == set()
    assert json.loads((trained.folder / "kept_code.json").read_text()) == {
        "aaaaaaaa": [PRESENT.fingerprint]
    }


def test_retraining_puts_the_earlier_run_aside_and_loses_nothing(checkout):
    trained = Trained("aaaaaaaa")
    Path("data/coco_mini/val2017").mkdir()
    current = plan("coco_mini", "on_code_change=retrain")
    assert {Path(file).name for file in current.check([])} == {"weights.safetensors"}
    assert trained.run_dir.exists()
    current.start([])
    assert not trained.run_dir.exists()
    aside = trained.run_dir.with_name(f"{trained.run_dir.name}-aaaaaaaa")
    assert (aside / "checkpoint-000000009.pt").exists()
    assert (trained.folder / "weights.safetensors").exists()


def test_weights_are_stale_while_their_training_is_being_repeated(checkout):
    trained = Trained("aaaaaaaa")
    state = json.loads((trained.run_dir / "run.json").read_text())
    state["made_from"]["code"]["train"] = PRESENT.fingerprint
    (trained.run_dir / "run.json").write_text(json.dumps(state))
    assert stale() == {"weights.safetensors"}


def test_a_folder_of_somebody_else_is_refused_before_people_are_rendered_into_it(checkout):
    with pytest.raises(SystemExit, match="coco_mini: not empty, and not a folder of rendered"):
        plan("config", "data_root=data/coco_mini").check([])


@pytest.mark.parametrize("missing", ["annotations", "images"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_data_that_a_training_needs_are_asked_for_before_the_first_job(checkout, split, missing):
    for name in {"train", "val"} - ({split} if missing == "images" else set()):
        Path(f"data/coco_mini/{name}2017").mkdir()
    name = f"{split}2017"
    if missing == "annotations":
        name = f"person_keypoints_{split}2017.json"
        Path("data/coco_mini/annotations", name).unlink()
    with pytest.raises(SystemExit, match=rf"^error: .*data/coco_mini.*{name}.*; put the {missing}"):
        plan("coco_mini").start([], True)


@pytest.mark.parametrize("place", ["results", "results/miniature"])
def test_a_results_folder_that_cannot_be_written_is_named_before_all_is_planned(checkout, place):
    Path(place).parent.mkdir(exist_ok=True)
    Path(place).write_text("somebody's")
    with pytest.raises(PoseError, match=rf"cannot write in results/miniature: .*{place} is not a"):
        plan("miniature")
    assert Path(place).read_text() == "somebody's"


def test_a_gpu_that_is_not_there_is_asked_for_before_the_first_job(checkout, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SystemExit, match="error: device cuda: no GPU is visible; set device"):
        plan("miniature", "device=cuda").start([], False, True)
    plan("miniature", "device=cuda").start([])  # as on a cluster's login node


def test_a_detectors_boxes_that_are_not_there_are_named_before_a_training(checkout):
    Path("data/coco_mini/val2017").mkdir()
    with pytest.raises(SystemExit, match=r"^error: detections .*boxes.json: no such file; put"):
        plan("coco_mini", "detections=boxes.json").start([])


def test_a_name_that_no_system_takes_is_one_line(checkout):
    with pytest.raises(SystemExit, match=r"^error: .*File name too long"):
        plan("config", f"data_root={'x' * 300}").check([])


@pytest.mark.parametrize(
    ("visible", "device", "runs_on"),
    [("", "auto", "cpu"), ("0", "auto", "auto"), ("", "cuda", "cuda"), ("0", "cpu", "cpu")],
)
def test_auto_means_the_cpu_for_every_job_where_no_gpu_is_visible(
    visible, device, runs_on, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert plan("miniature", f"device={device}").device == runs_on


def test_weights_that_are_trained_again_lose_the_mark_of_a_kept_code(checkout):
    trained = Trained("aaaaaaaa")
    (trained.folder / "kept_code.json").write_text('{"aaaaaaaa": ["bbbbbbbb"]}')
    scoring = SimpleNamespace(run=RUN, seed="0", boxes="gt")
    for choice, marked in (("keep", True), ("retrain", False)):
        words = plan("coco_mini", f"on_code_change={choice}").scoring(scoring)
        assert any(word.startswith("kept_code=") for word in words) == marked


def test_published_weights_are_fetched_before_a_job_has_a_gpu_where_a_training_starts_from_them():
    run = SimpleNamespace(run=RUN)
    note = f"results/coco/{RUN}/initial_weights.txt"
    assert plan("coco").initial_weights(run) == [note]
    assert plan("config").initial_weights(run) == []


def test_a_job_has_its_gpus_share_of_the_cores_and_one_core_on_a_cpu():
    on_gpus, on_cpu = plan("coco"), plan("coco", "device=cpu")
    for cores, gpus, expected in ((16, 1, 8), (32, 4, 8), (16, 4, 4), (1, 4, 2), (None, None, 8)):
        assert on_gpus.loader_threads(cores, gpus) == expected
        assert on_cpu.loader_threads(cores, gpus) == 1
