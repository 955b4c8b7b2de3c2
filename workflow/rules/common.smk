"""What the rules share: the checked config, and the functions behind their inputs and parameters."""

import csv
import json
import shlex
import shutil
import sys
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from tabulate import tabulate

sys.path.insert(0, workflow.basedir)

from pose.config import experiment as resolve_experiment
from pose.datasets import layout
from pose.datasets.keypoints import KEYPOINT_SETS
from pose.support.errors import PoseError, nearest
from pose.support.fingerprint import fingerprint, with_imports
from pose.support.lock import Lock
from pose.config.model_sheet import read_sheet


def stop(message):
    """End Snakemake with one line, before anything runs."""
    sys.exit(f"error: {message}")


def typed(value):
    """``value`` with numbers as numbers: Snakemake reads the lists of --config as text."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return yaml.safe_load(value) if isinstance(value, str) else value


def checked(block):
    """``block`` if the schema allows it; else stop at the mistake, naming the nearest known thing."""
    for mistake in Draft202012Validator(SCHEMA).iter_errors(block):
        where = ".".join(map(str, mistake.path))
        message = f"{where}: {mistake.message}" if where else mistake.message
        if mistake.validator == "additionalProperties":
            unknown = next(
                key for key in mistake.instance if key not in SCHEMA["properties"]
            )
            message = f"unknown key {unknown!r}{nearest(unknown, SCHEMA['properties'])}"
        stop(f"config: {message}")
    for model in block["models"]:
        if model not in SHEET:
            stop(
                f"config: unknown model {model!r}{nearest(model, SHEET)}; see config/models.tsv"
            )
    return block


def named_runs():
    """Name of a run -> the settings of one model on one data set at one input size.

    The config's list ``runs`` holds blocks of settings over its other keys; then all three are in
    a run's name, and otherwise the model alone.
    """
    shared = {key: value for key, value in config.items() if key != "runs"}
    blocks = [checked({**shared, **block}) for block in config.get("runs", [{}])]
    pattern = (
        "{dataset}-{model}-{input[0]}x{input[1]}" if "runs" in config else "{model}"
    )
    runs = {}
    for run in (
        {**block, "model": model} for block in blocks for model in block["models"]
    ):
        name = pattern.format(**run)
        if name in runs:
            stop(f"config: the run {name} is there twice")
        runs[name] = run
    return runs


def resolve_experiments():
    """Every (run, seed) of the config as an Experiment; mistakes show before anything runs."""
    options = ("overrides", "recipe", "numerics")
    try:
        return {
            (name, seed): resolve_experiment(
                run["model"],
                run["dataset"],
                tuple(run["input"]),
                run["protocol"],
                seed,
                **{key: run[key] for key in options if key in run},
            )
            for name, run in RUNS.items()
            for seed in config["seeds"]
        }
    except PoseError as error:
        stop(f"config: {error}")


SCHEMA = yaml.safe_load(
    Path(workflow.basedir, "workflow/schemas/config.schema.yaml").read_text()
)
try:
    SHEET = read_sheet(Path(workflow.basedir, "config/models.tsv"))
except PoseError as error:
    stop(error)

config = typed(config)
RUNS = named_runs()
EXPERIMENTS = resolve_experiments()
SYNTHETIC = next((run for run in RUNS.values() if run["dataset"] == "synthetic"), None)
RESULTS = f"results/{config['name']}"
GPUS = int(
    config["device"] == "cuda"
    or config["device"] == "auto"
    and bool(shutil.which("nvidia-smi"))
)


# Where the data lie, on what device and how fast they are read decides no result: such settings
# reach the rules as resources, because a changed parameter would run them again.
def data_root(wildcards):
    return str(RUNS[wildcards.run]["data_root"])


def experiment_of(wildcards):
    return EXPERIMENTS[wildcards.run, int(wildcards.seed)].model_dump_json()


def run_directory(wildcards):
    """Where a training keeps its checkpoints: a folder for each experiment, and each code of it."""
    experiment = EXPERIMENTS[wildcards.run, int(wildcards.seed)]
    key = f"{experiment.key()}-{code('train', experiment.model)}"
    return f"runs/{experiment.model}/seed{experiment.seed}/{key}"


def data_files(*splits):
    """An input function: the files whose change matters; images are not listed one by one."""

    def files(wildcards):
        run = RUNS[wildcards.run]
        if run["dataset"] == "synthetic":
            return [run["data_root"]]
        paths = [
            layout.annotations(run["dataset"], Path(run["data_root"]), s)
            for s in splits
        ]
        return [path for path in paths if path.exists()]

    return files


def boxes_of(run):
    """The sources of boxes with which a run is evaluated."""
    return ["gt", "det"] if run.get("detections") else ["gt"]


def result_files(name, runs=RUNS):
    """The file ``name`` of every run and seed, for each source of boxes if it has {boxes}."""
    return [
        f"{RESULTS}/{run}/seed{seed}/{name.format(boxes=boxes)}"
        for run in runs
        for seed in config["seeds"]
        for boxes in (boxes_of(RUNS[run]) if "{boxes}" in name else [""])
    ]


def ablation_runs():
    """The runs of Table 1 and Figure 8: the orders, on the first data set and input they have."""
    orders = [name for name, run in RUNS.items() if SHEET[run["model"]]["order"]]
    settings = [(RUNS[name]["dataset"], RUNS[name]["input"]) for name in orders]
    return [name for name, pair in zip(orders, settings) if pair == settings[0]]


def runs_on(*datasets):
    return [name for name, run in RUNS.items() if run["dataset"] in datasets]


def counted_cases():
    """A sheet for ``pose.complexity``: header and one line a model, input and keypoints."""
    lines = ["model,input,num_keypoints"]
    for run in RUNS.values():
        height, width = run.get("complexity_input", run["input"])
        keypoints = len(KEYPOINT_SETS[run["dataset"]])
        lines.append(f"{run['model']},{height}x{width},{keypoints}")
    return list(dict.fromkeys(lines))


def submitted_runs():
    """The runs that predict COCO's test-dev."""
    return [name for name, run in RUNS.items() if run.get("test_detections")]


