"""The rendered data set: COCO's layout, faithful annotations, and reproducible bytes."""

import contextlib
import io
import json
import sys

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO as CocoApi

from pose.config import parse
from pose.data.synthetic.__main__ import main
from pose.data.synthetic.canvas import Canvas, Capsule, Texture
from pose.data.synthetic.figure_drawing import sample_figure
from pose.data.synthetic.render import render, write_dataset
from pose.data.synthetic.rendered import SyntheticSettings, data_name, is_current, own_files
from pose.datasets.coco import COCO
from pose.datasets.synthetic import DATASET
from pose.support.errors import PoseError

SMALL = SyntheticSettings(train_images=2, val_images=2, image_size=(96, 128))
TRUNK = ("shoulder", "hip")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "data"
    write_dataset(folder, SyntheticSettings(train_images=1, val_images=50))
    return folder


@pytest.fixture(scope="module")
def coco(folder):
    with contextlib.redirect_stdout(io.StringIO()):
        return CocoApi(str(folder / "annotations" / "person_keypoints_val2017.json"))


@pytest.fixture(scope="module")
def annotations(coco):
    return coco.loadAnns(coco.getAnnIds())


def keypoints(annotation):
    return np.reshape(annotation["keypoints"], (-1, 3))


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    write_dataset(tmp_path / "a", SMALL)
    write_dataset(tmp_path / "b", SMALL)
    write_dataset(tmp_path / "c", SMALL.model_copy(update={"seed": 1}))
    first, second, other = (contents(tmp_path / name) for name in "abc")
    assert first == second
    assert first.keys() == other.keys()
    assert all(first[path] != other[path] for path in first)


def test_more_images_leave_the_earlier_ones_as_they_were():
    more = SMALL.model_copy(update={"train_images": 50})
    assert np.array_equal(render(SMALL, "train", 1).image, render(more, "train", 1).image)
    assert not np.array_equal(render(SMALL, "train", 1).image, render(SMALL, "val", 1).image)


def test_images_are_as_annotated(folder, coco):
    shapes = set()
    for image in coco.loadImgs(coco.getImgIds()):
        picture = cv2.imread(str(folder / "val2017" / image["file_name"]))
        assert picture.shape == (image["height"], image["width"], 3)
        shapes.add(picture.shape[:2])
    assert shapes == {(240, 320), (320, 240)}
    (category,) = coco.loadCats(coco.getCatIds())
    assert (category["id"], category["keypoints"]) == (1, list(COCO.names))


def test_crowds_and_unlabelled_persons_occur_beside_labelled_ones(annotations):
    crowds = [a for a in annotations if a["iscrowd"]]
    unlabelled = [a for a in annotations if not a["iscrowd"] and not a["num_keypoints"]]
    assert crowds and unlabelled
    assert len(annotations) > 5 * len(crowds + unlabelled)
    assert not any(np.any(a["keypoints"]) for a in crowds + unlabelled)


def test_masks_agree_with_areas_and_boxes(coco, annotations):
    for annotation in annotations:
        mask = coco.annToMask(annotation)
        tolerance = 0 if annotation["iscrowd"] else 0.2  # polygons run along pixel centres
        assert mask.sum() == pytest.approx(annotation["area"], rel=tolerance)
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        assert x <= columns.min() and columns.max() < x + width
        assert y <= rows.min() and rows.max() < y + height


def test_all_visibility_flags_occur_and_are_counted(annotations):
    flags = np.stack([keypoints(a)[:, 2] for a in annotations])
    assert set(np.unique(flags)) == {0, 1, 2}
    assert (flags == 2).sum() > 3 * (flags == 1).sum()
    assert [a["num_keypoints"] for a in annotations] == (flags > 0).sum(1).tolist()


def test_seen_joints_lie_in_the_image_and_almost_all_in_the_box(coco, annotations):
    inside = []
    for annotation in annotations:
        image = coco.imgs[annotation["image_id"]]
        x, y, width, height = annotation["bbox"]
        for joint_x, joint_y, flag in keypoints(annotation):
            assert 0 <= joint_x < image["width"] and 0 <= joint_y < image["height"]
            if flag == 2:
                inside.append(x <= joint_x < x + width and y <= joint_y < y + height)
    assert np.mean(inside) > 0.98


def test_occluders_hide_joints():
    def hidden_share(occluders):
        settings = SyntheticSettings(max_persons=1, occluders=occluders)
        people = [a for i in range(12) for a in render(settings, "train", i).annotations]
        flags = np.stack([keypoints(a)[:, 2] for a in people])
        return (flags == 1).sum() / (flags > 0).sum()

    assert hidden_share(1.0) > hidden_share(0.0) + 0.05


