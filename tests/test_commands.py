"""Every command as a good citizen: wrong options, full disks, closed pipes, no home.

The commands are found by their ``main``: a new one is part of it, and asks for a row in ARGUMENTS.
"""

import ast
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from forked import forked
from result_folders import write_run
from test_analysis import write_log, write_metrics

ROOT = Path(__file__).parent.parent


def commands() -> dict[str, str]:
    """The name that users type -> the module of each command."""
    found = {}
    for path in [*ROOT.glob("pose/**/*.py"), *ROOT.glob("analysis/*.py")]:
        tree = ast.parse(path.read_text())
        if any(getattr(node, "name", "") == "main" for node in tree.body):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[module.removesuffix(".__main__")] = module
    return found


COMMANDS = commands()
ARGUMENTS = {
    "analysis.architecture": "--graphs {graphs} --output-dir {out}",
    "analysis.claims": "{runs} --resamples {resamples} --output-dir {out}",
    "analysis.compare": "--annotations {annotations} --results {predictions} --resamples 20",
    "analysis.comparison": "1 {run} --models {sheet} --output-dir {out}",
    "analysis.complexity_table": "--complexity {measured} --models {sheet} --output-dir {out}",
    "analysis.effects": "{runs} --resamples {resamples} --output-dir {out} --figures {out}",
    "analysis.errors": "--annotations {annotations} --results {predictions} --output-dir {out}",
    "analysis.figure1": "{runs} --output-dir {out}",
    "analysis.figure8": "{runs} --output-dir {out}",
    "analysis.figure9": "--maps {maps} --output-dir {out}",
    "analysis.intervals": "{run} --truth synthetic={annotations} --resamples 5"
    " --output {out}/resamples.parquet",
    "analysis.measured": "{run} --command x --output-dir {out}",
    "analysis.overlays": "--predictions {predictions} --data-root {data} --dataset synthetic"
    " --output {out}/overlays.png",
    "analysis.published": "eeffpose-p0-order1@coco --metrics {published} --obtained {obtained}"
    " --output-dir {out}",
    "analysis.quality": "{runs} --output-dir {out}",
    "analysis.report": "{run} --output {out}/report.html",
    "analysis.training": "{runs} --output-dir {out}",
    "pose.audit": "--experiment {experiment} --weights {weights} --data-root {data} --device cpu"
    " --output {out}/audit.csv",
    "pose.bench": "decoding --quick --repeats 1 --output-dir {out}",
    "pose.controls": "--experiment {experiment} --data-root {data} --output {out}/controls.csv",
    "pose.complexity": "shufflenetv2 --input 64x64 --csv {out}/complexity.csv",
    "pose.data.obtain": "coco --parts val2017 --root {out}/coco",
    "pose.data.sheet": "--experiment {experiment} --data-root {data} --samples 1"
    " --output {out}/sheet.png",
    "pose.data.synthetic": "--settings {settings} --output {out}/people",
    "pose.data.verify": "coco --root {data}",
    "pose.evaluate": "coco --predictions {predictions} --annotations {annotations}"
    " --output {out}/metrics.json --per-person {out}/persons.parquet",
    "pose.evaluation.submission": "--predictions {predictions} --image-info {annotations}"
    " --name a --output-dir {out}",
    "pose.experiment": "eeffpose-p0",
    "pose.gpu_check": "environment --device cpu --output {out}/checks.csv",
    "pose.graph": "shufflenetv2 --input 64x64 --output {out}/graphs.json",
    "pose.infer": "--experiment {experiment} --weights {weights} --data-root {data} --device cpu"
    " --output {out}/predictions.npz",
    "pose.maps": "{weights} --data-root {data} --output {out}/maps.npz",
    "pose.predict": "{photo} --checkpoint {weights} --device cpu --output-dir {out}",
    "pose.train": "--experiment {experiment} --data-root {data} --device cpu --run-dir {out}/run"
    " --weights {out}/w.safetensors --log {out}/l.jsonl",
    "pose.weights": "list",
}
WRITING = sorted(name for name, text in ARGUMENTS.items() if "{out}" in text)
OFFLINE = {"pose.data.obtain"}  # ends before it writes, without the network
LIGHT = {"analysis.comparison", "pose.data.sheet", "pose.data.synthetic", "pose.evaluate"}
LIGHT |= {"pose.evaluation.submission"}  # the disk is full for these in the fast tests too


def heavy_apart(names: list[str]) -> list:
    return [pytest.param(name, marks=[pytest.mark.slow] * (name not in LIGHT)) for name in names]


