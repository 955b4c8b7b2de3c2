"""Controls: what a net that gives the target scores, and one that is blind, on constructed sets."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prediction_runs import settings

from pose.config import experiment
from pose.controls import controls, covered_persons, floor, main, read_boxes, reference

SIZE = (64, 48)
PIXEL = 16  # image pixels a heat-map pixel: 48 * 4 * 16 / 48 = 192 is the width of a padded box
JOINTS = np.stack(np.divmod(np.arange(17), 4)[::-1], axis=1) * [2, 2] + [3, 4]  # heat-map pixels


def write_set(root: Path, shifts) -> Path:
    """Persons, a single one an image, whose joints lie so many heat-map pixels beside a pixel."""
    side = np.array([192, 256]) / 1.25
    people, images = [], []
    for number, shift in enumerate(shifts, 1):
        middle = np.array([400.0, 500.0]) + number
        places = middle + (JOINTS + shift - np.array([6, 8])) * PIXEL
        keypoints = np.column_stack([places, np.full(17, 2)])
        people.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "area": 9000.0,
                # Reading a box takes a pixel off its sides.
                "bbox": [*(middle - side / 2).tolist(), *(side + 1).tolist()],
                "num_keypoints": 17,
                "keypoints": keypoints.ravel().tolist(),
            }
        )
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 2000, "height": 2000})
    path = root / "annotations" / "person_keypoints_val2017.json"
    path.parent.mkdir(parents=True)
    content = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    path.write_text(json.dumps(content))
    return root


def by_control(rows):
    frame = pd.DataFrame(rows)
    return frame.set_index(["boxes", "control", "centre", "decode"]).sort_index()


def test_joints_at_heat_map_pixels_and_one_pose_for_all_reach_ap_1(tmp_path):
    root = write_set(tmp_path, [0, 0, 0])
    scores = by_control(controls(settings(), root))["AP"]
    assert len(scores) == 1 + 2 * 4
    assert scores.to_numpy() == pytest.approx(1)


@pytest.mark.parametrize(("shift", "error"), [(0.49, 0.49), (-0.3, 0.3), (0.51, -0.49)])
def test_rounding_moves_a_joint_to_the_nearest_pixel_and_a_quarter_pixel_is_left_without(
    shift, error, tmp_path
):
    truth, (boxes,) = read_boxes(settings(), write_set(tmp_path, [shift]), None)
    rounded = reference(boxes, truth, settings(), "argmax", unbiased=False)
    apart = truth.joints - rounded.keypoints[..., :2]
    assert np.abs(apart) == pytest.approx(np.full((1, 17, 2), abs(error) * PIXEL), abs=1e-3)
    unrounded = reference(boxes, truth, settings(), "quarter", unbiased=True)
    assert np.abs(truth.joints - unrounded.keypoints[..., :2]).max() < 0.251 * PIXEL
    assert (rounded.keypoints[..., 2] == 1).all()


def test_the_floor_is_the_mean_pose_in_each_box(tmp_path):
    truth, (boxes,) = read_boxes(settings(), write_set(tmp_path, [0, 1]), None)
    relative = truth.joints - truth.centers[:, None]
    found = floor(boxes, truth).keypoints[..., :2] - truth.centers[:, None]
    assert found == pytest.approx(np.broadcast_to(relative.mean(axis=0), found.shape), abs=1e-3)


def test_a_box_shows_the_person_that_it_covers_best_above_half():
    persons = np.array([[0, 0, 100, 100], [40, 0, 100, 100], [0, 0, 100, 100.0]])
    boxes = np.array([[5, 0, 100, 100], [30, 0, 100, 100], [300, 0, 9, 9], [0, 0, 100, 50.0]])
    images = np.array([1, 1, 1, 2])
    found = covered_persons(boxes, images, persons, np.array([1, 1, 2]))
    assert found.tolist() == [0, 1, -1, -1]


def test_detectors_boxes_take_the_truth_and_those_of_nobody_count_for_the_floor_alone(tmp_path):
    root = write_set(tmp_path, [0, 0])
    path = tmp_path / "detections.json"
    annotations = json.loads((root / "annotations/person_keypoints_val2017.json").read_text())
    persons = [
        {"image_id": p["image_id"], "category_id": 1, "bbox": p["bbox"], "score": 0.8}
        for p in annotations["annotations"]
    ]
    stranger = persons[0] | {"bbox": [1500.0, 1500, 90, 90], "score": 0.9}
    path.write_text(json.dumps([*persons[:1], stranger]))
    _, (_, boxes) = read_boxes(settings(), root, path)
    assert sorted(boxes.persons.tolist()) == [-1, 0]
    scores = by_control(controls(settings(), root, path))["AP"]
    assert scores["det", "reference", "unrounded", "dark"] == pytest.approx(0.505, abs=1e-3)
    assert scores["det", "floor"].item() < 0.3


def test_the_command_needs_no_image_and_gives_a_row_for_each_model(tmp_path, capsys):
    root = write_set(tmp_path, [0.2, 0.3])
    texts = [
        experiment(model, "coco", SIZE, "controlled").model_dump_json()
        for model in ("eeffpose-p0-order1", "eeffpose-p0-order8")
    ]
    main(["--experiment", *texts, "--data-root", str(root), "--output", str(tmp_path / "c.csv")])
    table = pd.read_csv(tmp_path / "c.csv")
    assert table.groupby("model").size().to_dict() == {
        "eeffpose-p0-order1": 9,
        "eeffpose-p0-order8": 9,
    }
    assert set(table["input"]) == {"64x48"}
    assert "unrounded" in capsys.readouterr().out


def test_mpii_has_controls_by_pckh_and_takes_no_detectors_boxes(test_data, tmp_path):
    chosen = experiment("eeffpose-p0", "mpii", (64, 64), "released")
    found = by_control(controls(chosen, test_data / "mpii_mini"))
    assert found.loc["gt", "reference", "unrounded", "dark"]["PCKh@0.5"] > 98
    assert found["PCKh@0.1"].idxmin() == ("gt", "floor", "", "")
    files = ["--data-root", str(test_data / "mpii_mini"), "--detections", "x.json"]
    with pytest.raises(SystemExit, match=r"^error: x.json: no detector's boxes are taken on mpii$"):
        main(["--experiment", chosen.model_dump_json(), *files])


@pytest.mark.slow
def test_on_the_demos_persons_the_rounded_target_nearly_limits_the_nets(tmp_path):
    from pose.data.synthetic.render import write_dataset
    from pose.data.synthetic.rendered import SyntheticSettings

    chosen = SyntheticSettings(train_images=1, val_images=40, pose_spread=0.25, occluders=0.1)
    write_dataset(tmp_path / "data", chosen)
    found = by_control(controls(settings(), tmp_path / "data"))["AP"]
    assert 100 * found["gt", "reference", "rounded", "quarter"] == pytest.approx(67.6, abs=0.05)
    assert 100 * found["gt", "reference", "unrounded", "quarter"] == pytest.approx(93.0, abs=0.05)
    assert 100 * found["gt", "reference", "unrounded", "dark"] > 99
