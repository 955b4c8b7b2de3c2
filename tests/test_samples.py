"""Which persons count, where their boxes lie, and what is said about files that are wrong."""

import json

import numpy as np
import pytest

from pose.data.samples import load_coco, load_detections, load_mpii, open_split
from pose.errors import PoseError

SIZE = (256, 192)


@pytest.mark.parametrize(
    ("dataset", "split", "persons", "images"),
    [
        ("coco", "train", 86, 80),
        ("coco", "val", 80, 83),
        ("mpii", "train", 1149, 700),
        ("mpii", "val", 264, 240),
    ],
)
def test_counts_of_the_sample_data(dataset, split, persons, images, test_data):
    samples = open_split(dataset, test_data / f"{dataset}_mini", split, SIZE)
    assert (len(samples), len(samples.image_paths)) == (persons, images)
    assert (samples.visible.sum(axis=1) > 0).all()
    np.testing.assert_allclose(samples.scales[:, 0] / samples.scales[:, 1], 0.75, rtol=1e-6)


def test_detected_boxes_are_read_with_their_scores_and_without_joints(test_data):
    root = test_data / "coco_mini"
    boxes = root / "person_detections_4_val_images.json"
    samples = open_split("coco", root, "val", SIZE, boxes)
    assert len(samples) == 118
    assert set(samples.image_ids.tolist()) == {785, 40083, 196141, 197388}
    first = samples.image_ids.tolist().index(785)
    assert samples.box_scores[first] == pytest.approx(0.99997, abs=1e-5)
    assert not samples.visible.any()
    assert samples.image_paths[samples.image_index[first]].endswith("val2017/000000000785.jpg")


PERSON = {
    "id": 7,
    "image_id": 1,
    "category_id": 1,
    "iscrowd": 0,
    "area": 900.0,
    "bbox": [-10.0, 20.0, 51.0, 61.0],
    "keypoints": [5.0, 30.0, 2] + 16 * [0, 0, 0],
}


@pytest.fixture
def write(tmp_path):
    """Writes annotations of one 100x80 image, each the person above with some changes."""

    def write(*changes):
        images = [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}]
        people = [PERSON | change for change in changes]
        path = tmp_path / "persons.json"
        path.write_text(json.dumps({"images": images, "annotations": people}))
        return path

    return write


def test_boxes_are_clipped_padded_to_the_aspect_ratio_and_enlarged(write, tmp_path):
    samples = load_coco(write({}), tmp_path, SIZE)
    # clipped: x 0..50, y 20..79; its height of 59 asks for a width of 44.25 < 50
    np.testing.assert_allclose(samples.centers, [[25, 49.5]])
    np.testing.assert_allclose(samples.scales * 200, [[62.5, 62.5 / 0.75]], rtol=1e-6)
    np.testing.assert_allclose(samples.areas, [62.5**2 / 0.75], rtol=1e-5)


def test_crowds_and_persons_without_keypoints_or_area_are_left_out(write, tmp_path):
    blank = {"keypoints": 51 * [0]}
    path = write({}, {"iscrowd": 1}, blank, {"area": 0}, {"category_id": 2})
    assert load_coco(path, tmp_path, SIZE).person_ids.tolist() == [7]


def test_mpii_boxes_are_moved_down_enlarged_and_made_zero_based(tmp_path):
    joints = [[10.0, 20.0]] * 16
    person = {"image": "b.jpg", "center": [50.0, 60.0], "scale": 2.0}
    path = tmp_path / "valid.json"
    path.write_text(json.dumps([person | {"joints": joints, "joints_vis": [1] * 16}]))
    samples = load_mpii(path, tmp_path, (256, 256))
    np.testing.assert_allclose(samples.centers, [[49, 60 + 15 * 2 - 1]])
    np.testing.assert_allclose(samples.scales, [[2.5, 2.5]])
    np.testing.assert_allclose(samples.joints[0, 0], [9, 19])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": [1, 2, 2]}, "record 0: 3 keypoint values, not 51"),
        ({"image_id": 5}, "record 0: no 5"),
        ({"keypoints": [float("nan"), 1, 2] + 48 * [1]}, "image 1: a person with a number that is"),
        ({"iscrowd": 1}, "no usable person"),
    ],
)
def test_wrong_annotations_are_named(change, message, write, tmp_path):
    with pytest.raises(PoseError, match=message):
        load_coco(write(change), tmp_path, SIZE)


def test_wrong_files_are_named(write, tmp_path):
    annotations, broken = write({}), tmp_path / "detections.json"
    with pytest.raises(PoseError, match=r"detections\.json: No such file"):
        load_detections(broken, annotations, tmp_path, SIZE)
    broken.write_text('[{"image_id": 1')
    with pytest.raises(PoseError, match=r"detections\.json: not valid JSON"):
        load_detections(broken, annotations, tmp_path, SIZE)
    broken.write_text("[]")
    with pytest.raises(PoseError, match="no usable person"):
        load_detections(broken, annotations, tmp_path, SIZE)
    with pytest.raises(PoseError, match=r"data_root .*: no folder val2017 or images/val2017"):
        open_split("coco", tmp_path, "val", SIZE)
    with pytest.raises(PoseError, match=r"data_root .*nowhere: no such folder"):
        open_split("mpii", tmp_path / "nowhere", "val", SIZE)
