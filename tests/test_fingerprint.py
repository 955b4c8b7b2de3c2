"""A step's fingerprint moves with the code that decides its result, and with nothing else."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pose.config import experiment
from pose.support.fingerprint import (
    HARMLESS,
    MODEL_SHEET,
    PARTS,
    ROOT,
    Checkout,
    Code,
    checkout,
    code_of,
)

MODEL = "eeffpose-p0-order8"
PEOPLE = '{"train_images": 10, "val_images": 5}'
TEXTS = {path: content.decode() for path, content in checkout().contents.items()}


PATHS = checkout().paths


def edited(
    edits: dict[str, str], step: str, model: str | None = None, dataset: str | None = None
) -> Code:
    """The code of a step in a checkout where the files of ``edits`` have another content."""
    contents = {path: text.encode() for path, text in (TEXTS | edits).items()}
    return Checkout(contents).code(step, model, dataset)


def replaced(name: str, old: str, new: str) -> dict[str, str]:
    """An edit of a module, or of a data file by its path."""
    path = PATHS.get(name, name)
    assert old in TEXTS[path], f"{path} no longer holds {old!r}: choose another edit"
    return {path: TEXTS[path].replace(old, new)}


def extended(*modules: str) -> dict[str, str]:
    return {PATHS[module]: TEXTS[PATHS[module]] + "\nFACTOR = 2\n" for module in modules}


@pytest.mark.parametrize(
    ("name", "old", "new", "step", "model"),
    [
        ("pose.infer", "heatmaps / experiment.target.peak", "heatmaps", "pose.infer", MODEL),
        ("pose.infer", "heatmaps / experiment.target.peak", "heatmaps", "pose.train", MODEL),
        ("pose.training.step", "scaler.scale(loss)", "scale(loss)", "pose.train", MODEL),
        ("pose.parallel.distributed", "value /= world_size()", "pass", "pose.train", MODEL),
        ("pose.evaluate", "raw.keypoints[..., :2]", "raw.keypoints", "pose.evaluate", None),
        ("pose.models.hrnet", '"transition", ', "", "pose.train", "hrnet-w32"),
        ("pose.models.cpn", 'shortcut="projection"', "", "pose.train", "cpn-r50-projection"),
        ("pose/kernels/mbconv.c", "float", "double", "pose.train", MODEL),
        ("pose/weights/published.csv", "efficientnet_b0,imagenet", ",", "pose.train", MODEL),
        ("analysis/reported/table2_coco_val.csv", ",", ";", "analysis.figure1", None),
    ],
)
def test_an_edit_that_changes_results_moves_the_step(name, old, new, step, model):
    edit = replaced(name, old, new)
    before, after = code_of(step, model), edited(edit, step, model)
    assert after.fingerprint != before.fingerprint
    assert {path for path in before.files if after.files[path] != before.files[path]} == {*edit}


def test_layout_comments_and_docstrings_move_nothing():
    files = [path for path in code_of("pose.train", MODEL).files if path.endswith(".py")]
    rewritten = {path: f'"""Else."""\n{ast.unparse(ast.parse(TEXTS[path]))}' for path in files}
    rewritten = {path: f"{text}\n# a comment\n" for path, text in rewritten.items()}
    assert edited(rewritten, "pose.train", MODEL) == code_of("pose.train", MODEL)


def test_texts_for_the_reader_and_annotations_of_functions_move_nothing():
    loader = "pose.data.loader"
    for edit in (
        replaced(loader, " lower it", " mend it"),
        replaced(loader, "-> Iterator[list[int]]", "-> object"),
        replaced("pose.train", "time between two", "minutes"),
    ):
        assert edited(edit, "pose.train", MODEL) == code_of("pose.train", MODEL), edit.keys()


@pytest.mark.parametrize("module", HARMLESS)
def test_a_harmless_module_exists_and_moves_nothing(module):
    for step in ("pose.train", "pose.evaluate", "analysis.comparison"):
        assert edited(extended(module), step, MODEL) == code_of(step, MODEL)


def test_an_edit_of_one_family_moves_no_other():
    hourglass = extended("pose.models.hourglass")
    for step in ("pose.train", "pose.infer", "pose.complexity", "pose.weights"):
        assert edited(hourglass, step, MODEL) == code_of(step, MODEL)
        assert edited(hourglass, step, "hourglass-8") != code_of(step, "hourglass-8")
        assert edited(hourglass, step) != code_of(step)


def test_a_new_family_with_a_model_and_published_weights_moves_no_other():
    table, sheet = TEXTS["pose/weights/published.csv"], TEXTS["config/models.tsv"]
    commas = "," * (table.splitlines()[0].count(",") - 1)
    added = {
        "pose/models/newnet.py": "class NewNet: ...",
        "pose/weights/published.csv": f"{table}newnet-1@coco,newnet-1{commas}\n",
        "config/models.tsv": f"{sheet}newnet-1\tnewnet\n",
    }
    for model in (MODEL, "hrnet-w32", "mobilenetv3"):
        for step in ("pose.train", "pose.weights"):
            assert edited(added, step, model) == code_of(step, model)
    assert "pose/models/newnet.py" in edited(added, "pose.weights", "newnet-1").files


def test_a_new_part_and_a_model_that_has_it_move_no_other_model():
    sheet = "model\tfamily\tneck\nfirst\teeffpose\tplain\nsecond\teeffpose\tmeme\n"
    family = """from pose.models.eeffpose.neck import BiFPN
