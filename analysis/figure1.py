"""Figure 1: AP against parameters, the paper's models as reported and ours as measured.

Measured runs share the reported axes only where they were measured on the whole of COCO val2017;
otherwise they have a panel of their own, so that numbers that may not be compared never meet.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

from pose.config.model_sheet import FILE, Sheet, read_sheet
from pose.support import cli
from pose.support.errors import PoseError, command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.figure1", __doc__)
    parser.add_argument("--metrics", type=Path, nargs="+", required=True, help="metrics_*.json")
    parser.add_argument("--complexity", type=Path, required=True, help="complexity.csv")
    parser.add_argument("--models", type=Path, default=FILE, help="default: config/models.tsv")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from analysis import reported, style
from analysis.results import (
    describe,
    is_full_coco,
    read_complexity,
    read_metrics,
    score_of,
)

COLOURS = {"small": "#9db4c8", "large": "#56616c", "ours": style.RED}
MARKERS = {256: "o", 384: "s"}  # by input height
STAR = "#f2a900"
# Where a name stands: offset in points from the model's best point, and its alignment there.
RIGHT, LEFT = (8, 0, "left"), (-8, 0, "right")
ABOVE, BELOW = (0, 9, "center"), (0, -10, "center")
PLACES = {
    "LiteHRNet-30": BELOW,
    "DANet-72": LEFT,
    "DANet-102": ABOVE,
    "LPN (ResNet-152)": ABOVE,
    "EEffPose-P0": LEFT,
    "EEffPose-P2": ABOVE,
    "HRNet-W32": ABOVE,
    "HRNet-W48": ABOVE,
    "SimpleBaseline (ResNet-152)": BELOW,
}


def ap_against_params(metrics: pd.DataFrame, complexity: pd.DataFrame, sheet: Sheet) -> Figure:
    """The figure, from :func:`read_metrics` and :func:`read_complexity`.

    Raises PoseError for a measured model without a row in ``complexity``.
    """
    # The paper's comparison is with detected boxes; MPII has annotated ones only.
    boxes = "det" if (metrics["boxes"] == "det").any() else "gt"
    runs = metrics[metrics["boxes"] == boxes]
    shared = is_full_coco(runs)
    figure, panels = plt.subplots(
        *(1, 1 if shared else 2), figsize=(8 if shared else 10.4, 5.8), squeeze=False,
        width_ratios=(1,) if shared else (2.2, 1), layout="constrained",
    )  # fmt: skip
    reported_panel, measured_panel = panels[0, 0], panels[0, -1]
    draw_reported(reported_panel)
    if shared:
        measured_panel.set_title("Reported by Li et al. 2022 (dots), measured here (stars)")
    else:
        measured_panel.set_xscale("log")
        measured_panel.margins(x=0.25, y=0.15)
        measured_panel.set_ylabel(f"{score_of(runs)} (%), measured here, {boxes} boxes")
        data = runs.iloc[0]
        measured_panel.set_title(f"Measured here: {data['dataset']}, {data['input']}")
    draw_measured(measured_panel, runs, complexity, sheet)
    star = _dot("*", STAR, "")
    star.set(markersize=11, markeredgecolor=style.INK, markeredgewidth=0.7)
    text = f"measured here (number: ablation order): {describe(runs)}, {boxes} boxes"
    if not shared:
        text += "; not comparable with the reported numbers"
    figure.legend([star], [fill(text, 110)], loc="outside lower center")
    for axes in figure.axes:
        _parameter_axis(axes)
    return figure


def draw_reported(axes: Axes) -> None:
    """Every row of the paper's Table 2, with the gap that the paper sets out to cross."""
    table = reported.coco_val()
    table["name"] = [_name(row) for row in table.itertuples()]
    axes.set(xscale="log", xlim=(0.85, 140), ylabel="AP on COCO val2017 (%)")
    axes.set_title("Reported by Li et al. 2022")
    axes.margins(y=0.08)
    axes.add_patch(_gap(table))
    for name, sizes in table.groupby("name"):
        group, best = sizes["group"].iloc[0], sizes.loc[sizes["AP"].idxmax()]
        axes.plot(sizes["params_m"], sizes["AP"], color=COLOURS[group], lw=0.8)
        for row in sizes.itertuples():
            axes.scatter(
                *(row.params_m, row.AP), marker=MARKERS[row.input_h], color=COLOURS[group],
                s=70 if group == "ours" else 42, edgecolor="white", lw=0.7, zorder=3,
            )  # fmt: skip
        dx, dy, align = PLACES.get(name, RIGHT)
        axes.annotate(
            name, (best["params_m"], best["AP"]), (dx, dy), textcoords="offset points",
            ha=align, va="center", fontsize=7.5,
            color=style.RED if group == "ours" else style.INK,
            fontweight="bold" if group == "ours" else "normal",
        )  # fmt: skip
    labels = {"small": "small models", "large": "large models", "ours": "EEffPose, as reported"}
    handles = [_dot("o", COLOURS[group], label) for group, label in labels.items()]
    handles += [_dot(MARKERS[256], "none", "input 256x192"), _dot(MARKERS[384], "none", "384x288")]
    handles.append(Patch(color=style.PALE, label="the gap to cross"))
    axes.legend(handles=handles, loc="lower right")


