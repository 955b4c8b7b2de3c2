"""Figure 8: how the orders of the ablation converge, and how the learning rate falls.

Lines follow the paper's code (:mod:`analysis.ablation`). Runs of other seeds are drawn pale.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from analysis import style
from analysis.ablation import (
    by_backbone_and_neck,
    by_head,
    line_styles,
    orders_of,
    parts,
    with_orders,
)
from analysis.results import read_logs, score_of
from pose.config.model_sheet import FILE, Sheet, read_sheet
from pose.support import cli
from pose.support.errors import PoseError, command

DODGE = 1.9  # points between coincident learning rates: half a thin and half a thick line


def convergence_figure(logs: pd.DataFrame, sheet: Sheet) -> Figure:
    """The figure from the rows of :func:`analysis.results.read_logs`.

    Raises PoseError if none is of an order of the ablation.
    """
    logs, orders = with_orders(logs, sheet).sort_values("epoch"), orders_of(sheet)
    if logs.empty:
        raise PoseError("no training log of an order of the ablation: train at least one of them")
    score, styles = score_of(logs), line_styles(orders)
    orders = orders[orders.index.isin(logs["order"])]
    first = logs[logs["seed"] == logs.groupby("order")["seed"].transform("min")]
    ends = first.groupby("order").last().loc[by_head(orders)]
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(7.2, 6.8), sharex=True, height_ratios=(1.6, 1), layout="constrained"
    )
    bottom.set_yscale("log")
    for axes, column in ((top, score), (bottom, "lr")):
        for (order, seed), run in logs.groupby(["order", "seed"]):
            (line,) = axes.plot(
                *(run["epoch"], run[column]), label=f"order {order}, seed {seed}",
                alpha=1 if seed == ends.loc[order, "seed"] else 0.25, **styles[order],
            )  # fmt: skip
            if column == "lr":
                line.set_drawstyle("steps-mid")
                up = ((len(ends) - 1) / 2 - ends.index.get_loc(order)) * DODGE / 72
                inches = figure.dpi_scale_trans
                line.set_transform(axes.transData + ScaledTranslation(0, up, inches))
        _warmup(axes, int(logs["epoch"].min()))
    top.set_ylim(bottom=0)
    bottom.margins(y=0.12)
    for axes, column, gap in ((top, score, 0.045), (bottom, "lr", 0.075)):
        points = [
            (row["epoch"], row[column], order, styles[order]["color"])
            for order, row in ends[::-1].iterrows()
        ]
        style.name_points(axes, points, gap, offset=18)
    top.set_ylabel(f"val {score} (%)")
    top.set_title(f"Convergence of the ablation orders: {', '.join(logs['name'].unique())}")
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("epoch (negative: warm-up)")
    bottom.set_title("Learning rate (coincident lines are drawn side by side)")
    handles = [
        Line2D([], [], label=f"{order}: {parts(orders.loc[order])}", **styles[order])
        for order in by_backbone_and_neck(orders)
    ]
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(4, 130 // (longest + 7)))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, handlelength=3.2,
        title="order: parts replaced by MEMe's (solid: backbone; thick: neck; red: head)",
    )  # fmt: skip
    return figure


def _warmup(axes: Axes, first_epoch: int) -> None:
    if first_epoch < 0:
        axes.axvspan(first_epoch - 0.5, -0.5, color=style.PALE, lw=0, zorder=0)
    axes.margins(x=0.01)


@command
def main(arguments: list[str] | None = None) -> None:
    parser = cli.parser("analysis.figure8", __doc__)
    parser.add_argument(
        "--logs", type=Path, nargs="+", required=True, help="<run>/seed<k>/training.jsonl"
    )
    parser.add_argument("--models", type=Path, default=FILE, help="default: config/models.tsv")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    options = parser.parse_args(arguments)
    figure = convergence_figure(read_logs(options.logs), read_sheet(options.models))
    style.save(figure, options.output_dir, "figure8")


if __name__ == "__main__":
    main()
