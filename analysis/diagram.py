"""Diagrams of nets: boxes in rows by scale and in columns by order, and arrows between them.

Arrows that change the scale are coloured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, Patch

from analysis import style

UP, DOWN = "#c65102", style.BLUE
ARROWS = {style.INK: "within a scale", DOWN: "to a coarser scale", UP: "to a finer scale"}
SYMBOLS = {"add": "+", "mul": "×", "sigmoid": "σ"}  # noqa: RUF001
ROLES = {
    "trunk": ("#d5e4f3", "stage of the trunk"),
    "extended": ("#dedede", "extended convolutions"),
    "fusion": ("#f8d3d5", "fusion of scales"),
    "addup": ("#fbe7c6", "AddUp"),
    "mixup": ("#e4daf0", "MixUp"),
    "fixup": ("#d5e4f3", "FixUp"),
    "project": ("#e2eedd", "projection to heat maps"),
    "other": ("#e2eedd", "other layers"),
    "feature": ("white", "feature"),
}
"""What a box stands for: its colour, and what the legend says."""
ROW, MARGIN, TITLE = 0.56, 0.6, 0.45  # inches
BOX, CIRCLE = (0.42, 0.43), (0.24, 0.24)  # width and height in inches
NARROW, WIDE = 0.54, 0.8  # the least and the most inches of a column
BANDS = "#f4f4f4", "white"
WIDEST = 8.5  # inches of panels side by side


@dataclass(eq=False)
class Box:
    """What is drawn of a node, or of several together.

    ``shape``: channels, height and width. ``lane``: its place among those of one row and column.
    """

    text: str
    role: str
    shape: tuple[int, int, int]
    inputs: list[Box] = field(default_factory=list)
    column: int = 0
    lane: int = 0

    @property
    def size(self) -> tuple[int, int]:
        return self.shape[1:]

    @property
    def inches(self) -> tuple[float, float]:
        return CIRCLE if self.text in SYMBOLS.values() else BOX


class Panel(NamedTuple):
    """A net or a part of one."""

    title: str
    image: tuple[int, int]
    boxes: list[Box]

    @property
    def columns(self) -> int:
        return 1 + max(box.column for box in self.boxes)


def draw(panels: list[Panel]) -> Figure:
    """The panels side by side as far as they fit, with rows of the same scale at one height."""
    lines: list[list[Panel]] = [[]]
    for panel in panels:
        if lines[-1] and _inches([*lines[-1], panel], NARROW) > WIDEST:
            lines.append([])
        lines[-1].append(panel)
    column = WIDE
    while column > NARROW and max(_inches(line, column) for line in lines) > WIDEST:
        column -= 0.01
    rows = [_rows(line) for line in lines]
    width = max(_inches(line, column) for line in lines)
    handles = _handles(panels)
    entries = int(width / 1.3)  # in a row of the legend
    legend = 0.25 + 0.17 * -(-len(handles) // entries)
    height = legend + sum(TITLE + ROW * sum(lanes.values()) for lanes in rows)
    figure = plt.figure(figsize=(width, height))
    top = height
    for line, lanes in zip(lines, rows, strict=True):
        tall, left = ROW * sum(lanes.values()), MARGIN
        top -= TITLE + tall
        for panel in line:
            wide = column * panel.columns
            place = left / width, top / height, wide / width, tall / height
            _draw_panel(figure.add_axes(place), panel, lanes, (column, ROW))
            left += wide + MARGIN
    figure.legend(handles=handles, loc="lower center", ncols=entries, fontsize=7)
    return figure


def _inches(line: list[Panel], column: float) -> float:
    return sum(MARGIN + column * panel.columns for panel in line) + 0.1


def _handles(panels: list[Panel]) -> list[Line2D | Patch]:
    boxes = [box for panel in panels for box in panel.boxes]
    changes = {_colour(source, box) for box in boxes for source in box.inputs}
    arrows = [
        Line2D([], [], color=colour, lw=1.2, label=text)
        for colour, text in ARROWS.items()
        if colour in changes
    ]
    drawn = {box.role for box in boxes if box.inches == BOX}
    return arrows + [
        Patch(fc=colour, ec=style.GREY, lw=0.6, label=text)
        for role, (colour, text) in ROLES.items()
        if role in drawn and role != "feature"
    ]


def _rows(panels: list[Panel]) -> dict[tuple[int, int], int]:
    """How many lanes the row of each size has, finest first; gives every box its lane."""
    lanes: dict[tuple[int, int], int] = {}
    for panel in panels:
        taken: Counter[Hashable] = Counter()
        for box in panel.boxes:
            box.lane = taken[box.size, box.column]
            taken[box.size, box.column] += 1
            lanes[box.size] = max(lanes.get(box.size, 1), box.lane + 1)
    return dict(sorted(lanes.items(), reverse=True))


def _draw_panel(
    axes: Axes, panel: Panel, lanes: dict[tuple[int, int], int], unit: tuple[float, float]
) -> None:
    """``unit``: width of a column and height of a lane, in inches, which are the axes' units."""
    tops, below = {}, 0
    for size, count in lanes.items():
        axes.axhspan(below, below + count, color=BANDS[len(tops) % 2], lw=0)
        tops[size], below = below, below + count
        _label_row(axes, below - count / 2, size, panel.image)
    axes.set(xlim=(0, panel.columns), ylim=(below, 0))
    axes.set_axis_off()
    axes.set_title(panel.title, fontsize=8, pad=4)
    together = Counter((box.size, box.column) for box in panel.boxes)
    centre: dict[Box, tuple[float, float]] = {}
    for box in panel.boxes:
        alone = together[box.size, box.column]
        y = tops[box.size] + lanes[box.size] * (box.lane + 0.5) / alone
        if alone == 1 and len(box.inputs) == 1 and box.inputs[0].size == box.size:
            y = centre[box.inputs[0]][1]  # straight on
        centre[box] = box.column + 0.5, y
    for box in panel.boxes:
        for source in box.inputs:
            _draw_arrow(axes, source, box, centre, unit)
        _draw_box(axes, box, centre[box], unit)


