"""Figure 8: how the eight orders converge, and how the plateau schedule lowers the learning rate.

The paper's code: a line is solid with the MEMe backbone (else dotted), thick with the MEMe neck
(else thin) and red with the MEMe head (else blue). Runs of other seeds are drawn pale.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from analysis import reported, style
from analysis.results import read_logs, score_of
from pose.support import cli
from pose.support.errors import PoseError, command

REDS = {4: "#f0807a", 7: "#e0443e", 5: "#d01c2a", 8: "#8f0b1e"}
BLUES = {1: "#7fb2dd", 2: "#4a90cf", 3: "#2a6db4", 6: "#123f7d"}
LEGEND_ORDER = (1, 4, 2, 7, 3, 5, 6, 8)  # by column: the two heads on the same backbone and neck
DODGE_ORDER = (1, 3, 2, 6, 4, 5, 7, 8)  # thin beside thick
DODGE = 1.9  # points between coincident learning rates: half a thin and half a thick line


def line_style(order: int) -> dict[str, object]:
    """Matplotlib's line arguments for an order, by the paper's rule."""
    switches = reported.ablation().loc[order]
    return {
        "linestyle": "-" if switches.meme_backbone else (0, (1, 1.3)),
        "linewidth": 2.6 if switches.meme_neck else 1.2,
        "color": (REDS if switches.meme_head else BLUES)[order],
        "dash_capstyle": "butt",
    }


def parts(order: int) -> str:
    """``"neck + head"``: the MEMe parts of an order."""
    switches = reported.ablation().loc[order, list(reported.SWITCHES)]
    return " + ".join(name.removeprefix("meme_") for name in switches.index[switches]) or "baseline"


def draw(logs: pd.DataFrame) -> Figure:
    """The figure from the rows of :func:`analysis.results.read_logs`."""
    logs = logs.dropna(subset="order")
    if logs.empty:
        raise PoseError("no training log of an EEffPose-P0 order: train at least one of them")
    score = score_of(logs)
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(7.2, 6.8), sharex=True, height_ratios=(1.6, 1), layout="constrained"
    )
    bottom.set_yscale("log")
    for axes, column in ((top, score), (bottom, "lr")):
        _lines(axes, logs, column)
        _warmup(axes, int(logs["epoch"].min()))
    top.set_ylim(bottom=0)
    bottom.margins(y=0.12)
    for axes, column, gap in ((top, score, 0.045), (bottom, "lr", 0.075)):
        style.name_points(axes, _ends(logs, column), gap, offset=18)
    top.set_ylabel(f"val {score} (%)")
    top.set_title(f"Convergence of the ablation orders: {', '.join(logs['name'].unique())}")
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("epoch (negative: warm-up)")
    bottom.set_title("Learning rate (coincident lines are drawn side by side)")
    run = sorted(logs["order"].unique(), key=LEGEND_ORDER.index)
    handles = [
        Line2D([], [], label=f"{order}: {parts(order)}", **line_style(order)) for order in run
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, handlelength=3.2,
        title="order: parts replaced by MEMe's (solid: backbone; thick: neck; red: head)",
    )  # fmt: skip
    return figure


def _lines(axes: Axes, logs: pd.DataFrame, column: str) -> None:
    first = logs["seed"].min()
    stack = sorted(logs["order"].unique(), key=DODGE_ORDER.index)
    for (order, seed), run in logs.sort_values("epoch").groupby(["order", "seed"]):
        (line,) = axes.plot(
            *(run["epoch"], run[column]), label=f"order {order}, seed {seed}",
            alpha=1 if seed == first else 0.25, **line_style(order),
        )  # fmt: skip
        if column == "lr":
            line.set_drawstyle("steps-mid")
            up = ((len(stack) - 1) / 2 - stack.index(order)) * DODGE / 72
            inches = axes.figure.dpi_scale_trans
            line.set_transform(axes.transData + ScaledTranslation(0, up, inches))


def _warmup(axes: Axes, first_epoch: int) -> None:
    if first_epoch < 0:
        axes.axvspan(first_epoch - 0.5, -0.5, color=style.PALE, lw=0, zorder=0)
    axes.margins(x=0.01)


def _ends(logs: pd.DataFrame, column: str) -> list[tuple[float, float, str, str]]:
    first = logs[logs["seed"] == logs["seed"].min()].sort_values("epoch")
    last = (
        first.groupby("order")
        .tail(1)
        .sort_values("order", key=lambda orders: orders.map(DODGE_ORDER.index), ascending=False)
    )
    return [
        (row["epoch"], row[column], str(row["order"]), line_style(row["order"])["color"])
        for _, row in last.iterrows()
    ]


@command
def main(arguments: list[str] | None = None) -> None:
    parser = cli.parser("analysis.figure8", __doc__)
    parser.add_argument(
        "--logs", type=Path, nargs="+", required=True, help="<model>/seed<k>/training.jsonl"
    )
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    options = parser.parse_args(arguments)
    style.save(draw(read_logs(options.logs)), options.output_dir, "figure8")


if __name__ == "__main__":
    main()
