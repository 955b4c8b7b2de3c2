"""Figure 9: the heat maps of each scale and the final ones, by order, for one person.

Reads what ``pose.maps`` wrote. A row is a keypoint: knees and ankles as in the paper, where the
data set has them. Maps of all scales are shown at the crop's size, in one scale of colours; right
the person under the greatest of all keypoints' final maps. A circle is where the keypoint is
annotated.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pose.config.model_sheet import FILE, Sheet, read_sheet, switches
from pose.support import cli
from pose.support.errors import PoseError, command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.figure9", __doc__)
    parser.add_argument("--maps", type=Path, required=True, help="what pose.maps wrote")
    parser.add_argument("--models", type=Path, default=FILE, help="default: config/models.tsv")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    return parser


cli.answer_early(__name__, command_line)

import cv2
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from analysis import style
from analysis.ablation import parts

CHOSEN = ("knee", "ankle")
FEWEST = 4  # keypoints that are shown
COLOURS = colormaps["inferno"]
CELL, LABEL, HEAD = 0.38, 0.55, 0.42  # inches: width of a map, names, titles
OVERLAY = 3  # times the size of a map


@dataclass(frozen=True)
class Net:
    """A net's maps (K, h, w), by scale and last the final ones."""

    model: str
    maps: list[np.ndarray]


@dataclass(frozen=True)
class Person:
    """A crop (H, W, 3) RGB with joints (K, 2) in its pixels, and what the nets make of it."""

    crop: np.ndarray
    joints: np.ndarray
    visible: np.ndarray
    names: list[str]
    text: str
    nets: list[Net]


def read_maps(file: Path) -> Person:
    """What ``pose.maps`` wrote; PoseError for another file."""
    try:
        with np.load(file) as arrays:
            about = json.loads(str(arrays["about"]))
            nets = [
                Net(
                    net["model"],
                    [arrays[f"maps_{n}_{k}"].astype(float) for k in range(net["maps"])],
                )
                for n, net in enumerate(about["nets"])
            ]
            text = f"{about['dataset']}, image {about['image']}, person {about['person']}"
            own = (arrays[name] for name in ("crop", "joints", "visible"))
            return Person(*own, about["keypoints"], text, nets)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        # numpy takes any bytes for a pickle, and advises to load it unsafely.
        reason = "no .npz file" if "pickle" in str(error) else error
        raise PoseError(
            f"{file}: not heat maps ({reason}); make them by python -m pose.maps"
        ) from None


def heat_map_figure(person: Person, sheet: Sheet) -> Figure:
    """The figure: the nets two in a row, each with a column a scale and one for the final maps."""
    chosen = _chosen(person.names)
    tall = CELL * person.crop.shape[0] / person.crop.shape[1]
    columns = max(len(net.maps) for net in person.nets)
    across, down = min(2, len(person.nets)), -(-len(person.nets) // 2)
    block = LABEL + CELL * (columns + OVERLAY) + 0.25, HEAD + tall * len(chosen)
    width, height = across * block[0], down * block[1] + 0.55
    figure = plt.figure(figsize=(width, height))

    def axes_at(left: float, top: float, scale: float = 1) -> Axes:
        box = left, height - top - scale * tall, 0.95 * scale * CELL, 0.95 * scale * tall
        axes = figure.add_axes(np.divide(box, (width, height, width, height)))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.grid(False)
        return axes

    for number, net in enumerate(person.nets):
        left, top = number % 2 * block[0] + LABEL, number // 2 * block[1] + HEAD
        place = (left - LABEL + 0.05) / width, 1 - (top - HEAD + 0.12) / height
        figure.text(*place, _title(net, sheet), fontsize=8, fontweight="bold", va="top")
        first = columns - len(net.maps)
        for row, keypoint in enumerate(chosen):
            for column, maps in enumerate(net.maps):
                axes = axes_at(left + CELL * (first + column), top + tall * row)
                _show(axes, maps[keypoint], person, keypoint)
                if row == 0:
                    axes.set_title(_scale(net, column, person), fontsize=6.5, loc="center", pad=2)
                if column == 0:
                    name = person.names[keypoint].replace("_", "\n")
                    axes.set_ylabel(name, fontsize=6.5, rotation=0, ha="right", va="center")
        _show_overlay(axes_at(left + CELL * (columns + 0.15), top, OVERLAY), net, person)
    bar = figure.add_axes((0.5 - 1.2 / width, 0.36 / height, 2.4 / width, 0.09 / height))
    figure.colorbar(ScalarMappable(cmap=COLOURS), cax=bar, orientation="horizontal")
    bar.set_title(
        "value of the map, cut to 0..1 (the targets' range)", fontsize=7, loc="center", pad=3,
        fontweight="normal",
    )  # fmt: skip
    bar.tick_params(labelsize=6.5)
    return figure


def _title(net: Net, sheet: Sheet) -> str:
    row = sheet.get(net.model, {})
    order = row.get("order")
    return f"Order {order}: {parts(pd.Series(switches(row)))}" if order else net.model


def _scale(net: Net, column: int, person: Person) -> str:
    if column == len(net.maps) - 1:
        return "final"
    return f"1/{round(person.crop.shape[0] / net.maps[column].shape[1])}"


def _show(axes: Axes, one: np.ndarray, person: Person, keypoint: int) -> None:
    height, width = person.crop.shape[:2]
    extent = -0.5, width - 0.5, height - 0.5, -0.5
    axes.imshow(one, COLOURS, vmin=0, vmax=1, extent=extent, interpolation="nearest")
    if person.visible[keypoint]:
        axes.plot(*person.joints[keypoint], "o", ms=4, mfc="none", mec="white", mew=0.5)
        axes.set(xlim=extent[:2], ylim=extent[2:])


def _show_overlay(axes: Axes, net: Net, person: Person) -> None:
    heat = np.clip(net.maps[-1].max(axis=0), 0, 1)
    size = person.crop.shape[1::-1]
    heat = cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)[..., None]
    axes.imshow(person.crop / 255 * 0.7 * (1 - heat) + COLOURS(heat[..., 0])[..., :3] * heat)
    axes.set_title("all keypoints", fontsize=6.5, loc="center", pad=2)


def _chosen(names: list[str]) -> list[int]:
    chosen = [k for k, name in enumerate(names) if name.split("_")[-1] in CHOSEN]
    return chosen or list(range(len(names)))[-FEWEST:]


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)
    figure = heat_map_figure(read_maps(options.maps), read_sheet(options.models))
    style.save(figure, options.output_dir, "figure9")


if __name__ == "__main__":
    main()
