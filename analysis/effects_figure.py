"""The effects of the ablation's switches: on the score, and on kinds of joints and persons."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, told apart by the colour-blind too."""
MARKS = ("o", "s", "^", "v", "P", "X")


def effects_figure(effects: pd.DataFrame, groups: pd.DataFrame) -> Figure:
    """Left the effects on the main score, right those of single switches by group."""
    main = effects[effects["score"].isin(["AP", "PCKh@0.5"])]
    names = list(dict.fromkeys(main["effect"]))
    bins = list(dict.fromkeys(zip(groups.get("by", []), groups.get("group", []), strict=True)))
    height = 1.2 + 0.2 * max(len(bins), 2 * len(names))
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, height), layout="constrained")
    _scores(left, main, names)
    _groups(right, groups, bins)
    return figure


def _scores(axes: Axes, main: pd.DataFrame, names: list[str]) -> None:
    """A row per effect; within it a line per source of boxes, of images and of seeds."""
    series = list(main.groupby(["dataset", "input", "protocol", "boxes"], sort=False))
    for number, (key, own) in enumerate(series):
        at = [names.index(e) + (number - (len(series) - 1) / 2) * 0.3 for e in own["effect"]]
        colour = COLOURS[number % len(COLOURS)]
        label = f"{key[-1]} boxes" if len(series) <= 2 else " ".join(key)
        axes.hlines(at, own["low"], own["high"], colour, lw=2.2, alpha=0.55)
        axes.hlines(at, own["seeds_low"], own["seeds_high"], style.INK, lw=0.8)
        axes.plot(own["measured"], at, MARKS[number % len(MARKS)], color=colour, label=label)
    if "paper" in main and main["paper"].notna().any():
        paper = main.drop_duplicates("effect").dropna(subset="paper")
        at = [names.index(effect) for effect in paper["effect"]]
        axes.plot(
            paper["paper"], at, "D", mfc="none", color=style.INK, ms=5, label="paper's Table 1"
        )
    _finish(axes, names, " and ".join(f"points of {score}" for score in main["score"].unique()))
    axes.set_title("Effects on the score")
    axes.text(
        0, -0.3, "thick: 95 % over images; thin: over seeds", transform=axes.transAxes, va="top"
    )


def _groups(axes: Axes, groups: pd.DataFrame, bins: list[tuple[str, str]]) -> None:
    for number, (effect, own) in enumerate(groups.groupby("effect", sort=False) if bins else []):
        first = own.drop_duplicates(["by", "group"])
        places = zip(first["by"], first["group"], strict=True)
        at = [bins.index(place) + (number - 1) * 0.25 for place in places]
        colour = COLOURS[(number + 2) % len(COLOURS)]
        axes.hlines(at, first["low"], first["high"], colour, lw=1.2, alpha=0.6)
        axes.plot(
            first["measured"],
            at,
            MARKS[(number + 2) % len(MARKS)],
            color=colour,
            ms=3.5,
            label=effect,
        )
    _finish(axes, [name if by == "keypoint" else f"{by}: {name}" for by, name in bins], "points")
    axes.set_title("Effects by group")


def _finish(axes: Axes, names: list[str], unit: str) -> None:
    axes.axvline(0, color=style.INK, lw=0.7)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(unit)
    axes.grid(False, axis="y")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
