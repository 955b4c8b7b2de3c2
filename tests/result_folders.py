"""Made-up results of runs, laid out as the workflow leaves them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from pose.config import experiment

CODE = {"train": "aaaa", "infer": "bbbb", "evaluate": "cccc"}
PARAMS = {1: 3_797_279, 2: 8_423_785, 8: 9_004_292}


def write_run(
    results: Path,
    model: str = "eeffpose-p0-order8",
    seed: int = 0,
    run: str | None = None,
    **values,
) -> Path:
    """The folder of a run with metrics in true boxes (fractions, as ``values`` say) and weights.

    ``values`` may also name the experiment's ``dataset``, ``input`` and ``protocol``, ``boxes``,
    and anything else that metrics hold; ``training=False`` leaves out weights and logs.
    """
    folder = results / (run or model) / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    labels = {"dataset": "synthetic", "input": "64x48", "protocol": "controlled"}
    labels |= {key: values.pop(key) for key in [*labels] if key in values}
    trained, boxes = values.pop("training", True), values.pop("boxes", "gt")
    size = tuple(map(int, labels["input"].split("x")))
    made_from = {"experiment": f"e{model[-1]}{seed}", "data": "dddd"}
    if trained:
        chosen = experiment(model, labels["dataset"], size, "controlled", seed)
        settings = chosen.model_dump(mode="json")
        settings["train"] |= values.pop("train", {})
        about = {"experiment": settings | {"protocol": labels["protocol"]}, "commit": "c0ffee"}
        about |= {"made_from": made_from | {"code": {"train": "aaaa"}}, "device": "a CPU"}
        about |= {"versions": {"python": "3.12", "torch": "2.14", "code": "aaaa"}}
        arrays = {"a": np.zeros(1, np.float32)}
        save_file(arrays, folder / "weights.safetensors", {"about": json.dumps(about)})
        write_logs(folder)
    scores = {"AP": 0.25, "AR": 0.3, "APM": -1.0, "evaluator": "pycocotools 2.0.11", "images": 4}
    if "PCKh@0.5" in values:
        scores = {"evaluator": "pose.evaluation.pckh"}
    row = {"model": model, "seed": seed, "boxes": boxes, **labels, "persons": 9, **scores, **values}
    row = {"made_from": made_from | {"code": CODE}} | row
    (folder / f"metrics_{boxes}.json").write_text(json.dumps(row))
    return folder


def write_logs(folder: Path, epochs: int = 3, **score) -> None:
    """``training.jsonl`` and ``performance.jsonl`` with two warm-up epochs; half an hour each."""
    score, numbers = score or {"AP": 0.2, "AR": 0.25}, range(-2, epochs)
    told = [{"epoch": e, "lr": 1e-3 * min(1, (e + 3) / 3), "loss": 0.1, **score} for e in numbers]
    speed = {"images_per_second": 9.0, "data_wait_share": 0.2, "seconds": 1700.0}
    speed |= {"validation_seconds": 100.0, "rss_mb": 900.0, "gpu_memory_mb": None}
    timed = [{"event": "epoch", **line, **speed} for line in told]
    for name, lines in (("training.jsonl", told), ("performance.jsonl", timed)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_persons(folder: Path, boxes: str = "gt", **columns) -> None:
    """``persons_{boxes}.parquet`` of three persons, and whatever ``columns`` add."""
    table = {"image_id": [1, 1, 2], "person_id": [1, 2, 3], "area": [900.0, 4000.0, 9500.0]}
    table |= {"num_keypoints": [17, 9, 3], "oks": [0.9, 0.6, 0.0], "matched": [0.9, 0.3, 0.0]}
    pd.DataFrame(table | columns).to_parquet(folder / f"persons_{boxes}.parquet")


def write_complexity(results: Path, *rows: str) -> Path:
    """``complexity.csv`` of orders 1, 2 and 8, and of further ``rows``."""
    results.mkdir(parents=True, exist_ok=True)
    own = [f"eeffpose-p0-order{k},256x192,17,{PARAMS[k]},4.0" for k in PARAMS]
    text = "\n".join(["model,input,num_keypoints,params,gmacs_fvcore", *own, *rows]) + "\n"
    (results / "complexity.csv").write_text(text)
    return results / "complexity.csv"
