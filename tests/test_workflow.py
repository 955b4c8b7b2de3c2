"""The plan that Snakemake makes, and how it answers mistakes."""

import csv
import json
import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml
from snakemake_cli import ROOT, plan, snakemake

from analysis import reported
from pose import models
from pose.models import list_models
from pose.support.fingerprint import with_imports
from pose.support.lock import Lock


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A clean tree: what git would check out, and no results."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in (
        "Snakefile",
        "analysis",
        "config",
        "environment.yml",
        "pose",
        "profiles",
        "workflow",
    ):
        (folder / part).symlink_to(ROOT / part)
    return folder


def test_the_bare_command_plans_the_eight_trainings(checkout):
    jobs = plan(checkout)
    assert jobs["train"] == 8
    assert jobs["infer"] == jobs["evaluate"] == 16  # ground-truth and detector boxes
    assert jobs["total"] == 56


def test_a_deleted_evaluation_reruns_what_depends_on_it_and_nothing_else(checkout):
    folder = checkout.parent / "finished"
    shutil.copytree(checkout, folder, symlinks=True)
    outputs = re.findall(r"^    output: (.*)$", snakemake(folder, "-n").stdout, re.MULTILINE)
    for path in (folder / name for line in outputs for name in line.split(", ")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if path.name == "data" else path.touch()
    for path in (folder / "results").rglob("*"):
        os.utime(path, (0, 0))
    assert "Nothing to be done" in snakemake(folder, "-n").stdout

    (folder / "results/demo/eeffpose-p0-order3/seed0/metrics_gt.json").unlink()
    assert plan(folder) == {"evaluate": 1, "table1": 1, "figure1": 1, "all": 1, "total": 4}


def test_the_papers_config_plans_every_row_of_its_tables(checkout):
    done = snakemake(checkout, "--dry-run", "--configfile", "config/paper.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    planned = set(re.findall(r"results/paper/((?:coco|mpii)-[^/]+)/seed0/weights", done.stdout))
    for number, dataset in ((2, "coco"), (3, "coco"), (4, "mpii")):
        for row in reported.comparison(number).itertuples():
            assert f"{dataset}-{row.model}-{row.input}" in planned
    assert {f"coco-eeffpose-p0-order{k}-256x192" for k in range(1, 9)} <= planned
    submitted = set(
        re.findall(r"submission/person_keypoints_test-dev2017_(\S+)-seed0_", done.stdout)
    )
    assert {f"coco-{r.model}-{r.input}" for r in reported.comparison(3).itertuples()} <= submitted
    for number in (1, 2, 3, 4):
        assert f"results/paper/tables/table{number}.html" in done.stdout


def test_a_run_is_one_model_data_set_and_input(checkout, tmp_path):
    config = tmp_path / "twice.yaml"
    block = {"dataset": "coco", "data_root": "d", "input": [64, 64], "models": ["lpn-50"]}
    content = {"name": "x", "protocol": "released", "seeds": [0], "device": "cpu"}
    config.write_text(yaml.safe_dump(content | {"runs": [block, block]}))
    done = snakemake(checkout, "--dry-run", "--configfile", str(config))
    assert done.stderr.splitlines()[-1] == "error: config: the run coco-lpn-50-64x64 is there twice"


def test_seeds_multiply_the_trainings(checkout):
    assert plan(checkout, "--config", "seeds=[0, 1, 2]")["train"] == 24


def test_a_real_data_set_is_planned_from_its_folder_alone(checkout, test_data):
    for name, boxes in (("mpii_mini", 1), ("coco_mini", 1)):
        config = (
            "--configfile",
            f"config/{name}.yaml",
            "--config",
            f"data_root={test_data / name}",
        )
        jobs = plan(checkout, *config)
        assert jobs["train"] == 2
        assert jobs["evaluate"] == 2 * boxes
        assert "synthetic_data" not in jobs


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("modles=[]", "unknown key 'modles' (did you mean 'models'?)"),
        ("input=[64, 50]", "eeffpose-p0-order1 needs both sides to be multiples of 4"),
        (
            "protocol=releasd",
            "protocol: 'releasd' is not one of ['released', 'controlled', 'paper']",
        ),
        ("overrides={train: {epoch: 3}}", "unknown key 'train.epoch' (did you mean 'epochs'?)"),
        ("models=[eeffpose-p0-order9]", "unknown model 'eeffpose-p0-order9' (did you mean"),
    ],
)
def test_a_mistake_in_the_config_is_named_in_one_line(checkout, setting, message):
    done = snakemake(checkout, "--dry-run", "--config", setting)
    assert done.returncode != 0
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert message in line


