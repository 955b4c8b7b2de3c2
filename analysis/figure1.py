"""Figure 1: AP against parameters, multiply-adds and latency, as reported and as measured here.

Marks tell the input's size. Measured runs stand among the reported ones only where both are on
the whole of the same val set; every other val set has panels of its own, so that numbers that may
not be compared never meet. Of several seeds the mark is the mean and the bar reaches from the
lowest to the highest. Latency is that of ``latency.csv`` beside the runs, of one device: that on
which most models were timed. ``figure1_today`` shows what projects report since 2022.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from analysis.options import add_presentation
from pose.support import cli
from pose.support.errors import command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.figure1", __doc__)
    add_presentation(parser)
    return parser


cli.answer_early(__name__, command_line)

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analysis import reported, style
from analysis.figure1_rows import (
    LATENCY,
    MPII,
    TABLES,
    not_drawn,
    summarised,
    timed,
    with_costs,
)
from analysis.results import PCKH, load_latencies, load_results

COLOURS = {"small": "#9db4c8", "large": "#56616c", "other": "#71808e", "ours": style.RED}
GROUPS = {
    **{"small": "small models", "large": "large models", "other": "other models"},
    "ours": "EffBase and EEffPose",
}
MARKERS = {"256x192": "o", "384x288": "s", "256x256": "D", "384x384": "P"}
OTHERS = "^v<>Xph*"  # of further inputs
GOLD = "#f2a900"
AXES = {"params_m": "parameters (million)", "gmacs": "GMACs (fvcore), counted here"}
# Where a name stands: offset in points from the model's best point, and its alignment there.
RIGHT, LEFT = (7, 0, "left"), (-7, 0, "right")
ABOVE, BELOW = (0, 8, "center"), (0, -9, "center")
NAMES = {
    "params_m": {
        "LiteHRNet-30": BELOW,
        "DANet-72": LEFT,
        "DANet-102": ABOVE,
        "LPN (ResNet-152)": ABOVE,
        "EEffPose-P0": LEFT,
        "EEffPose-P2": ABOVE,
        "EffBase": LEFT,
        "HRNet-W32": ABOVE,
        "HRNet-W48": ABOVE,
        "SimpleBaseline (ResNet-152)": BELOW,
    },
    "gmacs": {
        "DANet-72": ABOVE,
        "LiteHRNet-30": BELOW,
        "EffBase": LEFT,
        "EEffPose-P0": LEFT,
        "EEffPose-P2": ABOVE,
        "HRNet-W32": LEFT,
        "SimpleBaseline (ResNet-50)": BELOW,
        "SimpleBaseline (ResNet-152)": BELOW,
    },
    MPII: {
        **{"EEffPose-P0": LEFT, "EEffPose-P2": ABOVE, "HRNet-W32": BELOW},
        **{"HRNet-W48": ABOVE, "EfficientPose IV": BELOW},
    },
    "today": dict.fromkeys(("EEffPose-P0", "EEffPose-P2"), (6, -9, "left")),
}


def main_figure(results: pd.DataFrame, latencies: pd.DataFrame) -> Figure:
    """The figure from the rows of :func:`load_results` and :func:`load_latencies`."""
    runs = summarised(results)
    runs[LATENCY], place = timed(runs, latencies)
    labels = AXES | {LATENCY: f"latency of one image (ms) {place}"}
    sets = {"COCO val2017": runs[:0], **dict(list(runs.groupby("val_set")))}
    papers = {name: with_costs(name) for name in sets if name in TABLES}
    sizes = [size for table in (runs, *papers.values()) for size in table["input"]]
    markers = _markers(sizes)
    rows, heights = [], []
    for name in sets:  # the names of the paper's models need the whole width
        own = [f"{name}|{cost}" for cost in (labels if len(sets[name]) else AXES)]
        rows += [[panel] * 3 for panel in own] if name in papers else [own]
        heights += [3.3, 3.3, 2.4][: len(own)] if name in papers else [2.4]
    figure, panels = plt.subplot_mosaic(
        rows, figsize=(7.2, 0.9 + sum(heights)), height_ratios=heights, layout="constrained"
    )
    for panel, axes in panels.items():
        name, cost = panel.split("|")
        if name in papers and cost in AXES:
            _gap_and_limits(axes, papers[name], cost)
            draw_reported(axes, papers[name], cost, markers, NAMES[MPII if name == MPII else cost])
        draw_measured(axes, sets[name], cost, markers)
        _cost_axis(axes, textwrap.fill(labels[cost], 80 if name in papers else 20))
        if cost == LATENCY and sets[name][cost].isna().all():
            axes.set(xticks=[], yticks=[])
            axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
        axes.set_ylabel(f"{PCKH if name == MPII else 'AP'} (%)")
        if cost == "params_m":
            axes.set_title(name if name in papers else f"Measured here alone: {name}")
    figure.legend(
        handles=_handles(runs, papers.values(), markers), loc="outside lower center", ncols=3,
        title=not_drawn(results, runs),
    )  # fmt: skip
    return figure


def draw_reported(
    axes: Axes, table: pd.DataFrame, cost: str, markers: dict[str, str], places: dict[str, tuple]
) -> None:
    """The paper's models by their names; one at two inputs is joined by a line."""
    for name, sizes in table.dropna(subset=[cost]).groupby("name"):
        group, best = sizes["group"].iloc[0], sizes.loc[sizes["score"].idxmax()]
        axes.plot(sizes[cost], sizes["score"], color=COLOURS[group], lw=0.8)
        for row in sizes.itertuples():
            axes.scatter(
                *(getattr(row, cost), row.score), marker=markers[row.input], color=COLOURS[group],
                s=62 if group == "ours" else 36, edgecolor="white", lw=0.7,
                zorder=6 if group == "ours" else 3,
            )  # fmt: skip
        dx, dy, align = places.get(name, RIGHT)
        axes.annotate(
            name, (best[cost], best["score"]), (dx, dy), textcoords="offset points",
            ha=align, va="center", fontsize=6.5,
            color=style.RED if group == "ours" else style.INK,
            fontweight="bold" if group == "ours" else "normal", **style.NAME,
        )  # fmt: skip