def comparisons():
    """The numbers of the paper's comparison tables that this config has something for."""
    others = set(RUNS) - set(ablation_runs())
    parts = {
        2: others & set(runs_on("coco", "synthetic")),
        3: submitted_runs(),
        4: runs_on("mpii"),
    }
    return [number for number, runs in parts.items() if runs]


def submission_file(run, seed):
    name = f"person_keypoints_test-dev2017_{run}-seed{seed}_results.zip"
    return f"{RESULTS}/{run}/seed{seed}/submission/{name}"


def submission_files(wildcards):
    """Test-dev's archives, which Table 3 names."""
    if wildcards.number != "3":
        return []
    return [
        submission_file(run, seed)
        for run in submitted_runs()
        for seed in config["seeds"]
    ]


def submission_arguments(wildcards):
    """What each archive is of."""
    if wildcards.number != "3":
        return ""
    texts = [
        "{model}@{input[0]}x{input[1]}=".format(**RUNS[run])
        + submission_file(run, seed)
        for run in submitted_runs()
        for seed in config["seeds"]
    ]
    return "--submissions " + " ".join(texts)


def compared_metrics(wildcards):
    """The metrics that a comparison table shows; test-dev has none."""
    datasets = {"2": ("coco", "synthetic"), "3": (), "4": ("mpii",)}[wildcards.number]
    return result_files("metrics_{boxes}.json", runs_on(*datasets))


def detections_argument(wildcards):
    run = RUNS[wildcards.run]
    if wildcards.boxes == "gt":
        return ""
    return f"--detections {shlex.quote(str(Path(run['data_root'], run['detections'])))}"


def test_dev_argument(wildcards):
    """The images of COCO's test-dev, and where a detector saw people on them."""
    run = RUNS[wildcards.run]
    boxes = shlex.quote(str(Path(run["data_root"], run["test_detections"])))
    return f"--split test-dev --detections {boxes}"


def image_info(wildcards):
    """The file that names test-dev's images."""
    return str(layout.annotations("coco", Path(data_root(wildcards)), "test-dev"))


def suppression(test):
    """Rescoring and OKS-NMS, as the commands that score take them."""
    soft = " --soft-oks-nms" if test.soft_oks_nms else ""
    return (
        f"--rescore-threshold {test.rescore_threshold} --oks-nms {test.oks_nms}{soft}"
    )


def suppression_arguments(wildcards):
    return suppression(EXPERIMENTS[wildcards.run, int(wildcards.seed)].test)


def scoring_arguments(experiment, data_root, seed, boxes, **labels):
    """What to score against, and the labels that say how the number came about."""
    labels = {
        "model": experiment.model,
        "seed": seed,
        "boxes": boxes,
        "dataset": experiment.dataset,
        "protocol": experiment.protocol,
        "input": "{}x{}".format(*experiment.input_size),
        **labels,
    }
    label = " ".join(
        f"--label {key}={shlex.quote(str(value))}" for key, value in labels.items()
    )
    truth = shlex.quote(str(layout.ground_truth(experiment.dataset, Path(data_root))))
    if experiment.dataset == "mpii":
        return f"mpii --ground-truth {truth} {label}"
    return f"coco --annotations {truth} {suppression(experiment.test)} {label}"


def evaluation_arguments(wildcards):
    experiment = EXPERIMENTS[wildcards.run, int(wildcards.seed)]
    return scoring_arguments(
        experiment, data_root(wildcards), wildcards.seed, wildcards.boxes
    )


def check_data():
    """Stop when the data are not where the config says; a dry run plans without them."""
    if {"coco_data", "mpii_data", "coco_detections"} & set(
        workflow.dag_settings.targets
    ):
        return
    try:
        for run in RUNS.values():
            if run["dataset"] != "synthetic":
                layout.images(run["dataset"], Path(run["data_root"]), "val")
    except PoseError as error:
        stop(error)


def hold_directory():
    """Stop when another Snakemake works in this folder; the lock ends with its holder."""
    lock = Lock(Path(".snakemake/pose.support.lock"))
    if not lock.acquire():
        stop(f"another Snakemake ({lock.holder()}) works in this folder; wait for it")


def summary():
    """What was measured and where the rest lies, for the end of a run."""
    if "released" in workflow.dag_settings.targets:
        return f"\nTable: {RESULTS}/tables (released.html, .md, .csv)\n"
    shown = ""
    table = Path(RESULTS, "tables/table1.csv")
    if table.exists():
        rows = list(csv.DictReader(table.open()))
        columns = [
            c for c in rows[0] if c in ("order", "seed") or c.startswith("measured")
        ]
        shown = tabulate([[row[c] for c in columns] for row in rows], headers=columns)
    return f"\n{shown}\n\nTables and figures: {RESULTS}/tables, {RESULTS}/figures\n"
