"""Which code decides which result: when its meaning changes, the step runs again.

Logging, checkpoints and error messages are left out on purpose. A model's code is its family's
module and what that imports, so that a new model retrains no other.
"""

from functools import cache

DATA = [
    "pose/data/crop.py",
    "pose/data/images.py",
    "pose/datasets/keypoints.py",
    "pose/datasets/records.py",
    "pose/data/samples.py",
]
DECODING = [
    "pose/evaluation/dark.py",
    "pose/evaluation/decode.py",
    "pose/evaluation/flip_test.py",
    "pose/evaluation/locate.py",
]
SCORING = [
    "pose/evaluation/coco.py",
    "pose/evaluation/oks.py",
    "pose/evaluation/pckh.py",
    "pose/evaluation/results.py",
]
STEPS = {
    "synthetic_data": [
        "pose/data/synthetic/render.py",
        "pose/data/synthetic/canvas.py",
        "pose/data/synthetic/figure_drawing.py",
    ],
    "train": [
        *DATA,
        "pose/data/augment.py",
        "pose/data/dataset.py",
        "pose/targets/heatmap.py",
        "pose/kernels/*.c",
        "pose/kernels/*.py",
        "pose/targets/paf.py",
        "pose/parallel/global_batch.py",
        "pose/data/loader.py",
        "pose/targets/losses.py",
        "pose/training/optimizer.py",
        "pose/training/schedule.py",
        "pose/training/step.py",
        *SCORING,
        *DECODING,
        "pose/evaluation/score.py",
    ],
    "infer": [
        *DATA,
        *DECODING,
        "pose/targets/heatmap.py",
    ],
    "evaluate": [*SCORING, "pose/evaluation/per_person.py"],
    "submission": [*SCORING, "pose/evaluation/submission.py"],
    "convert": [
        "pose/weights/load.py",
        "pose/models/naming.py",
    ],
    "complexity": ["pose/complexity.py"],
    "complexity_table": [
        "analysis/complexity_table.py",
        "analysis/table[s].py",
        "analysis/re[ps]*.py",
        "analysis/reported/*.csv",
    ],
    "comparison": [
        "analysis/comparison.py",
        "analysis/table[s].py",
        "analysis/re[ps]*.py",
        "analysis/reported/*.csv",
    ],
    "samples": [*DATA, "pose/data/augment.py", "pose/data/sheet.py", "pose/targets/heatmap.py"],
    "training_figure": [
        "analysis/training.py",
        "analysis/style.py",
        "analysis/results.py",
    ],
    "table1": ["analysis/table*.py", "analysis/re[ps]*.py", "analysis/reported/*.csv"],
    "figure1": [
        "analysis/figure1.py",
        "analysis/style.py",
        "analysis/re[ps]*.py",
        "analysis/reported/*.csv",
    ],
    "figure8": ["analysis/figure8.py", "analysis/style.py", "analysis/results.py"],
    "overlays": ["analysis/overlays.py", "analysis/style.py", "pose/data/drawing.py"],
    "released": ["analysis/tables.py", "analysis/re*.py", "analysis/reported/*.csv"],
}


@cache  # it is asked for by every job
def code(step, *models):
    """A parameter that changes when the meaning of the step's code, or of a model's, does."""
    families = {SHEET[model]["family"] for model in models}
    modules = [with_imports(f"pose.models.{name}", "pose.models") for name in families]
    return fingerprint(
        *STEPS[step], *sorted({file for files in modules for file in files})
    )


def code_of_run(step):
    """``code`` of a step whose jobs are of one run each."""
    return lambda wildcards: code(step, RUNS[wildcards.run]["model"])