@pytest.fixture
def files(request, data_root, tmp_path) -> SimpleNamespace:
    """Small inputs of all commands, and the folder ``out`` for what they write."""
    from test_complexity import counted
    from training_runs import small_experiment

    from pose.data.samples import open_split
    from pose.infer import predictions_of
    from pose.models import create_model
    from pose.weights.file import write

    counted().to_csv(tmp_path / "measured.csv", index=False)
    (tmp_path / "obtained.csv").write_text("name,problem\n")
    log = write_log(tmp_path, 8)
    line = {"event": "epoch", "loss": 0.1, "images_per_second": 9.0, "data_wait_share": 0.2}
    log.with_name("performance.jsonl").write_text(json.dumps({"epoch": 0} | line) + "\n")
    experiment = small_experiment(epochs=1, warmup_epochs=0)
    samples = open_split("synthetic", data_root, "val", experiment.input_size)
    predictions = log.with_name("predictions_gt.npz")
    scores = samples.visible[..., None] + 0.5
    keypoints = np.concatenate([samples.joints, scores], axis=2)
    predictions_of(samples, keypoints).save(predictions)
    scored = {"rescore_threshold": 0.2, "oks_nms": 0.99, "oks_nms_kind": "hard"}
    run = write_run(tmp_path / "results", training=False, **scored)
    shutil.copy(predictions, run)
    resamples = tmp_path / "resamples.parquet"
    pd.DataFrame({'["run", 0, "gt", "AP"]': [50.0]}).to_parquet(resamples)
    files = {
        "experiment": experiment.model_dump_json(),
        "data": data_root,
        "photo": samples.image_paths[0],
        "annotations": data_root / "annotations/person_keypoints_val2017.json",
        "measured": tmp_path / "measured.csv",
        "sheet": ROOT / "config/models.tsv",
        "published": write_metrics(tmp_path, 1, checkpoint="eeffpose-p0-order1@coco"),
        "obtained": tmp_path / "obtained.csv",
        "run": run,
        "runs": log.parent,
        "graphs": write_graphs(tmp_path / "graphs.json"),
        "maps": write_maps(tmp_path / "maps.npz"),
        "resamples": resamples,
        "predictions": predictions,
        "settings": '{"train_images":1,"val_images":1}',
        "weights": tmp_path / "weights.safetensors",
        "out": tmp_path / "out",
    }
    if request.node.get_closest_marker("slow"):
        write(files["weights"], create_model(experiment.model, 17), experiment)
    return SimpleNamespace(**files)


def write_graphs(file: Path) -> Path:
    """A net of an image alone."""
    node = {"name": "", "block": "", "kind": "image", "shape": [3, 64, 64], "inputs": []}
    graph = {"model": "a", "input": [64, 64], "params": 0, "parts": {}, "blocks": {}}
    file.write_text(json.dumps([graph | {"nodes": [node]}]))
    return file


def write_maps(file: Path) -> Path:
    """A net's final maps of one keypoint."""
    about = {"dataset": "coco", "image": 1, "person": 2, "keypoints": ["nose"]}
    about["nets"] = [{"model": "eeffpose-p0-order8", "maps": 1}]
    person = {"crop": np.zeros((8, 6, 3), np.uint8), "joints": np.ones((1, 2)), "visible": [1.0]}
    np.savez(file, about=json.dumps(about), maps_0_0=np.ones((1, 2, 2)), **person)
    return file


def run(name: str, files: SimpleNamespace | None, reader: bool = True, **limits: object):
    """The command in a process of its own; a word of its arguments may hold spaces."""
    main = importlib.import_module(COMMANDS[name]).main
    words = ARGUMENTS[name].split() if files else ["--help"]
    arguments = [word.format(**vars(files)) if files else word for word in words]

    def program() -> None:
        os.environ["POSE_DATA_MIRROR"] = "http://127.0.0.1:9"
        os.environ.update(limits.get("environment", {}))
        if size := limits.get("file_size"):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        main(arguments)

    return forked(program, reader)


def errors_of(ended) -> list[str]:
    return [line for line in ended.errors.splitlines() if line.startswith("error: ")]


def test_every_command_has_its_row():
    assert set(COMMANDS) == set(ARGUMENTS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_reader_that_leaves_ends_a_command_quietly(name):
    assert run(name, None, reader=False) == (141, "", "")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_names_the_command_that_users_type(name):
    assert run(name, None).output.startswith(f"usage: python -m {name} [-h]")


@pytest.mark.parametrize("name", WRITING)
def test_a_file_in_place_of_the_output_folder_is_one_line(name, files):
    files.out.write_text("in the way")
    ended = run(name, files)
    assert ended.status in (1, 2) and len(errors_of(ended)) == 1, ended.errors
    assert str(files.out) in errors_of(ended)[0] and "Traceback" not in ended.errors
    assert files.out.read_text() == "in the way"


@pytest.mark.parametrize("name", heavy_apart([n for n in WRITING if n not in OFFLINE]))
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(name, files):
    ended = run(name, files, file_size=100)
    assert ended.status == 1 and len(errors_of(ended)) == 1, ended.errors
    assert str(files.out) in errors_of(ended)[0] and "Traceback" not in ended.errors
    assert "Exception ignored" not in ended.errors
    left = {path.name for path in files.out.rglob("*") if path.is_file() and path.stat().st_size}
    # Of a training that goes on some day, and the list of the files that a rendering may replace.
    assert left <= {"lock", "performance.jsonl", "rendered.json"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - OFFLINE))
def test_a_home_that_cannot_be_written_stops_no_command(name, files):
    home = {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "POSE_CACHE": ""}
    ended = run(name, files, environment=home)
    assert ended.status == 0 and "Traceback" not in ended.errors, ended.errors
    if name in WRITING:
        assert any(files.out.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - OFFLINE))
def test_output_that_nobody_reads_is_no_traceback(name, files):
    ended = run(name, files, reader=False)
    assert ended.status in (0, 1, 141) and "rror" not in ended.errors, ended.errors


HELP_WITHOUT_HEAVY_PACKAGES = """
import contextlib, io, runpy, sys
for name in ("torch", "timm", "cv2", "numpy", "pandas", "matplotlib", "scipy", "fvcore"):
    sys.modules[name] = None  # importing it fails
for name in sys.argv[1:]:
    sys.argv[:] = [name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            runpy.run_module(name, run_name="__main__")
        except SystemExit as end:
            assert not end.code, (name, end.code)
"""


def test_every_command_answers_help_before_it_imports_what_takes_a_second():
    command = [sys.executable, "-c", HELP_WITHOUT_HEAVY_PACKAGES, *sorted(COMMANDS.values())]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_data_sets_are_known_without_the_settings_of_experiments():
    """Importing these takes half of the 0.3 s in which --help is to be answered."""
    code = "import sys, pose.datasets; sys.exit('pose.config.settings' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
