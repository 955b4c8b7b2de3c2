"""How the trainings went: loss, speed, and the part of the time that they waited for data.

One line a run, in Figure 8's style where it is of an order of the ablation; of several seeds the
median, and a band from the lowest to the highest. Speed and waiting depend on the machine and on
what else it did; they belong to the report and to no result.
"""

from __future__ import annotations

from analysis.options import add_presentation
from pose.config.model_sheet import Sheet, read_sheet
from pose.support import cli
from pose.support.errors import PoseError, command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.training", __doc__)
    add_presentation(parser)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import style
from analysis.ablation import MARKERS, line_styles, orders_of
from analysis.results import load_curves

PANELS = {
    "loss": "training loss",
    "images_per_second": "images a second",
    "data_wait_share": "share of the time\nspent waiting for data",
}
OTHERS = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito's colours


def training_figure(curves: pd.DataFrame, sheet: Sheet) -> Figure:
    """The figure from the rows of :func:`analysis.results.load_curves`.

    Raises PoseError where there is no epoch.
    """
    if curves.empty:
        raise PoseError("no epoch in any training log: train at least one model first")
    curves = curves.astype({"epoch": int}).sort_values("epoch")
    looks = _looks(curves, sheet)
    figure, panels = plt.subplots(
        len(PANELS), 1, figsize=(7.2, 7.2), sharex=True, height_ratios=(1.6, 1, 1),
        layout="constrained",
    )  # fmt: skip
    for axes, (column, label) in zip(panels, PANELS.items(), strict=True):
        for run, look in looks.items():
            epochs = curves[curves["run"] == run].dropna(subset=[column]).groupby("epoch")
            style.plot_seeds(axes, epochs[column], label=run, **look)
        axes.set_ylabel(label)
        axes.margins(x=0.02)
    panels[0].set_yscale("log")
    panels[0].set_title(f"Trainings: {', '.join(sorted(curves['name'].unique()))}")
    panels[1].set_ylim(bottom=0)
    panels[2].set_ylim(0, 1)
    panels[2].set_xlabel("epoch (negative: warm-up)")
    panels[2].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, handlelength=3)
    return figure


def _looks(curves: pd.DataFrame, sheet: Sheet) -> dict[str, dict]:
    """How each run is drawn: as its order in Figure 8; another run of the order gets a marker."""
    styles, seen, others = line_styles(orders_of(sheet)), {}, iter(range(len(curves)))
    looks = {}
    for row in curves.drop_duplicates("run").sort_values("run").itertuples():
        if row.order in styles:
            looks[row.run] = styles[row.order] | {"marker": MARKERS[seen.get(row.order, 0) % 5]}
            seen[row.order] = seen.get(row.order, 0) + 1
        else:
            place = next(others)
            looks[row.run] = {
                "color": OTHERS[place % 5], "marker": MARKERS[place // 5 % 5], "linewidth": 1.4,
            }  # fmt: skip
        looks[row.run]["markersize"] = 3
    return looks


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)
    curves = load_curves(*options.places, models=options.models)
    figure = training_figure(curves, read_sheet(options.models))
    style.save(figure, options.output_dir, "training")


if __name__ == "__main__":
    main()