def _label_row(axes: Axes, y: float, size: tuple[int, int], image: tuple[int, int]) -> None:
    reduction = image[0] / size[0]
    axes.annotate(
        f"{'1' if reduction == 1 else f'1/{reduction:g}'}\n{size[0]}x{size[1]}",
        (0, y), (-5, 0), textcoords="offset points", annotation_clip=False,
        ha="right", va="center", fontsize=6.5, color=style.GREY,
    )  # fmt: skip


def _draw_box(axes: Axes, box: Box, centre: tuple[float, float], unit: tuple[float, float]) -> None:
    width, height = np.divide(box.inches, unit)
    if box.inches == CIRCLE:
        axes.add_patch(Ellipse(centre, width, height, fc="white", ec=style.INK, lw=0.8, zorder=3))
        axes.text(*centre, box.text, ha="center", va="center_baseline", fontsize=9, zorder=4)
        return
    corner = centre[0] - width / 2, centre[1] - height / 2
    axes.add_patch(
        FancyBboxPatch(
            corner,
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.06",
            fc=ROLES[box.role][0],
            ec=style.GREY,
            lw=0.6,
            zorder=3,
        )
    )
    text = "\n".join(filter(None, [box.text, str(box.shape[0])]))
    axes.text(*centre, text, ha="center", va="center", fontsize=6, linespacing=1.1, zorder=4)


def _draw_arrow(
    axes: Axes,
    source: Box,
    box: Box,
    centre: dict[Box, tuple[float, float]],
    unit: tuple[float, float],
) -> None:
    """Up and down beside one another; past what lies between, along its side or over it."""
    (x0, y0), (x1, y1) = start, end = centre[source], centre[box]
    (w0, h0), (w1, h1) = np.divide(source.inches, unit) / 2, np.divide(box.inches, unit) / 2
    between = [
        other for other, (x, y) in centre.items()
        if (x0 == x == x1 and min(y0, y1) < y < max(y0, y1))
        or (y0 == y == y1 and x0 < x < x1)
    ]  # fmt: skip
    down = 1 if y1 > y0 else -1
    bend = 0.0
    if x0 == x1 and between:
        start, end = (x0 + down * w0, y0), (x1 + down * w1, y1)
        bend = -2 * 0.09 / (abs(y1 - y0) * unit[1])
    elif x0 == x1:
        start, end = (x0 + down * 0.1, y0 + down * h0), (x1 + down * 0.1, y1 - down * h1)
    elif between:
        start, end = (x0 + w0 / 2, y0 - h0), (x1 - w1 / 2, y1 - h1)
        bend = -2 * 0.12 / ((x1 - x0 - w0 / 2 - w1 / 2) * unit[0])
    else:
        start, end = (x0 + w0, y0), (x1 - w1, y1)
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=5,
            lw=0.8,
            shrinkA=0,
            shrinkB=0,
            color=_colour(source, box),
            zorder=2,
            connectionstyle=f"arc3,rad={bend:.3f}",
        )
    )


def _colour(source: Box, box: Box) -> str:
    if source.size == box.size:
        return style.INK
    return DOWN if source.size > box.size else UP
