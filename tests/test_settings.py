"""Configs are read as they stand; a mistake in one is a line that names it."""

import json

import pytest
import yaml
from configs import ROOT, config, plan
from jsonschema import Draft202012Validator

from pose.support.errors import PoseError
from workflow import document
from workflow.plan import Plan
from workflow.settings import read, require_single_keys


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("modles=[]", "unknown key 'modles' (did you mean 'models'?)"),
        ("runs=5", "runs: should be a list, got 5"),
        ("data_root='data/coco'", "data_root: quotes are part of a path here; leave them out"),
        ("runs=[]", "runs: give at least one"),
        ("runs=[{seeds: [1]}]", "seeds holds for all runs"),
        ("models=eeffpose-p0", "models: should be a list, got 'eeffpose-p0'"),
        ("models=[eeffpose-p0-order9]", "unknown model 'eeffpose-p0-order9' (did you mean"),
        ("dataset=mpi", "dataset: unknown data set 'mpi' (did you mean 'mpii'?)"),
        ("runs=[{dataset: mpii, detections: b.json}]", "detections: mpii takes no detector's"),
        (
            "runs=[{dataset: mpii, detections: null, test_detections: b.json}]",
            "mpii has no split 'test-dev'; it has train, val",
        ),
        ("protocol=releasd", "protocol: Input should be 'released', 'controlled' or 'paper'"),
        ("overrides={train: x}", "overrides.train: should be a mapping, got 'x'"),
        ("overrides={num_keypoints: 5}", "'overrides.num_keypoints'; known are model_options, "),
        ("overrides={train: {epoch: 3}}", "'train.epoch' (did you mean 'epochs'?)"),
        ("overrides={train: {learning_rate: 1}}", "'train.learning_rate'; known are batch_size"),
        ("overrides={train: {schedule: {milestone: [3]}}}", "did you mean 'milestones'?"),
        ("synthetic={pose_spred: 1}", "'synthetic.pose_spred' (did you mean 'pose_spread'?)"),
        ("data_root=", "data_root: give a path"),
        ("overrides={train: {lr: .inf}}", "train.lr: Input should be a finite number"),
        ("overrides={image: {std: [0, 1, 1]}}", "image.std.0: Input should be greater than 0"),
        ("seeds=[4294967296]", "seeds.0: Input should be less than 4294967296"),
        ("complexity_input=[-64, 48]", "complexity_input: both sides must be multiples of 4"),
        ("synthetic=null", "synthetic: should be a mapping, got None"),
        (f"name={'x' * 300}", "name: String should have at most 100 characters"),
        (
            "runs=[{synthetic: {seed: 1}}, {synthetic: {seed: 2}, models: [lpn-50]}]",
            "give all runs the same data_root and synthetic",
        ),
        ("seeds=[x", "seeds: not valid YAML"),
        ("input=[64, 50]", "order1 needs both sides to be multiples of 4"),
    ],
)
def test_a_mistake_in_a_config_is_one_line_that_names_it(entry, message):
    with pytest.raises(PoseError) as error:
        plan("config", entry)
    assert message in str(error.value)
    assert str(error.value).startswith("config: ") and "\n" not in str(error.value)


def test_a_files_values_are_taken_as_they_stand(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    (block,) = read(config("coco_mini") | {"data_root": "data/coco #2", "name": "007"})
    assert (block.data_root, block.name) == ("data/coco #2", "007")
    (block,) = read(config("coco_mini") | {"data_root": "~/coco"})
    assert block.data_root == "/home/somebody/coco"


def test_a_key_that_stands_twice_in_a_config_is_named(tmp_path):
    for name in ("config", "paper", "miniature"):
        require_single_keys(ROOT / f"config/{name}.yaml")
    file = tmp_path / "twice.yaml"
    file.write_text("seeds: [0]\nruns:\n  - {input: [64, 48], input: [64, 64]}\n")
    with pytest.raises(PoseError, match=r"twice\.yaml: key 'input' stands twice"):
        require_single_keys(file)


def test_the_command_lines_text_is_typed_by_its_key():
    entries = ["data_root=a: #b", "name=007", "detections=", "seeds=[0, 1]", "numerics=fast"]
    (block,) = read(config("config"), [*entries, "overrides={train: {epochs: 3}}"])
    assert (block.data_root, block.name, block.detections) == ("a: #b", "007", None)
    assert (block.seeds, block.numerics) == ((0, 1), "fast")
    assert block.overrides["train"] == config("config")["overrides"]["train"] | {"epochs": 3}


def test_the_page_and_the_schema_of_the_settings_are_up_to_date_and_take_every_config():
    document.main(["--check"])
    schema = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())
    for path in (ROOT / "config").glob("*.yaml"):
        Draft202012Validator(schema).validate(yaml.safe_load(path.read_text()))
        settings = yaml.safe_load(path.read_text())
        assert Plan(read(settings), several="runs" in settings).runs
