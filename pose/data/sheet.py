"""A contact sheet: crops as the network sees them, with their joints and target heat maps.

``python -m pose.data.sheet --data-root data/coco --experiment E.json --output sheet.png``
"""

from __future__ import annotations

from pathlib import Path

from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.files import write_file


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.data.sheet", __doc__)
    parser.add_argument("--experiment", required=True, help="JSON text or file")
    parser.add_argument("--data-root", type=Path, required=True, help=cli.DATA_ROOT)
    parser.add_argument(
        "--output", type=cli.output_file(), required=True, help="a .png or .jpg file"
    )
    parser.add_argument("--dataset", help="default: the experiment's")
    parser.add_argument("--split", choices=["train", "val"], default="train")
    parser.add_argument("--samples", type=cli.whole(1, 1000), default=16)
    parser.add_argument("--epoch", type=cli.whole(-1_000_000, 1_000_000), default=0)
    return parser


cli.answer_early(__name__, command_line)

import cv2
import numpy as np

from pose.config import Experiment, read_experiment
from pose.data.dataset import PoseDataset
from pose.data.drawing import draw_skeleton
from pose.data.samples import open_split
from pose.targets.heatmap import gaussian_targets

CELL = 256  # pixels of height that a crop is drawn with
GAP = 8
CAPTION, TITLE = 18, 30  # pixels of height
PAPER, INK = (255, 255, 255), (60, 60, 60)
COLUMNS = 4
FONT = cv2.FONT_HERSHEY_SIMPLEX


def contact_sheet(
    experiment: Experiment, data_root: Path, split: str = "train", samples: int = 16, epoch: int = 0
) -> np.ndarray:
    """The sheet, uint8 (H, W, 3) BGR: persons from all over the split, as ``epoch`` draws them.

    Left in each pair the crop with joints and limbs (:mod:`pose.data.drawing`'s colours),
    right the crop in grey under the greatest of all joints' targets. Val persons are not augmented.
    """
    if samples < 1:
        raise PoseError(f"--samples is {samples}; a sheet shows at least one")
    persons = open_split(experiment.dataset, data_root, split, experiment.input_size)
    augmentation = experiment.augmentation if split == "train" else None
    dataset = PoseDataset(persons, experiment.input_size, augmentation, experiment.seed)
    dataset.set_epoch(epoch)
    count = min(samples, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    cells = [_cell(dataset, int(index), experiment) for index in indices]
    title = (
        f"{experiment.dataset} {split}, {count} of {len(dataset)} persons, seed {experiment.seed},"
        f" epoch {epoch}, {experiment.protocol}"
    )
    return _page(cells, title)


def _cell(dataset: PoseDataset, index: int, experiment: Experiment) -> np.ndarray:
    item, samples = dataset[index], dataset.samples
    crop = np.ascontiguousarray(item["image"].numpy()[..., ::-1])
    height, width = CELL, round(CELL * crop.shape[1] / crop.shape[0])
    zoom = height / crop.shape[0]
    shown = cv2.resize(crop, (width, height), interpolation=cv2.INTER_LINEAR)
    grey = cv2.cvtColor(cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    heat = _greatest_target(item, experiment)
    heat = cv2.resize(heat, (width, height), interpolation=cv2.INTER_NEAREST)[..., None]
    colours = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)
    targets = (0.5 * grey * (1 - heat) + colours * heat).astype(np.uint8)
    visible = item["visible"].numpy() > 0
    joints = np.column_stack([item["joints"].numpy() * zoom, visible])
    draw_skeleton(shown, joints, samples.keypoints, visible)
    person = int(samples.person_ids[index])
    path = Path(str(samples.image_paths[samples.image_index[index]]))
    cell = np.full((height + CAPTION, 2 * width, 3), PAPER, np.uint8)
    cell[:height] = np.hstack([shown, targets])
    _write(cell, f"{path.stem}  person {person}", (1, height + CAPTION - 5), 0.38)
    return cell


def _greatest_target(item: dict, experiment: Experiment) -> np.ndarray:
    """The targets' maximum over the joints, float32 (h, w) in 0..1."""
    target = experiment.target
    maps, _ = gaussian_targets(
        item["joints"][None],
        item["visible"][None],
        experiment.heatmap_size,
        target.sigma,
        target.stride,
        target.offset,
        target.unbiased,
    )
    return maps[0].amax(dim=0).numpy()


def _page(cells: list[np.ndarray], title: str) -> np.ndarray:
    height, width, _ = cells[0].shape
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    size = (TITLE + rows * (height + GAP) + GAP, GAP + columns * (width + GAP), 3)
    page = np.full(size, PAPER, np.uint8)
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        top, left = TITLE + GAP + row * (height + GAP), GAP + column * (width + GAP)
        page[top : top + height, left : left + width] = cell
    _write(page, title, (GAP, TITLE - 8), 0.55)
    return page


def _write(image: np.ndarray, text: str, at: tuple[int, int], size: float) -> None:
    text = text.encode("ascii", "replace").decode()  # what OpenCV has letters for
    cv2.putText(image, text, at, FONT, size, INK, 1, cv2.LINE_AA)


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)

    experiment = read_experiment(args.experiment)
    if args.dataset not in (None, experiment.dataset):
        raise PoseError(f"the experiment is on {experiment.dataset}, not on {args.dataset}")
    kind = args.output.suffix or ".png"
    if not cv2.haveImageWriter(f"sheet{kind}"):
        raise PoseError(f"{args.output}: cannot be written as an image; use .png or .jpg")
    sheet = contact_sheet(experiment, args.data_root, args.split, args.samples, args.epoch)
    written, image = cv2.imencode(kind, sheet)
    if not written:
        raise PoseError(
            f"{args.output}: {kind} cannot hold the sheet; use .png, or fewer --samples"
        )
    write_file(args.output, image.tobytes())


if __name__ == "__main__":
    main()