def test_a_missing_data_folder_stops_the_run_before_it_starts(checkout):
    config = ("--configfile", "config/coco_mini.yaml", "--config", "data_root=/no/such/folder")
    done = snakemake(checkout, "--cores", "1", *config)
    assert done.returncode != 0
    assert "error: data_root /no/such/folder: no such folder" in done.stderr.splitlines()[-1]
    assert not (checkout / "results/coco_mini/eeffpose-p0-order1").exists()


def test_a_second_snakemake_in_the_same_folder_is_refused(checkout):
    lock = Lock(checkout / ".snakemake/pose.support.lock")
    assert lock.acquire()
    done = snakemake(checkout, "--cores", "1")
    lock.release()
    assert done.returncode != 0
    assert f"error: another Snakemake (process {os.getpid()} on" in done.stderr
    assert not (checkout / "results/demo/data").exists()


def test_changed_code_trains_in_a_folder_of_its_own(tmp_path):
    for part in ("Snakefile", "analysis", "config", "environment.yml", "profiles", "workflow"):
        (tmp_path / part).symlink_to(ROOT / part)
    shutil.copytree(ROOT / "pose", tmp_path / "pose", ignore=shutil.ignore_patterns("*.pyc"))

    def folders() -> set[str]:
        done = snakemake(tmp_path, "--dry-run", "--printshellcmds")
        return set(re.findall(r"--run-dir (\S+)", done.stdout))

    before = folders()
    losses = tmp_path / "pose/targets/losses.py"
    losses.write_text(f"# a comment\n{losses.read_text()}")
    assert folders() == before
    losses.write_text(losses.read_text() + "\nFACTOR = 2\n")
    assert len(before) == 8 and not folders() & before


def test_every_rule_can_be_logged_timed_and_run_elsewhere():
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for rule in re.split(r"^ *rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            if "shell:" in rule:
                for directive in ("log:", "benchmark:", "conda:"):
                    assert directive in rule, f"{path.name}: {rule.splitlines()[0]} {directive}"


def test_both_environments_name_the_same_packages():
    def name(requirement: str) -> str:
        return re.match(r"[A-Za-z0-9_-]+", requirement)[0].lower()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = {name(r) for part in (project["dependencies"], *extras.values()) for r in part}
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    environment = {name(r) for r in (*conda, *pip["pip"])} - {"python", "pip"}
    assert environment == listed


def test_the_labels_of_a_result_reveal_every_overridden_setting(checkout):
    done = snakemake(checkout, "--dry-run", "--printshellcmds", "--quiet", "progress")
    command = next(line for line in done.stdout.splitlines() if " pose.train " in line)
    experiment = json.loads(re.search(r"--experiment '(.*?)' --data-root", command)[1])
    overrides = yaml.safe_load((ROOT / "config/config.yaml").read_text())["overrides"]
    for part, settings in overrides.items():
        for key, value in settings.items():
            assert experiment[part][key] == value
            assert f"{key}={value}" in experiment["protocol"]


def test_the_model_sheet_lists_the_registry_and_where_each_model_is_built():
    with (ROOT / "config/models.tsv").open() as sheet:
        families = {row["model"]: row["family"] for row in csv.DictReader(sheet, delimiter="\t")}
    assert list(families) == list_models()
    built = {name for model in families for name in models.family_of(model).models}
    assert built == set(families)


def test_a_changed_block_retrains_the_models_that_use_it_and_no_other():
    def files(family: str) -> list[str]:
        return with_imports(f"pose.models.{family}", "pose.models")

    assert "pose/models/eeffpose/neck.py" in files("eeffpose")
    assert "pose/models/deconv_head.py" in files("simplebaseline")
    assert "pose/models/deconv_head.py" not in files("eeffpose")


def test_the_demos_settings_do_not_leak_into_another_config(checkout):
    done = snakemake(
        checkout,
        "--dry-run",
        "--printshellcmds",
        "--configfile",
        "config/coco.yaml",
        "--config",
        "device=cpu",
    )
    commands = [line for line in done.stdout.splitlines() if " pose.train " in line]
    assert len(commands) == 8
    assert all('"protocol":"released"' in c and '"init":"effdet_coco"' in c for c in commands)