def drawn(seed, **settings):
    figure = sample_figure(np.random.default_rng(seed), **settings).placed(180, (100, 100))
    canvas = Canvas(np.full((200, 200, 3), 0.5, np.float32))
    figure.draw(canvas, 1)
    return figure, canvas


def test_what_covers_a_seen_joint_makes_it_hidden():
    figure, canvas = drawn(0, pose_spread=0, color_jitter=0)
    elbow = COCO.names.index("left_elbow")
    before = figure.visibility(canvas, 1)
    point = figure.keypoints[elbow, :2]
    canvas.paint(Capsule(point, point, 5, 5), Texture(np.zeros(3)))
    after = figure.visibility(canvas, 1)
    assert (before[elbow], after[elbow]) == (2, 1)
    assert np.array_equal(np.delete(before, elbow), np.delete(after, elbow))


@pytest.mark.parametrize("color_jitter", [0.0, 1.0])
def test_left_limbs_are_warm_and_right_limbs_cool_from_the_front_and_from_behind(color_jitter):
    facing = []
    for seed in range(12):
        figure, canvas = drawn(seed, pose_spread=0, color_jitter=color_jitter)
        flags = figure.visibility(canvas, 1)
        facing.append(flags[0] == 2)
        # a person's left is on the image's right when the face is seen
        left_is_right = figure.points["left_shoulder"][0] > figure.points["right_shoulder"][0]
        assert left_is_right == facing[-1]
        for side, warm in (("left", True), ("right", False)):
            for start, end in (("shoulder", "elbow"), ("hip", "knee"), ("knee", "ankle")):
                ends = figure.points[f"{side}_{start}"] + figure.points[f"{side}_{end}"]
                x, y = np.rint(ends[:2] / 2).astype(int)
                red, _, blue = canvas.image[y - 2 : y + 3, x - 2 : x + 3].mean((0, 1))
                assert (red > blue) == warm
    assert {True, False} == set(facing)


def test_backs_are_darker_than_fronts():
    brightness = {True: [], False: []}
    for seed in range(12):
        figure, canvas = drawn(seed, pose_spread=0, color_jitter=1)
        middle = np.mean([figure.points[f"{s}_{j}"] for s in ("left", "right") for j in TRUNK], 0)
        x, y = np.rint(middle[:2]).astype(int)
        seen_from_front = figure.visibility(canvas, 1)[0] == 2
        brightness[seen_from_front].append(canvas.image[y - 8 : y + 9, x - 8 : x + 9].mean())
    assert min(brightness[True]) > max(brightness[False]) + 0.1


def test_pose_spread_widens_the_poses():
    def elbow_spread(pose_spread):
        elbows = [drawn(i, pose_spread=pose_spread, color_jitter=0)[0] for i in range(10)]
        return np.std([f.points["left_elbow"][1] - f.points["left_shoulder"][1] for f in elbows])

    assert elbow_spread(0.0) < elbow_spread(0.5) < elbow_spread(1.0)


def test_detections_miss_some_persons_and_invent_others(folder, annotations):
    detections = json.loads((folder / "person_detections_val2017.json").read_text())
    assert all(set(d) == {"image_id", "category_id", "bbox", "score"} for d in detections)
    assert all(d["category_id"] == 1 and 0 < d["score"] <= 1 for d in detections)
    persons = [a for a in annotations if not a["iscrowd"]]
    overlap = np.array(
        [[a["image_id"] == d["image_id"] and iou(a["bbox"], d["bbox"]) for d in detections]
         for a in persons], float,
    )  # fmt: skip
    found, genuine = overlap.max(1) > 0.5, overlap.max(0) > 0.5
    assert 0.8 < found.mean() < 1
    assert 0.7 < genuine.mean() < 1
    scores = np.array([d["score"] for d in detections])
    assert scores[genuine].mean() > scores[~genuine].mean() + 0.2
    jittered = overlap.max(1)[found]
    assert 0.75 < jittered.mean() < 0.97


