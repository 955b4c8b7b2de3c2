"""Table 1: the eight ablation orders, as the paper reports them beside what was measured here.

Reported and measured numbers never share a column, and measured numbers of different data sets,
inputs, protocols or evaluators never share a row. The CSV has a row per run, the Markdown and the
HTML a row per order with mean ± standard deviation over seeds.
"""

from __future__ import annotations

import argparse
from html import escape
from pathlib import Path

import pandas as pd

from analysis import reported
from analysis.results import PCKH, describe, is_full_coco, read_complexity, read_metrics
from pose.errors import PoseError, command

PROVENANCE = ["dataset", "input", "protocol", "evaluator"]
NOT_RUN = "not run"
SWITCHES = {"meme_backbone": "backbone", "meme_neck": "neck", "meme_head": "head"}


def build(metrics: pd.DataFrame, complexity: pd.DataFrame) -> pd.DataFrame:
    """The table with a row per run, and one of NaNs for an order without runs."""
    runs = _measured(metrics)
    paper = reported.ablation()
    left = paper[list(SWITCHES)].rename(columns=SWITCHES)
    left["paper AP (COCO val)"] = paper["AP"]
    left["paper AR (COCO val)"] = paper["AR"]
    left = left.join(_cost(complexity)).reset_index()
    table = left.merge(runs, how="left", on="order")
    scores = [column for column in table if column.startswith("measured")]
    cost = [column for column in table if column.startswith(("params", "GMACs"))]
    return table[["order", *left.columns[1:6], *scores, *cost, *PROVENANCE, "seed"]]


def _measured(metrics: pd.DataFrame) -> pd.DataFrame:
    ours = metrics.dropna(subset="order")
    if ours.empty:
        raise PoseError("no metrics file of an EEffPose-P0 order: give metrics_*.json of one")
    keys = ["order", *PROVENANCE, "seed"]
    columns = {}
    for score in (PCKH, "AP", "AR"):
        for boxes in ("gt", "det"):
            rows = ours[ours["boxes"] == boxes]
            if score in rows and rows[score].notna().any():
                columns[f"measured {score}, {boxes} boxes"] = rows.set_index(keys)[score]
    for name, column in columns.items():
        if column.index.has_duplicates:
            raise PoseError(f"two metrics files give the {name} of {column.index[0][0]}")
    return pd.DataFrame(columns).reset_index().sort_values(keys)


def _cost(complexity: pd.DataFrame) -> pd.DataFrame:
    rows = complexity.assign(order=complexity["model"].map(order_of)).dropna(subset="order")
    ...
