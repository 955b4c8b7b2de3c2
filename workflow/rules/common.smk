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
from pose.data import layout
from pose.data.keypoints import KEYPOINT_SETS
from pose.errors import PoseError, nearest
from pose.fingerprint import fingerprint


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


def check_config():
    """Stop at the first mistake in the config, named with the nearest thing that is known."""
    schema = Path(workflow.basedir, "workflow/schemas/config.schema.yaml").read_text()
    schema = yaml.safe_load(schema)
    for mistake in Draft202012Validator(schema).iter_errors(config):
        where = ".".join(map(str, mistake.path))
        message = f"{where}: {mistake.message}" if where else mistake.message
        if mistake.validator == "additionalProperties":
            unknown = next(
                key for key in mistake.instance if key not in schema["properties"]
            )
            message = f"unknown key {unknown!r}{nearest(unknown, schema['properties'])}"
        stop(f"config: {message}")
    with Path(workflow.basedir, "config/models.tsv").open() as sheet:
        known = [row["model"] for row in csv.DictReader(sheet, delimiter="\t")]
    for model in config["models"]:
        if model not in known:
            stop(
                f"config: unknown model {model!r}{nearest(model, known)}; see config/models.tsv"
            )


def resolve_experiments():
    """Every (model, seed) of the config as an Experiment; mistakes show before anything runs."""
    try:
        return {
            (model, seed): resolve_experiment(
                model,
                config["dataset"],
                tuple(config["input"]),
                config["protocol"],
                seed,
                config.get("overrides"),
            )
            for model in config["models"]
            for seed in config["seeds"]
        }
    except PoseError as error:
        stop(f"config: {error}")


config = typed(config)
check_config()

RESULTS = f"results/{config['name']}"
DATASET = config["dataset"]
# Where the data lie, on what device and how fast they are read decides no result: such settings
# reach the rules as resources, because a changed parameter would run them again.
DATA_ROOT = Path(config["data_root"])
DETECTIONS = config.get("detections")
BOXES = ["gt", "det"] if DETECTIONS else ["gt"]
KEYPOINTS = KEYPOINT_SETS[DATASET]
EXPERIMENTS = resolve_experiments()
GPUS = int(
    config["device"] == "cuda"
    or config["device"] == "auto"
    and bool(shutil.which("nvidia-smi"))
)

# The code whose meaning decides a result: when it changes, the step runs again. Logging,
# checkpoints and error messages are left out on purpose.
EEFFPOSE = [
    "pose/models/backbone.py",
    "pose/models/eeffpose.py",
    "pose/models/fusion.py",
    "pose/models/head.py",
    "pose/models/neck.py",
]
SCIENCE = {
    "synthetic_data": [
        "pose/data/synthetic.py",
        "pose/data/canvas.py",
        "pose/data/figure_drawing.py",
    ],
    "train": [
        *EEFFPOSE,
        "pose/training/loader.py",
        "pose/training/schedule.py",
        "pose/training/step.py",
        "pose/heatmap.py",
        "pose/data/augment.py",
        "pose/data/crop.py",
        "pose/data/dataset.py",
        "pose/data/keypoints.py",
        "pose/data/samples.py",
        "pose/evaluation/*.py",
    ],
    "infer": [
        *EEFFPOSE,
        "pose/heatmap.py",
        "pose/data/crop.py",
        "pose/data/keypoints.py",
        "pose/data/samples.py",
        "pose/evaluation/decode.py",
        "pose/evaluation/flip_test.py",
    ],
    "evaluate": [
        "pose/evaluation/coco.py",
        "pose/evaluation/oks.py",
        "pose/evaluation/pckh.py",
    ],
    "convert": ["pose/weights/eeffpose.py", "pose/weights/load.py"],
    "complexity": ["pose/complexity.py", *EEFFPOSE],
    "table1": ["analysis/table*.py", "analysis/re[ps]*.py", "analysis/reported/*.csv"],
    "figure1": [
        "analysis/figure1.py",
        "analysis/style.py",
        "analysis/re[ps]*.py",
        "analysis/reported/*.csv",
    ],
    "figure8": ["analysis/figure8.py", "analysis/style.py", "analysis/results.py"],
    "overlays": ["analysis/overlays.py", "analysis/style.py"],
    "released": ["analysis/tables.py", "analysis/re*.py", "analysis/reported/*.csv"],
}


def code(step):
    """A parameter that changes when the meaning of the step's code does."""
    return fingerprint(*SCIENCE[step])


def experiment_of(wildcards):
    return EXPERIMENTS[wildcards.model, int(wildcards.seed)].model_dump_json()


def run_directory(wildcards):
    """Where a training keeps its checkpoints: one folder for each different experiment."""
    key = EXPERIMENTS[wildcards.model, int(wildcards.seed)].key()
    return f"runs/{wildcards.model}/seed{wildcards.seed}/{key}"


def data_files(*splits):
    """Files of the data set whose change matters; images are not listed one by one."""
    if DATASET == "synthetic":
        return [config["data_root"]]
    return [
        path
        for split in splits
        if (path := layout.annotations(DATASET, DATA_ROOT, split)).exists()
    ]


def result_files(name, **wildcards):
    """The file ``name`` of every model and seed of the config."""
    runs = {"model": config["models"], "seed": config["seeds"]}
    return expand(f"<results>/{{model}}/seed{{seed}}/{name}", **runs, **wildcards)


def detections_argument(wildcards):
    return (
        f"--detections {shlex.quote(str(DATA_ROOT / DETECTIONS))}"
        if wildcards.boxes == "det"
        else ""
    )


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
        f"--label {key}={shlex.quote(value)}" for key, value in labels.items()
    )
    truth = shlex.quote(str(layout.ground_truth(experiment.dataset, data_root)))
    if experiment.dataset == "mpii":
        return f"mpii --ground-truth {truth} {label}"
    test = experiment.test
    return (
        f"coco --annotations {truth}"
        f" --rescore-threshold {test.rescore_threshold} --oks-nms {test.oks_nms} {label}"
    )


def evaluation_arguments(wildcards):
    experiment = EXPERIMENTS[wildcards.model, int(wildcards.seed)]
    return scoring_arguments(experiment, DATA_ROOT, wildcards.seed, wildcards.boxes)


def check_data():
    """Stop when the data are not where the config says; a dry run plans without them."""
    try:
        if DATASET != "synthetic":
            layout.images(DATASET, DATA_ROOT, "val")
    except PoseError as error:
        stop(error)


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
