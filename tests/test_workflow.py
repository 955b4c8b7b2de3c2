"""The plan that Snakemake makes, and how it answers mistakes."""

import csv
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from snakemake_cli import ROOT, plan, snakemake

from analysis import reported
from pose import models
from pose.config import experiment
from pose.models import list_models
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


def test_latency_on_a_cpu_is_timed_while_no_other_job_runs(checkout):
    done = snakemake(checkout, "--dry-run", "--cores", "3", "results/demo/latency.csv")
    assert "rule latency" in done.stdout and "threads: 3" in done.stdout, done.stderr


def test_the_bare_command_plans_the_eight_trainings(checkout):
    jobs = plan(checkout)
    assert jobs["train"] == 8
    assert jobs["infer_both"] == 8  # of which each predicts in ground-truth and detector boxes
    assert jobs["evaluate"] == 16
    assert jobs["total"] == 62


def test_the_papers_config_plans_every_row_of_its_tables(checkout):
    done = snakemake(checkout, "--dry-run", "--configfile", "config/paper.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"coco-eeffpose-p0-order8-256x192 +fp32 +64 +16 ", done.stderr)  # its chunk
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
    awaiting = re.findall(r"rule train:\n +input: .*paper/(\S+)/initial_weights.txt", done.stdout)
    assert set(awaiting) == {run for run in planned if not _from_scratch(run)}


def _from_scratch(run: str) -> bool:
    dataset, model, size = re.fullmatch(r"(\w+)-(.*)-(\d+x\d+)", run).groups()
    chosen = experiment(model, dataset, tuple(map(int, size.split("x"))))
    return chosen.model_options.init == "scratch"


def _documented() -> list[str]:
    """The calls of Snakemake for GPUs that the configs' heads and the docs tell, one a line."""
    texts = [(ROOT / f"config/{name}.yaml").read_text() for name in ("coco", "mpii", "paper")]
    texts += [(ROOT / name).read_text().replace("\\\n", " ") for name in ("docs/cluster.md",)]
    found = re.findall(r"^(?:#   |    )snakemake (.*)", "\n".join(texts), re.MULTILINE)
    return [call for call in found if "slurm" not in call and "--configfile" in call]


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(call, marks=pytest.mark.slow if number else ())
        for number, call in enumerate(_documented())
    ],
)
def test_the_documented_calls_give_every_gpu_a_loader(checkout, call):
    done = snakemake(checkout, "--dry-run", "--printshellcmds", *call.split())
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = re.findall(r"launch.py (\d+) (\d+) pose.(train|infer|audit)", done.stdout)
    assert {command for _, _, command in jobs} == {"train", "infer", "audit"}
    assert all(int(gpus) >= 1 and int(cores) >= 4 * int(gpus) for gpus, cores, _ in jobs)


