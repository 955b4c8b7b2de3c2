"""How the trainings went: loss, speed, and the part of the time that they waited for data.

One line a run; runs of other seeds are drawn pale. Speed and waiting depend on the machine and on
what else it did; they belong to the report and to no result.
"""

from __future__ import annotations

from pathlib import Path

from pose.support import cli
from pose.support.errors import command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.training", __doc__)
    parser.add_argument(
        "--logs", type=Path, nargs="+", required=True, help="<run>/seed<k>/performance.jsonl"
    )
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import style
from analysis.results import read_performance

PANELS = {
    "loss": "training loss",
    "images_per_second": "images a second",
    "data_wait_share": "share of the time\nspent waiting for data",
}


def training_figure(performance: pd.DataFrame) -> Figure:
    """The figure from the rows of :func:`analysis.results.read_performance`."""
    epochs = performance[performance["event"] == "epoch"].sort_values("epoch")
    names = sorted(epochs["run"].unique())
    colours = {name: colormaps["turbo"]((k + 0.5) / len(names)) for k, name in enumerate(names)}
    figure, panels = plt.subplots(
        len(PANELS), 1, figsize=(7.2, 8), sharex=True, height_ratios=(1.6, 1, 1),
        layout="constrained",
    )  # fmt: skip
    first = epochs["seed"].min()
    for axes, (column, label) in zip(panels, PANELS.items(), strict=True):
        for (name, seed), run in epochs.groupby(["run", "seed"]):
            axes.plot(
                *(run["epoch"], run[column]), color=colours[name], lw=1.4, marker="o", ms=2,
                alpha=1 if seed == first else 0.3, label=name if seed == first else None,
            )  # fmt: skip
        axes.set_ylabel(label)
        axes.margins(x=0.02)
    panels[0].set_yscale("log")
    panels[0].set_title(f"Trainings: {', '.join(epochs['name'].unique())}")
    panels[1].set_ylim(bottom=0)
    panels[2].set_ylim(0, 1)
    panels[2].set_xlabel("epoch (negative: warm-up)")
    panels[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)
    style.save(training_figure(read_performance(options.logs)), options.output_dir, "training")


if __name__ == "__main__":
    main()
