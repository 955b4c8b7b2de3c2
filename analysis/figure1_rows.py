"""What Figure 1 shows: scores and costs of what was measured here and of the paper's models."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis import reported
from analysis.results import PCKH, at_input, joints_of, read_complexity
from pose.support.errors import PoseError

LATENCY = "latency_ms"
EFFBASE = "eeffpose-p0-order1"
MPII = "MPII val"
TABLES = {"COCO val2017": 2, MPII: 4}
"""Val set -> the paper's table of what is reported on it."""
COUNTED = Path(__file__).parents[1] / "config" / "counted.csv"
"""Columns of what ``pose.complexity`` counts of the models of these tables and of EffBase."""


def timed(runs: pd.DataFrame, latencies: pd.DataFrame) -> tuple[list[float], str]:
    """Milliseconds of each run's model, NaN where it was not timed, and what they were taken on.

    A model that was not timed at its run's input is shown as timed at another, which is said.
    """
    if latencies.empty:
        return [float("nan")] * len(runs), ""
    places = latencies.groupby(["device", "threads"])
    (device, threads), own = max(places, key=lambda place: len(place[1]))
    sizes = runs["input"]
    named = zip(runs["model"], sizes, runs["dataset"], strict=True)
    rows = [at_input(own, model, size, joints_of(dataset)) for model, size, dataset in named]
    place = f"on {device}, {threads} thread{'s' if threads > 1 else ''}"
    if others := sorted({row["input"] for row in rows if row} - {*sizes}):
        place += f", at {' and '.join(others)}"
    return [row.get(LATENCY, float("nan")) for row in rows], place


def not_drawn(results: pd.DataFrame, runs: pd.DataFrame) -> str:
    """Which models of ``results`` have no score among the ``runs``."""
    known = (results["model"] + results["input"]).isin(runs["model"] + runs["input"])
    names = results["order"].fillna(results["model"])[~known].unique()
    return f"Not run, or not in the boxes shown: {', '.join(names)}" if len(names) else ""


def summarised(results: pd.DataFrame) -> pd.DataFrame:
    """A row per val set, model, input and protocol: ``mean``, ``low`` and ``high`` over seeds.

    On a val set where any run has a detector's boxes, as the paper's comparison does, only such
    rows count. ``params_m`` in millions. PoseError for a model whose cost was not counted.
    """
    runs = results[results["split"] == "val"].copy()
    runs["score"] = runs["AP"].fillna(runs[PCKH])
    runs = runs[runs["score"].notna()]
    where = runs["dataset"] + " (" + runs["val_set"] + ")"
    runs["val_set"] = runs["val_set"].where(runs["val_share"] == 1, where)
    detected = runs["boxes"].eq("det").groupby(runs["val_set"]).transform("any")
    runs = runs[runs["boxes"].eq("det") | ~detected]
    runs["params_m"] = runs["params"].astype(float) / 1e6
    one = ["val_set", "model", "input", "protocol"]
    scores = runs.groupby(one)["score"].agg(mean="mean", low="min", high="max")
    if len(unknown := runs.loc[runs["params"].isna(), "model"].unique()):
        raise PoseError(
            f"complexity.csv beside the runs: no row for {', '.join(unknown)};"
            " rerun pose.complexity"
        )
    about = runs.groupby(one)[["params_m", "gmacs", "order", "boxes", "dataset"]].first()
    return about.join(scores).reset_index()


def with_costs(val_set: str) -> pd.DataFrame:
    """What the paper reports on one of the val sets in :data:`TABLES`, on COCO with EffBase.

    Parameters are the paper's, EffBase's and all multiply-adds are counted here.
    """
    table = reported.comparison(TABLES[val_set])
    costs = read_complexity(COUNTED).rename(columns={"gmacs_fvcore": "gmacs"})
    if val_set == MPII:
        table = table.assign(name=table["method"], score=table[PCKH])
        ours = table["method"].str.startswith("EEffPose")
        table["group"] = ours.map({True: "ours", False: "other"})
        costs = costs[costs["num_keypoints"] == 16]
    else:
        table["name"] = [_name(row) for row in table.itertuples()]
        own = {"model": EFFBASE, "input": "256x192", "name": "EffBase", "group": "ours"}
        own["AP"] = reported.ablation().loc[1, "AP"]
        table = pd.concat([table, pd.DataFrame([own])], ignore_index=True)
        table["score"] = table["AP"]
        costs = costs[costs["num_keypoints"] == 17]
    table = table.merge(costs[["model", "input", "params", "gmacs"]], how="left")
    return table.assign(params_m=table["params_m"].fillna(table["params"] / 1e6))


def _name(row) -> str:
    if row.group == "ours" or row.method == row.backbone or "Hourglass" in row.method:
        return row.method
    own = row.backbone.startswith(row.method)
    return row.backbone if own else f"{row.method} ({row.backbone})"