def _gap_and_limits(axes: Axes, table: pd.DataFrame, cost: str) -> None:
    """What no earlier model reaches: more AP than any small one at a lower cost than the lightest
    large one that has it, up to the best large one. The axis leaves room for names.
    """
    axes.set(xscale="log", xlim=(table[cost].min() / 1.4, table[cost].max() * 2.2))
    small, large = (table[table["group"] == group] for group in ("small", "large"))
    if len(small):
        floor, top = small["score"].max(), large["score"].max()
        lightest = large.loc[large["score"] > floor, cost].min()
        size = lightest - 1e-3, top - floor
        axes.add_artist(Rectangle((1e-3, floor), *size, color=style.PALE, lw=0, zorder=0))


def draw_measured(axes: Axes, runs: pd.DataFrame, cost: str, markers: dict[str, str]) -> None:
    """A mark per model, input and protocol, called by the ablation's order or else by its name."""
    for row in runs.dropna(subset=[cost]).itertuples():
        x = getattr(row, cost)
        axes.errorbar(
            *(x, row.mean), [[row.mean - row.low], [row.high - row.mean]], fmt=markers[row.input],
            ms=9.5, alpha=0.9, color=GOLD, mec=style.INK, mew=0.7, ecolor=style.INK,
            elinewidth=1, zorder=4,
        )  # fmt: skip
        name = row.model if pd.isna(row.order) else row.order
        inside = len(name) <= 2  # so short a name fits into its mark
        axes.annotate(
            name, (x, row.mean), (0, 0) if inside else (8, 0), textcoords="offset points",
            ha="center" if inside else "left", va="center_baseline" if inside else "center",
            fontsize=6.5, fontweight="bold", zorder=5,
        )  # fmt: skip


