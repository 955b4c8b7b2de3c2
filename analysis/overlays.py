"""Figures 6 and 7: persons of the val split with the skeletons that a model predicts for them.

Easy are those with the least error, typical those next to the median, worst the opposite of easy;
only persons with enough annotated joints count. Beside the picture its caption names their images.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pose.config.datasets import DATASETS
from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.files import write_file


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.overlays", __doc__)
    parser.add_argument("--predictions", type=Path, required=True, help="predictions_gt.npz")
    parser.add_argument("--data-root", type=Path, required=True, help=cli.DATA_ROOT)
    parser.add_argument(
        "--output",
        type=cli.output_file(".png", ".jpg", ".svg", ".pdf"),
        nargs="+",
        required=True,
        help="the picture, in each format by its name; the caption is written beside the first",
    )
    parser.add_argument("--dataset", choices=DATASETS, default="coco")
    return parser


cli.answer_early(__name__, command_line)

import cv2
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import style
from analysis.results import run_of
from pose.data.crop import PIXEL_STD
from pose.data.drawing import SIDES, draw_skeleton
from pose.data.images import read_image
from pose.data.samples import Samples, open_split
from pose.datasets.keypoints import KeypointSet
from pose.evaluation.predictions import Predictions

FEWEST_JOINTS = 8  # annotated ones, for the error to mean something
COLUMNS = 6  # persons of a kind
CROP_HEIGHT = 256  # pixels


class Shown(NamedTuple):
    """A person: the rows in truth and in predictions, and the error."""

    own: int
    row: int
    error: float


def choose(truth: Samples, predictions: Predictions) -> dict[str, list[Shown]]:
    """The easy, the typical and the worst persons, each by rising error.

    The error is the mean distance over annotated joints, relative to the square root of the
    box's area. Raises PoseError where no prediction belongs to an annotated person.
    """
    row_of = {int(person): row for row, person in enumerate(truth.person_ids)}
    persons = []
    for row, person in enumerate(predictions.person_ids):
        own = row_of.get(int(person))
        if own is None or truth.visible[own].sum() < FEWEST_JOINTS:
            continue
        distance = np.linalg.norm(predictions.keypoints[row, :, :2] - truth.joints[own], axis=1)
        error = distance[truth.visible[own] > 0].mean() / np.sqrt(predictions.areas[row])
        persons.append(Shown(own, row, float(error)))
    if not persons:
        raise PoseError("no prediction belongs to an annotated person: give predictions_gt.npz")
    persons.sort(key=lambda person: person.error)
    count = min(COLUMNS, max(1, len(persons) // 3))
    middle = (len(persons) - count) // 2
    return {
        "easy": persons[:count],
        "typical": persons[middle : middle + count],
        "worst": persons[-count:],
    }


def caption(truth: Samples, chosen: dict[str, list[Shown]], title: str) -> str:
    """What stands below the picture: the rule, and the images of each row from left to right."""
    lines = [
        f"{title}. Rows: the persons with the least error, those next to the median, and those with"
        f" the greatest, of all with at least {FEWEST_JOINTS} annotated joints. The error is the"
        " mean distance over annotated joints, in % of the square root of the box's area."
    ]
    for kind, persons in chosen.items():
        images = ", ".join(
            f"{truth.image_ids[one.own]} (person {truth.person_ids[one.own]})" for one in persons
        )
        lines.append(f"{kind.capitalize()}: images {images}.")
    return "\n\n".join(lines) + "\n"


def overlay_figure(
    truth: Samples, predictions: Predictions, chosen: dict[str, list[Shown]], title: str
) -> Figure:
    """A row for each kind of persons. Raises PoseError for an image that cannot be read."""
    width, height = predictions.scales[0]
    columns = max(map(len, chosen.values()))
    wide = 9 / COLUMNS  # inches
    figure, grid = plt.subplots(
        *(len(chosen), columns), squeeze=False, layout="constrained",
        figsize=(max(6, 1 + wide * columns), 0.7 + len(chosen) * (0.3 + wide * height / width)),
    )  # fmt: skip
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for line, kind in zip(grid, chosen, strict=True):
        line[0].set_ylabel(kind, fontsize=9, fontweight="bold")
    shown = [
        (axes, person)
        for line, persons in zip(grid, chosen.values(), strict=True)
        for axes, person in zip(line, persons, strict=True)
    ]
    for axes, (own, row, error) in shown:
        photo = read_image(truth.image_paths[truth.image_index[own]])
        half = predictions.scales[row] * PIXEL_STD / 2
        box = np.concatenate([predictions.centers[row] - half, predictions.centers[row] + half])
        _show_crop(axes, photo, box, predictions.keypoints[row], truth.keypoints)
        seen = truth.joints[own][truth.visible[own] > 0]
        axes.scatter(*seen.T, s=14, fc="none", ec="#ffe600", lw=0.7, zorder=4)
        left, top, right, bottom = box
        axes.set(xlim=(left, right), ylim=(bottom, top))
        text = f"{truth.image_ids[own]}: {100 * error:.1f} %"
        axes.set_title(text, fontsize=7, fontweight="normal", loc="center", pad=2)
    figure.suptitle(title, fontsize=9, fontweight="bold")
    lines = {side: Line2D([], [], color=SIDES[side], lw=2.5) for side in ("left", "right")}
    ring = Line2D([], [], ls="", marker="o", ms=5, mfc="none", mec="#c9a800")
    figure.legend(
        [*lines.values(), ring],
        ["predicted, left", "predicted, right (faint: low score)",
         "annotated; above: image, mean distance over these joints in % of the box's size"],
        loc="outside lower center", ncols=3 if columns == COLUMNS else 1, fontsize=7.5,
    )  # fmt: skip
    return figure


def _show_crop(
    axes: Axes, photo: np.ndarray, box: np.ndarray, joints: np.ndarray, keypoints: KeypointSet
) -> None:
    """Show the skeleton (K, 3) in the part ``box`` (left, top, right, bottom) of a photo.

    The photo is enlarged first, so that lines are as thin on a small person as on a large one.
    """
    corner, (width, height) = box[:2], box[2:] - box[:2]
    zoom = CROP_HEIGHT / height
    matrix = np.column_stack([zoom * np.eye(2), -zoom * corner])
    size = round(zoom * width), CROP_HEIGHT
    crop = cv2.warpAffine(photo, matrix, size, borderValue=(236, 236, 236))
    draw_skeleton(crop, np.column_stack([(joints[:, :2] - corner) * zoom, joints[:, 2]]), keypoints)
    left, top, right, bottom = box - 0.5 / zoom  # a pixel's coordinates are those of its centre
    axes.imshow(crop[..., ::-1], extent=(left, right, bottom, top))


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)
    any_size = 256, 192  # the boxes are not used
    truth = open_split(options.dataset, options.data_root, "val", any_size)
    run, predictions = run_of(options.predictions), Predictions.load(options.predictions)
    title = f"{run['model']}, seed {run['seed']}, on persons of the {options.dataset} val split"
    chosen = choose(truth, predictions)
    write_file(options.output[0].with_suffix(".txt"), caption(truth, chosen, title))
    figure = overlay_figure(truth, predictions, chosen, title)
    style.save_as(figure, *options.output, dpi=120)  # photographs: a PNG grows fast


if __name__ == "__main__":
    main()