def _name(row) -> str:
    if row.group == "ours" or row.method == row.backbone or "Hourglass" in row.method:
        return row.method
    own = row.backbone.startswith(row.method)
    return row.backbone if own else f"{row.method} ({row.backbone})"


def _gap(table: pd.DataFrame) -> Rectangle:
    """What no earlier model reaches: more AP than any small one with fewer parameters than the
    lightest large one that has it, up to the best large one.
    """
    small, large = (table[table["group"] == group] for group in ("small", "large"))
    floor, top = small["AP"].max(), large["AP"].max()
    lightest = large.loc[large["AP"] > floor, "params_m"].min()
    return Rectangle((0.01, floor), lightest - 0.01, top - floor, color=style.PALE, lw=0, zorder=0)


def draw_measured(axes: Axes, runs: pd.DataFrame, complexity: pd.DataFrame, sheet: Sheet) -> None:
    """A star per model at its mean over seeds, with the standard deviation as a bar.

    An order of the ablation is called as in the sheet, any other model by its name.
    """
    params = complexity.groupby("model")["params"].first() / 1e6
    unknown = sorted(set(runs["model"]) - set(params.index))
    if unknown:
        raise PoseError(f"complexity table: no row for {', '.join(unknown)}; rerun pose.complexity")
    models = runs.groupby("model")[score_of(runs)].agg(["mean", "std"]).join(params)
    axes.errorbar(
        models["params"], models["mean"], models["std"].fillna(0), fmt="*", ms=19,
        color=STAR, mec=style.INK, mew=0.7, ecolor=style.INK, elinewidth=0.8, zorder=4,
    )  # fmt: skip
    for model, row in models.iterrows():
        name = sheet.get(model, {}).get("order") or model
        inside = len(name) <= 2  # so short a name fits into its star
        axes.annotate(
            name, (row["params"], row["mean"]),
            (0, -0.5) if inside else (10, 0), textcoords="offset points", zorder=5,
            ha="center" if inside else "left", va="center", fontsize=7, fontweight="bold",
        )  # fmt: skip


def _dot(marker: str, colour: str, label: str, size: float = 6) -> Line2D:
    edge = style.GREY if colour == "none" else "white"
    return Line2D([], [], ls="", marker=marker, ms=size, mfc=colour, mec=edge, label=label)


def _parameter_axis(axes: Axes) -> None:
    axes.set_xlabel("parameters (million)")
    axes.xaxis.set_major_locator(FixedLocator([1, 2, 3, 4, 6, 8, 10, 20, 30, 40, 60, 100]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)
    figure = ap_against_params(
        read_metrics(options.metrics),
        read_complexity(options.complexity),
        read_sheet(options.models),
    )
    style.save(figure, options.output_dir, "figure1")


if __name__ == "__main__":
    main()