def today_figure() -> Figure:
    """EEffPose and EffBase among what projects report on COCO val2017 since 2022.

    Hollow marks were trained on more than COCO. The line is the front: no model trained on COCO
    alone has more AP at a lower cost.
    """
    table = reported.since_2022().rename(columns={"ap": "score"})
    table["coco"] = table["extra_data"].str.startswith("none")
    paper = with_costs("COCO val2017")
    ours = paper[paper["group"] == "ours"]
    markers = _markers(table["input"])
    figure, panels = plt.subplots(2, 1, figsize=(7.2, 8.2), layout="constrained")
    for axes, (cost, label) in zip(panels, AXES.items(), strict=True):
        label = (
            label if cost == "params_m" else "GMACs, as each project counts; EEffPose's by fvcore"
        )
        known = table.dropna(subset=[cost])
        _gap_and_limits(axes, paper, cost)
        axes.set_xlim(known[cost].min() / 7, known[cost].max() * 1.5)
        for row in known.itertuples():
            axes.scatter(
                *(getattr(row, cost), row.score), marker=markers[row.input], s=26, zorder=3,
                fc=COLOURS["large"] if row.coco else "none", ec=COLOURS["large"], lw=0.8,
            )  # fmt: skip
        front = _front(pd.concat([known[known["coco"]], ours.assign(model=ours["name"])]), cost)
        axes.plot(front[cost], front["score"], color=style.BLUE, lw=1, drawstyle="steps-post")
        _cost_axis(axes, label)
        named = front[~front["model"].isin(ours["name"])]
        places = named[[cost, "score", "model"]].itertuples(index=False, name=None)
        style.name_points(
            axes, [(*point, _short(name), style.BLUE) for *point, name in places], 0.036, -16,
            rise=0.045,
            fontsize=6.5, fontweight="normal", ha="right",
        )  # fmt: skip
        draw_reported(axes, ours, cost, markers, NAMES["today"])
        axes.set_ylabel("AP on COCO val2017, detector's boxes (%)")
    panels[0].set_title("Reported by the projects themselves since 2022")
    handles = [
        _mark(COLOURS["large"], "trained on COCO alone (backbones pretrained)"),
        Line2D([], [], ls="", marker="o", mfc="none", mec=COLOURS["large"], label="with more data"),
        _mark(style.RED, GROUPS["ours"] + ", as reported in 2022"),
        Patch(color=style.PALE, label="the gap of 2022"),
        Line2D([], [], color=style.BLUE, label="front of what COCO alone gives"),
        *(_mark("none", f"input {size}", markers[size]) for size in dict.fromkeys(table["input"])),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _short(name: str) -> str:
    return name.removeprefix("SimpleBaseline head ").removesuffix(" (mmpose)")


def _front(table: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The rows with a higher score than every row of lower or equal cost."""
    table = table.sort_values([cost, "score"], ascending=[True, False])
    return table[table["score"] > table["score"].cummax().shift(fill_value=0)]


def _markers(sizes: Iterable[str]) -> dict[str, str]:
    further = [size for size in dict.fromkeys(sizes) if size not in MARKERS]
    return MARKERS | {size: OTHERS[k % len(OTHERS)] for k, size in enumerate(further)}


def _handles(
    runs: pd.DataFrame, papers: Iterable[pd.DataFrame], markers: dict[str, str]
) -> list[Line2D | Patch]:
    groups = {group for table in papers for group in table["group"]}
    sizes = [size for table in (*papers, runs) for size in table["input"]]
    handles = [
        _mark(COLOURS[group], f"{text}, as reported")
        for group, text in GROUPS.items()
        if group in groups
    ]
    handles.append(Patch(color=style.PALE, label="the gap to cross"))
    if len(runs):
        text = "measured here (number: ablation order)"
        handles.append(_mark(GOLD, text, edge=style.INK))
    handles += [_mark("none", f"input {size}", markers[size]) for size in dict.fromkeys(sizes)]
    return handles


def _mark(colour: str, label: str, marker: str = "o", edge: str = "white") -> Line2D:
    edge = style.GREY if colour == "none" else edge
    return Line2D([], [], ls="", marker=marker, ms=6, mfc=colour, mec=edge, label=label)


def _cost_axis(axes: Axes, label: str) -> None:
    axes.set(xscale="log", xlabel=label)
    axes.margins(x=0.13, y=0.1)
    low, high = axes.get_xlim()
    subs = (1, 2, 5) if high > 4 * low else (1, 1.5, 2, 3, 4, 5, 6, 8)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)
    results = load_results(*options.places, models=options.models)
    figure = main_figure(results, load_latencies(*options.places))
    style.save(figure, options.output_dir, "figure1")
    style.save(today_figure(), options.output_dir, "figure1_today")


if __name__ == "__main__":
    main()
