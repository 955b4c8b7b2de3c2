"""Figure 8: how the orders of the ablation converge, and how the learning rate falls.

Lines follow the paper's code (:mod:`analysis.ablation`). Of several seeds the line is the median,
and the band reaches from the lowest to the highest. Orders of the same rate share a line.
"""

from __future__ import annotations

from analysis.options import add_presentation
from pose.config.model_sheet import Sheet, read_sheet
from pose.support import cli
from pose.support.errors import PoseError, command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.figure8", __doc__)
    add_presentation(parser)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis import style
from analysis.ablation import (
    absent,
    by_backbone_and_neck,
    by_head,
    line_styles,
    orders_of,
    parts,
    with_orders,
)
from analysis.results import PCKH, load_curves

SHARED = {"color": style.GREY, "linewidth": 1.6}  # the rate of several orders


def convergence_figure(logs: pd.DataFrame, sheet: Sheet) -> Figure:
    """The figure from the rows of :func:`analysis.results.load_curves`.

    Of several data sets and inputs it shows the one on which most orders were trained. Raises
    PoseError if there is no order of the ablation.
    """
    logs, orders = with_orders(logs, sheet), orders_of(sheet)
    if logs.empty:
        raise PoseError("no training log of an order of the ablation: train at least one of them")
    setting = logs["dataset"].fillna("") + " " + logs["input"].fillna("")
    largest = logs.groupby(setting)["order"].nunique().idxmax()
    logs = logs[setting == largest].astype({"epoch": int}).sort_values("epoch")
    score, styles = PCKH if logs[PCKH].notna().any() else "AP", line_styles(orders)
    orders = orders[orders.index.isin(logs["order"])]
    runs = {order: logs[logs["order"] == order].groupby("epoch") for order in by_head(orders)}
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(7.2, 6.4), sharex=True, height_ratios=(1.8, 1), layout="constrained"
    )
    ends = []
    for order, epochs in runs.items():
        line = style.plot_seeds(top, epochs[score], label=order, **styles[order])
        ends.append((*line.get_xydata()[-1], order, styles[order]["color"]))
    top.set_ylim(bottom=0)
    style.name_points(top, ends[::-1], 0.045, offset=18)
    rates = shared({order: epochs["lr"].median() for order, epochs in runs.items()})
    _draw_rates(bottom, rates, styles, list(orders.index))
    for axes in (top, bottom):
        _epoch_axis(axes, logs["epoch"].min(), logs["epoch"].max())
    top.set_ylabel(f"val {score} (%)")
    seeds = logs["seed"].nunique()
    of_seeds = f"; {seeds} seeds: median and range" if seeds > 1 else ""
    names = ", ".join(sorted(logs["name"].unique()))
    top.set_title(f"Convergence of the orders: {names} ({largest.strip()}{of_seeds})")
    bottom.set_xlabel("epoch (negative: warm-up)")
    handles = [
        Line2D([], [], label=f"{order}: {parts(orders.loc[order])}", **styles[order])
        for order in by_backbone_and_neck(orders)
    ]
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(4, 130 // (longest + 7)))
    title = "order: parts replaced by MEMe's (solid: backbone; thick: neck; red: head)"
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, handlelength=3.2,
        title="\n".join(filter(None, [title, absent(orders.index, sheet)])),
    )  # fmt: skip
    return figure


def shared(rates: dict[str, pd.Series]) -> dict[tuple[str, ...], pd.Series]:
    """Each course of the learning rate once, by the orders whose it is.

    A training that has not come as far as another belongs to it if it is equal so far.
    """
    groups: list[tuple[list[str], pd.Series]] = []
    for order in sorted(rates, key=lambda order: -len(rates[order])):
        rate = rates[order]
        for orders, other in groups:
            if rate.equals(other.reindex(rate.index)):
                orders.append(order)
                break
        else:
            groups.append(([order], rate))
    return {tuple(orders): rate for orders, rate in groups}


def _draw_rates(
    axes: Axes, rates: dict[tuple[str, ...], pd.Series], styles: dict[str, dict], orders: list[str]
) -> None:
    """A line for each of the ``rates``, of one or of several of the ``orders`` that are shown."""
    ends = []
    for together, rate in rates.items():
        look = styles[together[0]] if len(together) == 1 else SHARED
        is_all = len(together) == len(orders) > 1
        name = "all" if is_all else ", ".join(sorted(together, key=orders.index))
        (line,) = axes.plot(rate, label=name, drawstyle="steps-mid", **style.seen(rate, look))
        ends.append((*line.get_xydata()[-1], name, look["color"]))
    axes.set_yscale("log")
    axes.margins(y=0.15)
    style.name_points(axes, ends[::-1], 0.09, offset=18)
    axes.set_ylabel("learning rate")
    axes.set_title(
        "Learning rate" + (" (grey: of several orders)" if len(rates) < len(orders) else "")
    )


def _epoch_axis(axes: Axes, first: int, last: int) -> None:
    """Whole epochs, with the warm-up in grey."""
    axes.set_xlim(first - 0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if first < 0:
        axes.axvspan(first - 0.5, -0.5, color=style.PALE, lw=0, zorder=0)


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)
    logs = load_curves(*options.places, models=options.models)
    figure = convergence_figure(logs, read_sheet(options.models))
    style.save(figure, options.output_dir, "figure8")


if __name__ == "__main__":
    main()
