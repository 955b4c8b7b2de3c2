"""One look for every figure, and how figures are saved."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from pandas.core.groupby import SeriesGroupBy
from scipy.optimize import isotonic_regression

from pose.support.files import write_file

RED, BLUE = "#c8102e", "#1f5fa8"
WITHOUT_DATE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
INK, GREY, PALE = "#222222", "#7a7a7a", "#ececec"
NAME = {"path_effects": [withStroke(linewidth=2, foreground="white")], "zorder": 5}
"""The look of a name that may lie on marks and lines."""

matplotlib.use("Agg")
plt.rcParams.update(
    {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same on every machine
        "font.size": 8,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 8.5,
        "axes.edgecolor": GREY,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e4e4e4",
        "grid.linewidth": 0.6,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "text.color": INK,
        "axes.labelcolor": INK,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "figure.constrained_layout.h_pad": 0.08,
        "figure.constrained_layout.w_pad": 0.08,
        "svg.hashsalt": "pose",  # with no date, the same data give the same bytes
    }
)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name.svg``, ``.pdf`` and ``.png`` into ``folder``, then close the figure."""
    save_as(figure, *(folder / f"{name}.{kind}" for kind in ("svg", "pdf", "png")))


def save_as(figure: Figure, *paths: Path, dpi: int = 200) -> None:
    """Write the figure in the format of each name, then close it; the same data, the same bytes."""
    for path in paths:
        kind, content = path.suffix[1:] or "png", BytesIO()
        figure.savefig(content, format=kind, dpi=dpi, metadata=WITHOUT_DATE.get(kind))
        write_file(path, content.getvalue())
    plt.close(figure)


def plot_seeds(axes: Axes, seeds: SeriesGroupBy, **look: object) -> Line2D:
    """Plot the median of each group, and a band from its lowest to its highest value."""
    middle = seeds.median()
    colour = look["color"]
    axes.fill_between(middle.index, seeds.min(), seeds.max(), color=colour, alpha=0.2, lw=0)
    return axes.plot(middle, **seen(middle, look))[0]


def seen(line: Sized, look: dict[str, object]) -> dict[str, object]:
    """The look of a line, with a mark where it is of a single point."""
    return look | {"marker": "o"} if len(line) == 1 else look


def spread(positions: Sequence[float], gap: float) -> np.ndarray:
    """The positions in 0..1 nearest to the given ones (least squares), at least ``gap`` apart."""
    values = np.asarray(positions, dtype=float)
    rank = np.argsort(values, kind="stable")
    steps = gap * np.arange(len(values))
    placed = np.empty_like(values)
    fitted = isotonic_regression(values[rank] - steps).x
    placed[rank] = np.clip(fitted, 0, 1 - steps[-1]) + steps
    return placed


def name_points(
    axes: Axes,
    points: Sequence[tuple[float, float, str, str]],
    gap: float,
    offset: float,
    rise: float = 0.0,
    **look: object,
) -> None:
    """Write names beside points: (x, y, name, colour), not nearer than ``gap`` to each other.

    ``gap`` and ``rise``, how much higher names are than their points, are fractions of the axes'
    height, ``offset`` to the right is in points, ``look`` the text's. The limits must be final.
    """
    axes.set_ylim(axes.get_ylim())  # settles the limits, which matplotlib does lazily
    pixels = axes.transData.transform([(x, y) for x, y, _, _ in points])
    heights = axes.transAxes.inverted().transform(pixels)[:, 1]
    for (x, y, name, colour), height in zip(points, spread(heights + rise, gap), strict=True):
        axes.annotate(
            name,
            (x, y),
            (offset, height),
            textcoords=("offset points", "axes fraction"),
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "alpha": 0.5},
            **NAME | {"fontweight": "bold"} | look,
        )
