"""Which persons count, where their boxes lie, and what is said about files that are wrong."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pose.data.samples import load_detections, load_persons, open_split
from pose.datasets import coco, mpii
from pose.datasets.records import NEGATIVE_SCORE, NO_AREA, OUTSIDE
from pose.support.errors import PoseError

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
def test_counts_of_the_sample_data(dataset, split, persons, images, photographs):
    samples = open_split(dataset, photographs / f"{dataset}_mini", split, SIZE)
    assert (len(samples), len(samples.image_paths)) == (persons, images)
    assert (samples.visible.sum(axis=1) > 0).all()
    np.testing.assert_allclose(samples.scales[:, 0] / samples.scales[:, 1], 0.75, rtol=1e-6)


def test_detected_boxes_are_read_with_their_scores_and_without_joints(photographs):
    root = photographs / "coco_mini"
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


def annotated(folder: Path, *changes: dict) -> Path:
    """Annotations of one 100x80 image, each the person above with some changes."""
    images = [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}]
    people = [PERSON | change for change in changes]
    path = folder / "persons.json"
    path.write_text(json.dumps({"images": images, "annotations": people}))
    return path


@pytest.fixture
def write(tmp_path):
    """Writes such annotations of the persons with these changes."""
    return partial(annotated, tmp_path)


def test_boxes_are_clipped_padded_to_the_aspect_ratio_and_enlarged(write, tmp_path):
    samples = load_persons(coco.DATASET, write({}), tmp_path, SIZE)
    # clipped: x 0..50, y 20..79; its height of 59 asks for a width of 44.25 < 50
    np.testing.assert_allclose(samples.centers, [[25, 49.5]])
    np.testing.assert_allclose(samples.scales * 200, [[62.5, 62.5 / 0.75]], rtol=1e-6)
    np.testing.assert_allclose(samples.areas, [62.5**2 / 0.75], rtol=1e-5)


UNSEEN = {"keypoints": 51 * [0]}
CLAUSES = {
    "a crowd": ({"iscrowd": 1}, {}),
    "no labelled keypoint": (UNSEEN, {}),
    "another category": ({"category_id": 2}, {}),
    "no area": ({"area": 0}, {NO_AREA: 1}),
    "a box right of the image": ({"bbox": [100, 20, 30, 40]}, {OUTSIDE: 1}),
    "a box below the image": ({"bbox": [10, 80, 30, 40]}, {OUTSIDE: 1}),
}


@pytest.mark.parametrize("clause", CLAUSES)
def test_a_person_counts_unless(clause, write, tmp_path, caplog):
    change, skipped = CLAUSES[clause]
    samples = load_persons(coco.DATASET, write({}, change | {"id": 8}, {"id": 9}), tmp_path, SIZE)
    assert samples.person_ids.tolist() == [7, 9]
    assert samples.skipped == skipped
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/persons.json: 1 left out: {reason}" for reason in skipped
    ]


COUNTED = {
    "an occluded keypoint alone": {"keypoints": [5, 30, 1] + 48 * [0]},
    "a keypoint at the origin": {"keypoints": 3 * [0] + [0, 0, 2] + 45 * [0]},
    "a box in the last pixel": {"bbox": [99, 79, 50, 50]},
    "a box that begins outside": {"bbox": [-200, -200, 10, 10]},
    "a box one pixel wide": {"bbox": [10, 10, 1, 40]},
}


@pytest.mark.parametrize("clause", COUNTED)
def test_a_person_counts_with(clause, write, tmp_path):
    samples = load_persons(coco.DATASET, write({}, COUNTED[clause] | {"id": 8}), tmp_path, SIZE)
    assert samples.person_ids.tolist() == [7, 8]
    assert samples.skipped == {} and np.isfinite(samples.scales).all() and samples.scales.min() > 0


def test_persons_stand_in_the_order_of_the_images(tmp_path):
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 80} for i in (5, 2, 9)]
    people = [PERSON | {"id": n, "image_id": i} for n, i in enumerate((9, 2, 5, 9, 2))]
    path = tmp_path / "persons.json"
    path.write_text(json.dumps({"images": images, "annotations": people}))
    samples = load_persons(coco.DATASET, path, tmp_path, SIZE)
    assert samples.image_ids.tolist() == [5, 2, 2, 9, 9]
    assert samples.person_ids.tolist() == [2, 1, 4, 0, 3]
    names = samples.image_paths[samples.image_index]
    assert [name.rsplit("/")[-1] for name in names] == [f"{i}.jpg" for i in samples.image_ids]


def test_mpii_boxes_are_moved_down_enlarged_and_made_zero_based(tmp_path):
    joints = [[10.0, 20.0]] * 16
    person = {"image": "b.jpg", "center": [50.0, 60.0], "scale": 2.0}
    path = tmp_path / "valid.json"
    path.write_text(json.dumps([person | {"joints": joints, "joints_vis": [1] * 16}]))
    samples = load_persons(mpii.DATASET, path, tmp_path, (256, 256))
    np.testing.assert_allclose(samples.centers, [[49, 60 + 15 * 2 - 1]])
    np.testing.assert_allclose(samples.scales, [[2.5, 2.5]])
    np.testing.assert_allclose(samples.joints[0, 0], [9, 19])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": [1, 2, 2]}, "keypoints: 3 numbers, not 51"),
        ({"keypoints": [float("nan"), 1, 2] + 48 * [1]}, "keypoints.0.: should be a finite number"),
        ({"keypoints": 50 * [1] + ["2"]}, "keypoints.50.: .* got '2' .text."),
        ({"keypoints": 50 * [1] + [3]}, "keypoints: the flag of right_ankle is 3, not 0, 1 or 2"),
        ({"keypoints": 50 * [1] + [-1]}, "the flag of right_ankle is -1"),
        ({"keypoints": 50 * [1] + [1.5]}, "the flag of right_ankle is 1.5"),
        ({"keypoints": None}, "keypoints: should be a valid list, got None .null."),
        ({"image_id": 5}, "image 5 is not in the annotations"),
        ({"image_id": "1"}, "image_id: should be a valid integer, got '1' .text."),
        ({"image_id": [1]}, "image_id: should be a valid integer, got .1. .list."),
        ({"id": 7.0}, "id: should be a valid integer, got 7.0 .number."),
        ({"id": 2**63}, "id: should be less than 9223372036854775808"),
        ({"id": True}, "id: should be a valid integer, got True .true or false."),
        ({"bbox": [1, 2, float("inf"), 4]}, "bbox.2.: should be a finite number"),
        ({"bbox": [1, 2, -3, 4]}, "bbox: .* has a negative side"),
        ({"bbox": [1, 2, 3, 10**400]}, "bbox.3.: should be a valid number"),
        ({"bbox": None}, "bbox: should be a valid list"),
        ({"area": "900"}, "area: should be a valid number, got '900' .text."),
        ({"area": -1}, "area: should be greater than or equal to 0"),
        ({"iscrowd": None}, "iscrowd: should be 0 or 1, got None .null."),
        ({"category_id": "1"}, "category_id: should be 1, got '1' .text."),
    ],
)
def test_wrong_annotations_are_named(change, message, write, tmp_path):
    with pytest.raises(PoseError, match=rf"persons\.json: record 1 of 'annotations'.*{message}"):
        load_persons(coco.DATASET, write({"id": 6}, change), tmp_path, SIZE)


def test_a_file_must_have_a_labelled_joint_and_a_usable_person(write, tmp_path):
    unlabelled = {"keypoints": 17 * [5, 30, 0], "num_keypoints": 17}
    with pytest.raises(PoseError, match=r"persons\.json: no joint of any person is labelled"):
        load_persons(coco.DATASET, write(unlabelled), tmp_path, SIZE)
    with pytest.raises(PoseError, match="no usable person"):
        load_persons(coco.DATASET, write({"iscrowd": 1}), tmp_path, SIZE)


def test_another_category_may_lack_what_a_person_has(write, tmp_path):
    path = write({})
    content = json.loads(path.read_text())
    content["annotations"].append({"id": 8, "image_id": 1, "category_id": 3})
    path.write_text(json.dumps(content))
    assert load_persons(coco.DATASET, path, tmp_path, SIZE).person_ids.tolist() == [7]


@pytest.mark.parametrize("categories", [[{"id": 0, "name": "person"}], [{"id": 2}], [{}], {"a": 1}])
def test_the_category_person_must_be_1(categories, write, tmp_path):
    path = write({})
    path.write_text(json.dumps(json.loads(path.read_text()) | {"categories": categories}))
    with pytest.raises(PoseError, match=r"persons\.json: .*(category 1 is not|of 'categories')"):
        load_persons(coco.DATASET, path, tmp_path, SIZE)


def test_names_of_other_categories_are_free(write, tmp_path):
    path = write({})
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": None}, {"id": 3, "name": ""}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"categories": categories}))
    assert load_persons(coco.DATASET, path, tmp_path, SIZE).person_ids.tolist() == [7]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"categories": categories * 2}))
    with pytest.raises(PoseError, match="category id 1 stands twice"):
        load_persons(coco.DATASET, path, tmp_path, SIZE)


@pytest.mark.parametrize("number", [0, -5, 2**62])
def test_ids_are_any_numbers_of_64_bits(number, tmp_path):
    images = [{"id": number, "file_name": "a.jpg", "width": 100.0, "height": 80}]
    path = tmp_path / "persons.json"
    people = [PERSON | {"id": -number, "image_id": number}]
    path.write_text(json.dumps({"images": images, "annotations": people}))
    samples = load_persons(coco.DATASET, path, tmp_path, SIZE)
    assert (samples.image_ids.tolist(), samples.person_ids.tolist()) == ([number], [-number])


def test_wrong_files_are_named(write, tmp_path):
    annotations, broken = write({}), tmp_path / "detections.json"
    with pytest.raises(PoseError, match=r"detections\.json: No such file"):
        load_detections(coco.DATASET, broken, annotations, tmp_path, SIZE)
    broken.write_text('[{"image_id": 1')
    with pytest.raises(PoseError, match=r"detections\.json: not valid JSON"):
        load_detections(coco.DATASET, broken, annotations, tmp_path, SIZE)
    broken.write_text("[]")
    with pytest.raises(PoseError, match="no usable person"):
        load_detections(coco.DATASET, broken, annotations, tmp_path, SIZE)
    with pytest.raises(PoseError, match=r"data_root .*: no folder val2017 or images/val2017"):
        open_split("coco", tmp_path, "val", SIZE)
    with pytest.raises(PoseError, match=r"data_root .*nowhere: no such folder"):
        open_split("mpii", tmp_path / "nowhere", "val", SIZE)


def test_ids_that_stand_twice_are_named(write, tmp_path):
    with pytest.raises(PoseError, match=r"persons\.json: annotation id 7 stands twice"):
        load_persons(coco.DATASET, write({}, {}), tmp_path, SIZE)
    path = write({})
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"images": 2 * content["images"]}))
    with pytest.raises(PoseError, match=r"persons\.json: image id 1 stands twice"):
        load_persons(coco.DATASET, path, tmp_path, SIZE)


IMAGE = {"id": 1, "file_name": "a", "width": 9, "height": 9}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"persons\.json: not a COCO annotation file \(no list 'images'\)"),
        ({"images": 1}, r"persons\.json: not a COCO annotation file"),
        ({"images": []}, "not a list of records of 'annotations' but null"),
        ({"images": [], "annotations": {"0": {}}}, "of 'annotations' but object"),
        ({"images": [], "annotations": []}, "no usable person"),
        ({"images": [IMAGE | {"width": "3"}]}, "record 0 of 'images' .id 1.: width: .* '3' .text."),
        ({"images": [IMAGE | {"width": 0}]}, "width: should be greater than 0, got 0"),
        ({"images": [IMAGE | {"height": 1.5}]}, "height: 1.5 is not a whole number"),
        ({"images": [IMAGE | {"file_name": None}]}, "file_name: should be a valid string"),
        ({"images": [IMAGE | {"file_name": "a\0b"}]}, "file_name: "),
        ({"images": [IMAGE | {"file_name": "\ud800"}]}, "file_name: "),
        ({"images": [{"id": 1}]}, "record 0 of 'images' .id 1.: no 'file_name'"),
        ({"images": [None]}, "record 0 of 'images': should be a valid dictionary, got None"),
    ],
)
def test_files_of_another_kind_are_named(content, message, tmp_path):
    path = tmp_path / "persons.json"
    path.write_text(json.dumps(content))
    with pytest.raises(PoseError, match=message):
        load_persons(coco.DATASET, path, tmp_path, SIZE)


BOX = {"image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5}


@pytest.fixture
def detected(write, tmp_path):
    """Loads detections in a 100x80 image, each the box above with some changes."""

    def load(*changes):
        path = tmp_path / "boxes.json"
        path.write_text(json.dumps([BOX | change for change in changes]))
        return load_detections(coco.DATASET, path, write({}), tmp_path, SIZE)

    return load


def test_boxes_that_hold_nothing_are_counted_and_left_out(detected, caplog):
    samples = detected(
        {}, {"bbox": [1, 2, 0, 5]}, {"bbox": [-30, 2, 20, 5]}, {"bbox": [3, 90, 9, 9]},
        {"score": -0.1}, {"category_id": 3}, {"bbox": [-10, -10, 20, 20], "score": 0},
    )  # fmt: skip
    assert samples.box_scores.tolist() == [0.5, 0]
    assert samples.skipped == {NO_AREA: 1, OUTSIDE: 2, NEGATIVE_SCORE: 1}
    assert len(caplog.records) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, -3, 4]}, r"bbox: \[1.0, 2.0, -3.0, 4.0\] has a negative side"),
        ({"bbox": [1, 2, 3]}, "bbox: 3 numbers, not x, y, width and height"),
        ({"bbox": [1, 2, 3, "4"]}, r"bbox\[3\]: should be a valid number, got '4' \(text\)"),
        ({"score": float("nan")}, "score: should be a finite number"),
        ({"score": True}, "score: should be a valid number"),
        ({"image_id": 4}, "image 4 is not in the annotations"),
        ({"image_id": 1.0}, "image_id: should be a valid integer"),
        ({"category_id": None}, "category_id: should be 1"),
    ],
)
def test_wrong_boxes_are_named(change, message, detected):
    with pytest.raises(PoseError, match=rf"boxes\.json: record 1: .*{message}"):
        detected({}, change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": [[1, 2]] * 15}, "record 0: joints: .* at least 16 items"),
        ({"joints": [[1, 2]] * 15 + [[1, "2"]]}, r"record 0: joints\[15\]\[1\]: .* '2' \(text\)"),
        ({"joints_vis": [1] * 15}, "record 0: joints_vis: .* at least 16 items"),
        ({"joints_vis": [0] * 16}, "no joint of any person is labelled"),
        ({"joints_vis": [2] + [1] * 15}, r"record 0: joints_vis\[0\]: should be 0 or 1, got 2"),
        ({"joints_vis": [-1] + [1] * 15}, r"record 0: joints_vis\[0\]: should be 0 or 1, got -1"),
        ({"scale": 0}, "record 0: scale: should be greater than 0"),
        ({"center": [1, float("nan")]}, r"record 0: center\[1\]: should be a finite number"),
        ({"center": [1]}, "record 0: center: "),
        ({"image": None}, "record 0: image: should be a valid string"),
    ],
)
def test_wrong_mpii_records_are_named(change, message, tmp_path):
    person = {"image": "b.jpg", "center": [5, 6], "scale": 2, "joints": [[1, 2]] * 16}
    path = tmp_path / "valid.json"
    path.write_text(json.dumps([person | {"joints_vis": [1] * 16} | change]))
    with pytest.raises(PoseError, match=message):
        load_persons(mpii.DATASET, path, tmp_path, SIZE)
    path.write_text(json.dumps({"persons": []}))
    with pytest.raises(PoseError, match=r"valid\.json: not a list of records but object"):
        load_persons(mpii.DATASET, path, tmp_path, SIZE)


def test_test_dev_has_detections_only(write, tmp_path):
    (tmp_path / "test2017").mkdir()
    (tmp_path / "annotations").mkdir()
    content = json.loads(write({}).read_text())
    del content["annotations"]
    listed = tmp_path / "annotations/image_info_test-dev2017.json"
    listed.write_text(json.dumps(content))
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps([BOX]))
    samples = open_split("coco", tmp_path, "test-dev", SIZE, boxes)
    assert samples.image_paths.tolist() == [f"{tmp_path}/test2017/a.jpg"]
    with pytest.raises(PoseError, match="test-dev has no annotated persons; give a file"):
        open_split("coco", tmp_path, "test-dev", SIZE)


def test_mpii_has_no_test_dev_and_takes_no_detector_s_boxes(tmp_path):
    with pytest.raises(PoseError, match="mpii has no split 'test-dev'; it has train, val"):
        open_split("mpii", tmp_path, "test-dev", SIZE)
    with pytest.raises(PoseError, match=r"boxes\.json: no detector's boxes are taken on mpii"):
        open_split("mpii", tmp_path, "val", SIZE, tmp_path / "boxes.json")


def test_an_unknown_data_set_is_named_with_the_nearest(tmp_path):
    with pytest.raises(PoseError, match=r"unknown data set 'cocoo' \(did you mean 'coco'\?\)"):
        open_split("cocoo", tmp_path, "val", SIZE)
