"""What each switch of the ablation does to score and convergence, and for which persons.

Of every effect (:mod:`analysis.factorial`) there are two intervals, which are kept apart: over the
images that it was measured on, and over the seeds that it was trained with.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.options import truth_file
from pose.config.model_sheet import FILE, Sheet, read_sheet
from pose.support import cli
from pose.support.errors import command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.effects", __doc__)
    parser.add_argument("places", type=Path, nargs="+", help="folders of results or single runs")
    parser.add_argument("--resamples", type=Path, required=True, help="of analysis.intervals")
    parser.add_argument(
        "--truth", type=truth_file, nargs="*", default=[], metavar="DATASET=FILE",
        help="val annotations, to tell overlapping persons",
    )  # fmt: skip
    parser.add_argument("--models", type=Path, default=FILE, help="default: config/models.tsv")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    parser.add_argument("--figures", type=cli.output_folder, required=True, metavar="DIR")
    return parser


cli.answer_early(__name__, command_line)

import numpy as np
import pandas as pd
from scipy.stats import t as student

from analysis import effects_figure, reported, style, tables
from analysis.ablation import absent, orders_of
from analysis.factorial import contrasts
from analysis.groups import group_scores
from analysis.intervals import RESAMPLES, read_resamples
from analysis.results import PCKH, load_curves, load_persons, load_results
from analysis.statistics import LEVEL, interval
from pose.datasets import dataset_of

SETTING = ["dataset", "input", "protocol"]
"""Orders are set against each other within one of these."""
SCORES = ("AP", "AR", PCKH)
SHARE = 0.9
EPOCHS = "epochs to 90 % of the best score"
EFFECT = ["effect", "settings", "paper", "measured", "low", "high"]
EFFECT += ["seeds", "seeds_low", "seeds_high", "verdict"]
MORE, LESS, OPEN = "more", "less", "no verdict"


def effects_table(
    results: pd.DataFrame, curves: pd.DataFrame, resamples: pd.DataFrame, sheet: Sheet
) -> pd.DataFrame:
    """A row per setting, boxes, score and effect, in points; of AP and AR with the paper's.

    ``low`` and ``high`` are over images, ``seeds_low`` and ``seeds_high`` over seeds; NaN where
    there are no resamples, or fewer than two seeds. The frames are those of
    :mod:`analysis.results` and :func:`analysis.intervals.read_resamples`.
    """
    rows = []
    for about, own in _of_settings(results.dropna(subset="boxes"), [*SETTING, "boxes"]):
        for score in SCORES:
            scores = _by_order(own, score)
            if scores.empty:
                continue
            drawn = {
                order: resampled_score(resamples, group, score)
                for order, group in own.groupby("order")
            }
            for row in _effects(scores, drawn, sheet, score):
                rows.append(about | {"score": score} | row)
    for about, own in _of_settings(epochs_to(curves), SETTING):
        for row in _effects(_by_order(own, EPOCHS), {}, sheet, EPOCHS):
            rows.append(about | {"boxes": "gt", "score": EPOCHS} | row)
    return pd.DataFrame(rows, columns=[*SETTING, "boxes", "score", *EFFECT])


def epochs_to(curves: pd.DataFrame) -> pd.DataFrame:
    """How many epochs each training took to :data:`SHARE` of its best score, warm-up included.

    One whose log ends before the others' of its setting tells no best score, and is left out.
    """
    rows = []
    keys = [*SETTING, "model", "order", "seed"]
    curves = curves.dropna(subset="order")
    last, whole = (curves.groupby(k)["epoch"].transform("max") for k in (keys, SETTING))
    for key, run in curves[last == whole].groupby(keys, sort=False):
        run = run.sort_values("epoch")
        score = run[PCKH if run[PCKH].notna().any() else "AP"].to_numpy(float)
        reached = score >= SHARE * np.nanmax(score)
        rows.append(dict(zip(keys, key, strict=True)) | {EPOCHS: int(np.argmax(reached)) + 1})
    return pd.DataFrame(rows, columns=[*keys, EPOCHS])


def groups_table(persons: pd.DataFrame, truths: dict[str, Any], sheet: Sheet) -> pd.DataFrame:
    """The effect of each single switch on the joints of one kind, or of persons of one kind.

    In points of the joints' mean similarity to the truth in annotated boxes, or of PCKh.
    """
    rows = []
    for about, own in _of_settings(persons[persons["boxes"] == "gt"], SETTING):
        dataset = dataset_of(about["dataset"])
        found = group_scores(own, dataset, truths.get(dataset.name), RESAMPLES, sheet)
        for group in found:
            for row in _effects(group.scores, group.drawn, sheet, "similarity"):
                if " x " not in row["effect"]:
                    about_group = {"by": group.by, "group": group.name, "joints": group.joints}
                    rows.append(about | about_group | row)
    columns = [name for name in EFFECT if name != "paper"]
    return pd.DataFrame(rows, columns=[*SETTING, "by", "group", "joints", *columns])


def _of_settings(frame: pd.DataFrame, keys: list[str]) -> Iterator[tuple[dict, pd.DataFrame]]:
    """The rows of the ablation's orders, setting by setting."""
    for key, own in frame.dropna(subset="order").groupby(keys, sort=False):
        yield dict(zip(keys, key, strict=True)), own