from pose.models.total import TFNeck
NECKS = {"plain": BiFPN, "meme": TFNeck}
MODELS = {"first": ("p0", "plain"), "second": ("p0", "meme")}
"""
    new_family = f"""from pose.models.new import NewNeck
{family.replace("NECKS = {", "NECKS = {'new': NewNeck, ")}
"""
    new_family = new_family.replace("MODELS = {", "MODELS = {'third': ('p0', 'new'), ")
    texts = {
        "pose/__init__.py": "",
        "pose/models/__init__.py": "",
        "pose/models/eeffpose/__init__.py": "from pose.models.eeffpose.net import MODELS",
        "pose/models/eeffpose/net.py": family,
        "pose/models/eeffpose/neck.py": "class BiFPN: ...",
        "pose/models/total.py": "class TFNeck: ...",
        "pose/models/new.py": "class NewNeck: ...",
        "config/models.tsv": sheet,
    }
    new = {
        "pose/models/eeffpose/net.py": new_family,
        "config/models.tsv": f"{sheet}third\teeffpose\tnew",
    }
    before, after = (
        Checkout({path: text.encode() for path, text in content.items()})
        for content in (texts, texts | new)
    )
    for model, neck in (("first", "eeffpose/neck"), ("second", "total")):
        assert after.code("pose.models", model) == before.code("pose.models", model)
        assert f"pose/models/{neck}.py" in after.code("pose.models", model).files
    assert "pose/models/new.py" in after.code("pose.models", "third").files


def test_lazy_imports_of_a_package_count_only_where_it_is_asked_for_something():
    load, nets = PATHS["pose.weights.load"], PATHS["pose.models"]
    assert load in code_of("pose.train", MODEL).files
    published = code_of("analysis.published").files
    assert "pose/weights/published.csv" in published
    assert load not in published and nets not in published


def test_a_data_file_counts_by_its_name_wherever_it_lies():
    files = code_of("analysis.complexity_table").files
    assert "analysis/reported/complexity_reasons.csv" in files
    assert "analysis/reported/README.md" not in files


def test_the_tables_of_parts_exist():
    assert PARTS in PATHS


def test_a_data_set_moves_the_steps_on_it_and_a_new_one_moves_none():
    rendered = extended("pose.datasets.synthetic")
    names = TEXTS["pose/config/datasets.py"].replace('"coco",', '"coco",\n    "athletes",')
    added = {"pose/datasets/athletes.py": "DATASET = ...", "pose/config/datasets.py": names}
    for step in ("pose.train", "pose.infer", "pose.evaluate"):
        on_coco = code_of(step, MODEL, "coco")
        assert edited(rendered, step, MODEL, "coco") == on_coco
        assert edited(added, step, MODEL, "coco") == on_coco
        assert edited(rendered, step, MODEL, "synthetic") != code_of(step, MODEL, "synthetic")
        assert edited(rendered, step, MODEL) != code_of(step, MODEL)
        assert "pose/datasets/athletes.py" in edited(added, step, MODEL, "athletes").files


RECORDER = """
import os, sys, traceback
record = os.open(os.environ["RECORD"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
class Finder:  # sees each module before Python's own finders look for it
    def find_spec(name, path=None, target=None):
        os.write(record, f"import {name}\\n".encode())
def in_fingerprint():  # which reads every file
    return any("fingerprint.py" in f.f_code.co_filename for f, _ in traceback.walk_stack(None))
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and not in_fingerprint():
        os.write(record, f"open {arguments[0]}\\n".encode())
sys.meta_path.insert(0, Finder)
sys.addaudithook(hook)
"""


def steps() -> dict[str, list[str]]:
    """Each step and its arguments, in an order in which they can be run in one folder."""
    overrides = {
        "model_options": {"init": "scratch"},
        "train": {"batch_size": 4, "epochs": 1, "warmup_epochs": 0},
    }
    settings = experiment(MODEL, "synthetic", (64, 48), "controlled", 0, overrides)
    folder = f"results/x/{MODEL}/seed0"
    weights, predictions = f"{folder}/weights.safetensors", f"{folder}/predictions_gt.npz"
    log, performance = f"{folder}/training.jsonl", f"{folder}/performance.jsonl"
    truth = "data/annotations/person_keypoints_val2017.json"
    about = {"dataset": "synthetic", "model": MODEL, "seed": 0, "boxes": "gt", "input": "64x48"}
    about |= {"protocol": "controlled", "checkpoint": f"{MODEL}@coco"}
    labels = [f"--label={key}={value}" for key, value in about.items()]
    given = ["--experiment", settings.model_dump_json(), "--data-root", "data", "--workers", "1"]
    output, sheet = ["--output-dir", "output"], ["--models", "models.tsv"]
    return {
        "pose.data.synthetic": ["--output", "data", "--settings", PEOPLE],
        "pose.data.sheet": [*given[:-2], "--output", "sheet.png"],
        "pose.train": [
            *(*given, "--run-dir", "run", "--weights", weights),
            *("--training-log", log, "--performance", performance),
        ],
        "pose.infer": [*given, "--weights", weights, "--output", predictions],
        "pose.evaluate": [
            *("coco", "--annotations", truth, "--predictions", predictions, *labels),
            *("--output", "metrics.json", "--per-person", "persons.parquet"),
        ],
        "pose.evaluation.submission": [
            *("--predictions", predictions, "--image-info", truth, "--name", "x", *output),
        ],
        "pose.complexity": ["--sheet", "cases.csv", "--csv", "complexity.csv"],
        "pose.controls": [*given[:-2], "--output", f"results/x/{MODEL}/controls.csv"],
        "pose.audit": [*given, "--weights", weights, "--output", f"{folder}/audit.csv"],
        "analysis.errors": [
            *("--dataset", "synthetic", "--annotations", truth, "--results", predictions, *output),
        ],
        "analysis.quality": ["results/x", *output],
        "analysis.comparison": ["1", "results/x", *sheet, *output],
        "analysis.published": [
            *("eeffpose-p0-order1@coco", "--obtained", "obtained.csv", *output),
        ],
        "analysis.figure1": ["results/x", *sheet, *output],
        "analysis.figure8": ["results/x", *sheet, *output],
        "analysis.training": ["results/x", *sheet, *output],
        "pose.graph": [MODEL, "--input", "64x48", "--output", "graphs.json"],
        "analysis.architecture": ["--graphs", "graphs.json", *output],
        "pose.maps": [weights, "--data-root", "data", "--output", "maps.npz"],
        "analysis.figure9": ["--maps", "maps.npz", *sheet, *output],
        "analysis.overlays": [
            *("--dataset", "synthetic", "--data-root", "data", "--predictions", predictions),
            *("--output", "overlays.png"),
        ],
    }


def with_imports(modules: set[str]) -> set[str]:
    """These modules, all that they import in turn, and the packages that they lie in."""
    found, ahead = set(), modules
    while ahead:
        found |= ahead
        ahead = {target for name in ahead for target in checkout().imports(name)}
        ahead = (ahead | {name.rpartition(".")[0] for name in found if "." in name}) - found
    return found


@pytest.mark.slow
def test_whatever_a_step_loads_or_reads_counts_or_is_harmless(tmp_path):
    """Every step runs on rendered people; a loader's forked worker writes to the same record."""
    (tmp_path / "sitecustomize.py").write_text(RECORDER)
    (tmp_path / "cases.csv").write_text(f"model,input,num_keypoints\n{MODEL},64x48,17\n")
    (tmp_path / "obtained.csv").write_text("name,problem\n")
    (tmp_path / "models.tsv").write_text(TEXTS["config/models.tsv"])
    for step, arguments in steps().items():
        record = tmp_path / f"{step}.txt"
        environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "RECORD": str(record)}
        command = [sys.executable, "-m", step, *arguments]
        subprocess.run(command, cwd=tmp_path, env=os.environ | environment, check=True)
        events = [line.split(" ", 1) for line in record.read_text().splitlines()]
        imported = {name for event, name in events if event == "import"} & PATHS.keys()
        opened = {Path(name) for event, name in events if event == "open"}
        opened = {path.relative_to(ROOT).as_posix() for path in opened if ROOT in path.parents}
        data = opened & {path for paths in checkout().data.values() for path in paths}
        data -= {MODEL_SHEET}  # the reason is in HARMLESS
        harmless = with_imports(imported & HARMLESS.keys())
        loaded = {PATHS[name] for name in imported - harmless}
        assert loaded and loaded <= code_of(step).files.keys(), step
        assert data <= code_of(step, MODEL).files.keys(), step
