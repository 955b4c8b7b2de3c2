"""The contact sheet shows the crops of the data set, and repeats itself."""

import cv2
import numpy as np
import pytest

from pose.config import experiment
from pose.data import sheet
from pose.data.dataset import PoseDataset
from pose.data.drawing import SIDES
from pose.data.samples import open_split
from pose.support.errors import PoseError

EXPERIMENT = experiment("eeffpose-p0-order8", "coco", (256, 192), seed=3)


@pytest.fixture
def root(test_data):
    return test_data / "coco_mini"


def test_the_sheet_shows_the_crops_of_that_seed_and_epoch(root, monkeypatch):
    monkeypatch.setattr(sheet, "draw_skeleton", lambda image, *joints: None)
    drawn = sheet.contact_sheet(EXPERIMENT, root, samples=5, epoch=2)
    samples = open_split("coco", root, "train", (256, 192))
    dataset = PoseDataset(samples, (256, 192), EXPERIMENT.augmentation, seed=3)
    dataset.set_epoch(2)
    last = dataset[len(samples) - 1]["image"].numpy()[..., ::-1]
    top = sheet.TITLE + 2 * sheet.GAP + sheet.CELL + sheet.CAPTION  # second row, first column
    np.testing.assert_array_equal(drawn[top : top + 256, sheet.GAP : sheet.GAP + 192], last)


def test_a_left_limb_has_the_colour_that_it_has_everywhere(root):
    drawn = sheet.contact_sheet(EXPERIMENT, root, samples=1)
    cell = drawn[sheet.TITLE + sheet.GAP :][: sheet.CELL, sheet.GAP : sheet.GAP + 192]
    seen = {tuple(pixel) for pixel in cell.reshape(-1, 3).tolist()}
    for side in ("left", "right"):
        red, green, blue = bytes.fromhex(SIDES[side][1:])
        assert (blue, green, red) in seen


def test_sheets_repeat_and_differ_by_epoch(root):
    first, again, later = (
        sheet.contact_sheet(EXPERIMENT, root, samples=3, epoch=epoch) for epoch in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != later).any()


def test_targets_glow_where_the_joints_are(root):
    samples = open_split("coco", root, "val", (256, 192))
    dataset = PoseDataset(samples, (256, 192))
    item = dataset[0]
    heat = sheet._greatest_target(item, EXPERIMENT)
    assert heat.shape == (64, 48)
    for x, y in item["joints"][item["visible"] > 0].numpy() / 4:
        assert heat[int(y + 0.5), int(x + 0.5)] == 1


@pytest.mark.parametrize("dataset", ["coco", "mpii"])
def test_the_command_writes_an_image(dataset, test_data, tmp_path, monkeypatch):
    size = (256, 192) if dataset == "coco" else (256, 256)
    text = experiment("eeffpose-p0-order8", dataset, size).model_dump_json()
    command = ["sheet", "--experiment", text, "--data-root", str(test_data / f"{dataset}_mini")]
    command += ["--samples", "2", "--split", "val", "--output"]
    monkeypatch.setattr("sys.argv", [*command, str(tmp_path / "sheet.png")])
    sheet.main()
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] > sheet.CELL
    monkeypatch.setattr("sys.argv", [*command, str(tmp_path / "sheet.txt")])
    with pytest.raises(SystemExit, match=r"sheet\.txt: cannot be written as an image"):
        sheet.main()
    monkeypatch.setattr("sys.argv", [*command, "x.png", "--dataset", "synthetic"])
    with pytest.raises(SystemExit, match=f"the experiment is on {dataset}, not on synthetic"):
        sheet.main()


def test_no_more_persons_than_there_are(root):
    with pytest.raises(PoseError, match="--samples"):
        sheet.contact_sheet(EXPERIMENT, root, samples=0)
    assert sheet.contact_sheet(EXPERIMENT, root, samples=1).ndim == 3


@pytest.mark.parametrize("kind", [".pbm", ".xyz"])
def test_a_format_that_cannot_hold_a_sheet_is_one_line(kind, root, tmp_path):
    path = tmp_path / f"sheet{kind}"
    words = ["--experiment", EXPERIMENT.model_dump_json(), "--data-root", str(root)]
    with pytest.raises(SystemExit, match=f"{kind}.*use .png"):
        sheet.main([*words, "--output", str(path), "--samples", "1"])
    assert not path.exists()