def iou(first, second):
    a, b = np.array(first, float), np.array(second, float)
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def test_an_earlier_rendering_is_replaced_and_other_files_stay(tmp_path):
    folder = tmp_path / "data"
    write_dataset(folder, SMALL.model_copy(update={"train_images": 3}))
    (folder / "train2017" / "mine.jpg").write_text("mine")
    write_dataset(folder, SMALL)
    names = sorted(path.name for path in (folder / "train2017").iterdir())
    assert names == ["000000000001.jpg", "000000000002.jpg", "mine.jpg"]
    assert {path.name for path in folder.iterdir()} == {
        *("annotations", "person_detections_val2017.json", "rendered.json", "train2017", "val2017")
    }
    assert own_files(folder) == json.loads((folder / "rendered.json").read_text())["files"]


def test_rendered_people_whose_annotations_were_edited_are_other_data(tmp_path):
    settings = SyntheticSettings(train_images=1, val_images=1)
    before = data_name(tmp_path / "data", settings)
    write_dataset(tmp_path / "data", settings)
    assert data_name(tmp_path / "data", settings) == before
    path = DATASET.annotations(tmp_path / "data", "val")
    path.write_text(path.read_text() + " ")
    assert data_name(tmp_path / "data", settings) != before
    edited = contents(tmp_path)
    with pytest.raises(PoseError, match=r"val2017.json is not ours, or was changed; move it away"):
        write_dataset(tmp_path / "data", SMALL)
    assert contents(tmp_path) == edited


def test_a_folder_of_others_behind_a_new_one_is_left_as_it_is(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/draft.tex").write_text("mine")
    with pytest.raises(PoseError, match="not empty"):
        write_dataset(tmp_path / "new" / ".." / "thesis", SMALL)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["draft.tex"]


def test_photos_that_replaced_rendered_images_stay(tmp_path):
    write_dataset(tmp_path / "data", SMALL)
    (tmp_path / "data/train2017").rename(tmp_path / "coco")
    (tmp_path / "data/train2017").symlink_to(tmp_path / "coco")
    (tmp_path / "data/val2017/000000500001.jpg").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(PoseError, match="is not ours, or was changed"):
        write_dataset(tmp_path / "data", SMALL.model_copy(update={"val_images": 1}))
    assert contents(tmp_path) == before


def test_a_file_of_others_where_an_image_has_to_be_stays_and_is_named(tmp_path):
    folder = tmp_path / "data"
    write_dataset(folder, SMALL)
    photo = folder / "train2017" / "000000000003.jpg"
    photo.write_text("mine")
    before = contents(folder)
    with pytest.raises(PoseError, match=r"000000000003\.jpg is not ours"):
        write_dataset(folder, SMALL.model_copy(update={"train_images": 3}))
    assert contents(folder) == before


@pytest.mark.parametrize("link", [False, True])
def test_a_folder_of_others_is_refused_and_left_as_it_is(tmp_path, link):
    theirs = tmp_path / "coco"
    (theirs / "annotations").mkdir(parents=True)
    (theirs / "annotations/person_keypoints_val2017.json").write_text("{}")
    folder = theirs
    if link:
        folder = tmp_path / "link"
        folder.symlink_to(theirs)
    for content in (None, "[]", '{"rendering": "x", "files": {"../coco/thesis.tex": []}}'):
        if content:
            (theirs / "rendered.json").write_text(content)
        before = contents(theirs)
        with pytest.raises(PoseError, match="not empty"):
            write_dataset(folder, SMALL)
        assert contents(theirs) == before


def test_a_file_in_place_of_the_folder_and_a_rendering_without_a_list_are_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PoseError, match="not a folder"):
        write_dataset(tmp_path / "file", SMALL)
    old = tmp_path / "old"
    old.mkdir()
    for name in ("settings.json", "person_detections_val2017.json"):
        (old / name).touch()
    with pytest.raises(PoseError, match="by an earlier version"):
        write_dataset(old, SMALL)


def test_a_rendering_that_was_killed_is_gone_on_with(tmp_path, monkeypatch):
    folder = tmp_path / "data"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pose.data.synthetic.render.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_dataset(folder, SMALL)
    assert not is_current(folder, SMALL)
    write_dataset(folder, SMALL)
    assert is_current(folder, SMALL)
    next(folder.glob("val2017/*")).unlink()
    assert not is_current(folder, SMALL)


def test_unknown_settings_are_named(monkeypatch, tmp_path):
    with pytest.raises(PoseError, match="did you mean 'pose_spread'"):
        parse(SyntheticSettings, {"pose_spred": 1}, "synthetic settings")
    arguments = ["synthetic", "--output", str(tmp_path / "data"), "--settings", '{"size": 1}']
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match="unknown key 'size'"):
        main()
    assert not (tmp_path / "data").exists()
