"""A contact sheet: persons of the val split with the skeletons that a model predicts for them.

The persons are spread evenly from the best prediction to the worst, so that the sheet shows
failures as they come.
"""

from __future__ import annotations

from pathlib import Path

from pose.config.datasets import DATASETS
from pose.support import cli
from pose.support.errors import PoseError, command


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.overlays", __doc__)
    parser.add_argument("--predictions", type=Path, required=True, help="predictions_gt.npz")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument(
        "--output",
        type=cli.output_file(".png", ".jpg", ".svg", ".pdf"),
        required=True,
        help="a .png file",
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
COLUMNS, PERSONS = 6, 12
CROP_HEIGHT = 256  # pixels


def choose(truth: Samples, predictions: Predictions) -> list[tuple[int, int, float]]:
    """Rows (in truth, in predictions) and error of persons at evenly spaced ranks of the error.

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
        persons.append((own, row, float(error)))
    if not persons:
        raise PoseError("no prediction belongs to an annotated person: give predictions_gt.npz")
    persons.sort(key=lambda person: person[2])
    ranks = np.linspace(0, len(persons) - 1, min(PERSONS, len(persons)))
    return [persons[rank] for rank in ranks.round().astype(int)]


def overlay_figure(truth: Samples, predictions: Predictions, title: str) -> Figure:
    """The sheet. Raises PoseError for an image that cannot be read."""
    chosen = choose(truth, predictions)
    rows = -(-len(chosen) // COLUMNS)
    width, height = predictions.scales[0]
    figure, grid = plt.subplots(
        *(rows, COLUMNS), figsize=(10, 0.7 + rows * (0.3 + 9 / COLUMNS * height / width)),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes in grid.flat[len(chosen) :]:
        axes.set_axis_off()
    for axes, (own, row, error) in zip(grid.flat, chosen, strict=False):
        photo = read_image(truth.image_paths[truth.image_index[own]])
        half = predictions.scales[row] * PIXEL_STD / 2
        box = np.concatenate([predictions.centers[row] - half, predictions.centers[row] + half])
        _show_crop(axes, photo, box, predictions.keypoints[row], truth.keypoints)
        seen = truth.joints[own][truth.visible[own] > 0]
        axes.scatter(*seen.T, s=14, fc="none", ec="#ffe600", lw=0.7, zorder=4)
        left, top, right, bottom = box
        axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_title(f"error {100 * error:.1f} %", fontsize=7, fontweight="normal", pad=2)
    figure.suptitle(title, fontsize=9, fontweight="bold")
    lines = {side: Line2D([], [], color=SIDES[side], lw=2.5) for side in ("left", "right")}
    ring = Line2D([], [], ls="", marker="o", ms=5, mfc="none", mec="#c9a800")
    figure.legend(
        [*lines.values(), ring],
        ["predicted, left", "predicted, right (faint: low score)",
         "annotated; error: mean distance over these joints, in % of the box's size"],
        loc="outside lower center", ncols=3, fontsize=7.5,
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
    run = run_of(options.predictions)
    title = f"{run['run']}, seed {run['seed']}: persons of the {options.dataset} val split"
    figure = overlay_figure(truth, Predictions.load(options.predictions), title)
    style.save_png(figure, options.output, dpi=120)  # photographs: a PNG grows fast


if __name__ == "__main__":
    main()