@pytest.mark.slow
def test_a_training_asks_slurm_for_its_gpus_and_one_task(checkout, tmp_path, test_data):
    pytest.importorskip("snakemake_executor_plugin_slurm")
    for name in ("sbatch", "squeue", "sacct", "sinfo", "scontrol"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.txt; exit 1\n')
        (tmp_path / name).chmod(0o755)
    target = "results/coco_mini/eeffpose-p0-order1/seed0/weights.safetensors"
    options = ("--workflow-profile", "profiles/slurm", "--configfile", "config/coco_mini.yaml")
    options += ("--slurm-no-account", "--default-resources", "slurm_partition=gpu")
    settings = ("--config", "device=cuda", f"data_root={test_data}/coco_mini")
    snakemake(checkout, *options, *settings, "--", target, path=tmp_path)
    asked, wrapped = (tmp_path / "sbatch.txt").read_text().splitlines()[0].split(" --wrap=")
    assert "--gpus=1" in asked and "--cpus-per-task=8" in asked and " -t 1440 " in asked
    assert "--ntasks" not in asked
    assert "train:run=eeffpose-p0-order1,seed=0" in wrapped


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


@pytest.mark.parametrize("setting", ["modles=[]", "runs=5", "overrides={train: {epoch: 3}}"])
def test_a_mistake_in_the_config_is_named_in_one_line(checkout, setting):
    done = snakemake(checkout, "--dry-run", "--config", setting)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("error: config: ")


def test_a_missing_data_folder_stops_the_run_before_it_starts(checkout):
    config = ("--configfile", "config/coco_mini.yaml", "--config", "data_root=/no/such/folder")
    config += ("name=nowhere",)
    done = snakemake(checkout, "--cores", "1", *config)
    assert done.returncode != 0
    assert "error: data_root /no/such/folder: no such folder" in done.stderr.splitlines()[-1]
    assert not (checkout / "results/nowhere/eeffpose-p0-order1").exists()


def test_a_second_snakemake_in_the_same_folder_is_refused(checkout):
    lock = Lock(checkout / ".snakemake/pose.support.lock")
    assert lock.acquire()
    done = snakemake(checkout, "--cores", "1")
    lock.release()
    assert done.returncode != 0
    assert f"error: another Snakemake (process {os.getpid()} on" in done.stderr
    assert not (checkout / "results/demo/data").exists()


def test_every_rule_can_be_logged_timed_and_run_elsewhere():
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for rule in re.split(r"^ *rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            if "shell:" in rule:
                for directive in ("log:", "benchmark:", "conda:"):
                    assert directive in rule, f"{path.name}: {rule.splitlines()[0]} {directive}"


def test_rules_that_fetch_files_run_where_the_network_is():
    fetching = []
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for rule in re.split(r"^ *rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            if re.search(r"-m pose\.(weights (initial|obtain)|data\.obtain) ", rule):
                fetching.append(rule.partition(":")[0])
                assert "localrule: True" in rule, fetching[-1]
    assert {"initial_weights", "coco_data", "mpii_data"} < set(fetching)


def test_every_word_that_a_rule_hands_to_the_shell_is_quoted():
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for field in re.findall(
            r"\{(\w[^}]*)\}", "".join(re.findall(r'^ *"(.*)"$', path.read_text(), re.M))
        ):
            if field.split(".")[0] in (
                "input",
                "output",
                "log",
                "params",
                "resources",
                "wildcards",
            ):
                assert field.endswith(":q") or "gpu" in field, f"{path.name}: {field}"


def test_snakemake_may_delete_files_of_the_results_folder_only():
    outputs = []
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        outputs += re.findall(r"^ +output:\n((?: {8,}.*\n)+)", path.read_text(), re.MULTILINE)
    assert len(outputs) > 15
    for output in outputs:
        assert "directory(" not in output and "temp(" not in output
        paths = [text for text in re.findall(r'"([^"]*)"', output) if "/" in text]
        outside = [path for path in paths if not path.startswith(("<results>/", "../"))]
        assert paths and not outside, output


def test_a_run_into_a_folder_of_other_data_is_refused_and_deletes_nothing(checkout):
    photos = checkout / "photos"
    photos.mkdir()
    (photos / "thesis.tex").write_text("years of work")
    done = snakemake(checkout, "--cores", "1", "--config", "data_root=photos", "name=photos")
    assert done.returncode != 0
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "photos: not empty" in line and "choose another folder" in line
    assert [path.name for path in photos.iterdir()] == ["thesis.tex"]


def test_a_training_that_fails_leaves_the_earlier_weights(checkout, monkeypatch):
    for name in ("annotations/person_keypoints_train2017", "annotations/person_keypoints_val2017"):
        path = checkout / f"data/coco_mini/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ("train2017", "val2017"):
        (checkout / "data/coco_mini" / name).mkdir()
    python = checkout / "bin/python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    weights = checkout / "results/coco_mini/eeffpose-p0-order1/seed0/weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_text("of an earlier experiment")
    options = ("--configfile", "config/coco_mini.yaml", "--retries", "0", "--cores", "1")
    target = str(weights.relative_to(checkout))
    done = snakemake(checkout, *options, target, path=python.parent)
    assert done.returncode != 0 and "rule train" in done.stderr
    assert weights.read_text() == "of an earlier experiment"


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
    chosen = json.loads(re.search(r"--experiment '(.*?)' --data-root", command)[1])
    overrides = yaml.safe_load((ROOT / "config/config.yaml").read_text())["overrides"]
    for part, settings in overrides.items():
        for key, value in settings.items():
            assert chosen[part][key] == value
            inner = value.items() if isinstance(value, dict) else [("", value)]
            for name, value in inner:
                assert f"{key}{name and '.'}{name}={value}" in chosen["protocol"]


def test_the_model_sheet_lists_the_registry_and_where_each_model_is_built():
    with (ROOT / "config/models.tsv").open() as sheet:
        families = {row["model"]: row["family"] for row in csv.DictReader(sheet, delimiter="\t")}
    assert list(families) == list_models()
    built = {name for model in families for name in models.family_of(model).models}
    assert built == set(families)


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
    assert all('"protocol":"released v2"' in c and '"init":"effdet_coco"' in c for c in commands)


@pytest.mark.parametrize("status", [0, 1])
def test_make_demo_shows_the_trainings_and_snakemakes_own_log_only_where_it_fails(tmp_path, status):
    shutil.copy(ROOT / "Makefile", tmp_path)
    snakemake = tmp_path / ".venv/bin/snakemake"
    snakemake.parent.mkdir(parents=True)
    snakemake.write_text(f"#!/bin/sh\necho epoch 1/5\necho Select jobs >&2\nexit {status}\n")
    snakemake.chmod(0o755)
    for name in ("requirements.lock", ".venv/.installed"):
        (tmp_path / name).touch()
    for name in ("tables/table1.html", "report.zip"):
        (tmp_path / "results/demo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results/demo" / name).touch()
    done = subprocess.run(["make", "demo"], cwd=tmp_path, capture_output=True, text=True)
    assert bool(done.returncode) == bool(status) == ("Select jobs" in done.stdout)
    assert "epoch 1/5" in done.stdout


@pytest.mark.parametrize("linked", [True, False])
def test_make_replaces_no_environment_that_it_did_not_make(tmp_path, linked):
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    theirs = tmp_path / ("elsewhere" if linked else ".venv")
    theirs.mkdir()
    (theirs / "precious").touch()
    (theirs / ".made-by-make" if linked else theirs / "x").touch()
    if linked:
        (tmp_path / ".venv").symlink_to(theirs)
    done = subprocess.run(["make", "setup"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "error: .venv is not ours to replace" in done.stdout
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert (theirs / "precious").exists()


def test_torch_alone_comes_from_an_index_of_another_cuda_without_the_lock_files_cuda(tmp_path):
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    python, pip = tmp_path / "python", tmp_path / "pip"
    python.write_text('#!/bin/sh\ntest "$2" != venv || { mkdir -p .venv/bin; cp pip .venv/bin; }\n')
    pip.write_text('#!/bin/sh\necho "$@" >> asked\n')
    for program in (python, pip):
        program.chmod(0o755)
    index = "https://index.of/cu126"
    command = ["make", "setup", f"PYTHON={python}", f"TORCH_INDEX={index}"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    first, second, *_ = (tmp_path / "asked").read_text().splitlines()
    assert f"--index-url {index}" in first and index not in second
    of_torch = (tmp_path / ".venv/torch.txt").read_text()
    assert re.findall(r"^(\S+)==", of_torch, re.MULTILINE) == ["torch", "torchvision"]
    others = (tmp_path / ".venv/others.txt").read_text()
    assert "pydantic==" in others and not re.search("torch|nvidia|cuda|triton", others)