def _by_order(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Scores with a row per seed and a column per order."""
    return rows.pivot_table(index="seed", columns="order", values=score).astype(float)


def resampled_score(resamples: pd.DataFrame, rows: pd.DataFrame, score: str) -> np.ndarray | None:
    """The resampled scores of one model, a row a seed, averaged; None where one has none."""
    keys = [
        (*key, score) for key in rows[["run", "seed", "boxes"]].itertuples(index=False, name=None)
    ]
    if any(key not in resamples for key in keys):
        return None
    return resamples[keys].to_numpy().mean(axis=1)


def _effects(
    scores: pd.DataFrame, drawn: dict[str, np.ndarray | None], sheet: Sheet, score: str
) -> Iterator[dict[str, Any]]:
    """The effects that the orders in ``scores`` (seeds x orders) tell."""
    orders = orders_of(sheet)
    reports = reported.ablation().rename(index=str)
    paper = contrasts(orders.loc[orders.index.isin(reports.index)])
    told = paper.drop(columns="settings") @ reports if score in reports else None
    mean = scores.mean()
    table = contrasts(orders[orders.index.isin(scores.columns)])
    for effect, weights in table.iterrows():
        settings, weights = weights["settings"], weights.drop("settings")
        weights = weights[weights != 0]
        row = {"effect": effect, "settings": int(settings)}
        if told is not None:
            row["paper"] = told[score].get(effect, np.nan)
        row["measured"] = float(weights @ mean[weights.index])
        samples = [drawn.get(order) for order in weights.index]
        row["low"] = row["high"] = np.nan
        if all(sample is not None for sample in samples):
            row["low"], row["high"] = interval(weights.to_numpy() @ np.array(samples))
        single = scores[weights.index].dropna() @ weights
        row["seeds"] = len(single)
        row["seeds_low"], row["seeds_high"] = seeds_interval(single.to_numpy())
        yield row | {"verdict": verdict(row)}


def seeds_interval(values: np.ndarray) -> tuple[float, float]:
    """Student's interval of the mean over seeds; NaN for fewer than two."""
    if len(values) < 2:
        return np.nan, np.nan
    half = student.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean() - half), float(values.mean() + half)


def verdict(row: dict[str, Any]) -> str:
    """Whether every interval that is known lies on one side of 0."""
    ends = [(row["low"], row["high"]), (row["seeds_low"], row["seeds_high"])]
    known = [pair for pair in ends if not np.isnan(pair[0])]
    if known and all(low > 0 for low, _ in known):
        return MORE
    if known and all(high < 0 for _, high in known):
        return LESS
    return OPEN


NONE = "No two orders that differ in one switch alone have been evaluated. "
NOTE = (
    "What each part of MEMe adds, in points: averaged over the settings of the other parts; an"
    " interaction (x) is by how much the effect of one changes where the other is there too."
    " Intervals are of 95 %: over images (bootstrap), and over seeds (Student's t; - for one seed),"
    " which are different things. A verdict needs every interval that is known on one side of 0."
    " The paper's: from the eight numbers of its Table 1 (COCO val2017, 256x192) by the same"
    " arithmetic, which only a measurement on the whole of COCO val2017 may be compared with."
)
GROUPS_NOTE = (
    "Where each part of MEMe helps: its effect on the mean similarity of joints to the truth"
    " (COCO's exp(-d^2 / 2s^2k^2), in percent; on MPII PCKh@0.5) in annotated boxes, with 95 %"
    " intervals over images. These are many at once: expect one in twenty to exclude 0 by chance."
)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text; what all rows share is left out."""
    text = table[
        [name for name in (*SETTING, "boxes", "by", "group", "score", "effect") if name in table]
    ]
    always = ("score", "effect")
    text = text[[name for name in text if text[name].nunique() > 1 or name in always]].copy()
    if "paper" in table:
        text["paper"] = table["paper"].map(_points)
    text["measured"] = table["measured"].map(_points)
    text["95 % over images"] = [
        _pair(*ends) for ends in zip(table["low"], table["high"], strict=True)
    ]
    text["95 % over seeds"] = [
        _pair(*ends) for ends in zip(table["seeds_low"], table["seeds_high"], strict=True)
    ]
    return text.assign(verdict=table["verdict"])


def _points(value: float) -> str:
    return "-" if pd.isna(value) else f"{value + 0.0:+.1f}".replace("-0.0", "+0.0")


def _pair(low: float, high: float) -> str:
    return "-" if pd.isna(low) else f"{_points(low)} to {_points(high)}"


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)

    sheet = read_sheet(options.models)
    results, curves, persons = (
        load(*options.places, models=options.models)
        for load in (load_results, load_curves, load_persons)
    )
    truths = {name: dataset_of(name).read_truth(file) for name, file in options.truth}
    effects = effects_table(results, curves, read_resamples(options.resamples), sheet)
    groups = groups_table(persons, truths, sheet)
    left_out = absent(results.loc[results["boxes"].notna(), "order"].dropna(), sheet)
    for name, title, table, note in (
        ("effects", "Effects", effects, NOTE),
        ("effects_by_group", "Effects by group", groups, GROUPS_NOTE),
    ):
        text = " ".join([note if len(effects) else NONE + note, left_out]).strip()
        tables.write_table(shown(table), options.output_dir, name, title, text)
        tables.write_csv(table.round(4), options.output_dir / f"{name}.csv")
    style.save(effects_figure.effects_figure(effects, groups), options.figures, "effects")


if __name__ == "__main__":
    main()
