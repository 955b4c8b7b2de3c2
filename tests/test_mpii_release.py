"""HRNet's MPII files come out of the original annotations, person by person."""

import gzip
import json

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from pose.data.obtain.mpii_release import convert
from pose.support.errors import PoseError

VAL = 60  # of the 2958 val persons


def struct(rows: list[dict]) -> np.ndarray:
    """A MATLAB struct array, of objects so that empty and single ones survive."""
    fields = [(name, object) for name in rows[0]]
    return np.array([tuple(row.values()) for row in rows], dtype=fields)


def person(record: dict) -> dict:
    points = [
        {"x": x, "y": y, "id": float(joint), "is_visible": flag}
        for joint, (x, y, flag) in enumerate(record["joint_self"])
        if x or y
    ]
    x, y = record["objpos"]
    return {
        "annopoints": {"point": struct(points)},
        "scale": record["scale_provided"],
        "objpos": {"x": x, "y": y},
    }


def bystander() -> dict:
    """Somebody without annotated joints, as many are."""
    return {"annopoints": np.zeros((0, 0)), "scale": 2.0, "objpos": {"x": 1.0, "y": 2.0}}


@pytest.fixture(scope="module")
def everybody(photographs) -> list[dict]:
    path = photographs / "metric_fixtures/mpii_annotations_all.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.fixture
def release(everybody, photographs, tmp_path):
    """The original file in its documented structure, for the images of the first val persons."""
    val = [record for record in everybody if record["isValidation"]][:VAL]
    last = val[-1]["annolist_index"]
    images: dict[str, list[dict]] = {}
    for record in everybody:
        if record["annolist_index"] <= last:
            images.setdefault(record["img_paths"], []).append(record)
    rows = [
        {"image": {"name": name}, "annorect": struct([*map(person, records), bystander()])}
        for name, records in images.items()
    ]
    # An annotated neighbour of a val person is in neither of the field's splits.
    shared = next(row for row in rows if row["image"]["name"] == val[0]["img_paths"])
    stranger = next(record for record in everybody if record["annolist_index"] > last)
    shared["annorect"] = struct([*map(person, images[val[0]["img_paths"]]), person(stranger)])
    rows.append({"image": {"name": "empty.jpg"}, "annorect": np.zeros((0, 0))})
    unscaled = person(stranger) | {"scale": 0.0}
    rows.append({"image": {"name": "unscaled.jpg"}, "annorect": struct([unscaled])})
    rows.append({"image": {"name": "test.jpg"}, "annorect": struct([person(stranger)])})
    training = np.array([1.0] * (len(rows) - 1) + [0.0])
    savemat(
        tmp_path / "release.mat", {"RELEASE": {"annolist": struct(rows), "img_train": training}}
    )
    truth = loadmat(photographs / "metric_fixtures/mpii_val_ground_truth_2958.mat")["pos_gt_src"]
    savemat(tmp_path / "gt_valid.mat", {"pos_gt_src": truth[..., :VAL]})
    return tmp_path


def as_in_hrnet(record: dict) -> dict:
    joints = [[x, y] for x, y, _ in record["joint_self"]]
    return {
        "image": record["img_paths"],
        "center": record["objpos"],
        "scale": record["scale_provided"],
        "joints": joints,
        "joints_vis": [int(x != 0 or y != 0) for x, y in joints],
    }


def test_the_release_is_split_and_read_as_the_field_does(release, everybody, photographs):
    counts = convert(release / "release.mat", release / "gt_valid.mat", release)
    val = [record for record in everybody if record["isValidation"]][:VAL]
    last = val[-1]["annolist_index"]
    train = [r for r in everybody if not r["isValidation"] and r["annolist_index"] <= last]
    assert counts == {"train": len(train), "valid": VAL}
    assert json.loads((release / "valid.json").read_text()) == [as_in_hrnet(r) for r in val]
    ours = json.loads((release / "train.json").read_text())
    assert ours == [as_in_hrnet(record) for record in train]
    known = {(r["image"], *r["center"]): r for r in ours}
    hrnet = json.loads((photographs / "mpii_mini/annot/train.json").read_text())
    shared = [r for r in hrnet if (r["image"], *r["center"]) in known]
    assert shared and all(known[r["image"], *r["center"]] == r for r in shared)


def test_occluded_joints_count_as_visible(release, everybody):
    convert(release / "release.mat", release / "gt_valid.mat", release)
    records = json.loads((release / "train.json").read_text())
    first = next(record for record in everybody if not record["isValidation"])
    occluded = [joint for joint, (x, _, flag) in enumerate(first["joint_self"]) if x and not flag]
    assert occluded and all(records[0]["joints_vis"][joint] == 1 for joint in occluded)


def test_a_split_that_lies_there_is_kept(release, tmp_path):
    (tmp_path / "valid.json").write_text("edited")
    convert(release / "release.mat", release / "gt_valid.mat", tmp_path)
    assert (tmp_path / "valid.json").read_text() == "edited"
    assert (tmp_path / "train.json").exists()


def test_files_that_do_not_belong_together_are_named(release, photographs):
    truth = photographs / "metric_fixtures/mpii_val_ground_truth_2958.mat"
    with pytest.raises(PoseError, match=rf"2958\.mat: person {VAL} is not in the release"):
        convert(release / "release.mat", truth, release)
    with pytest.raises(PoseError, match=r"gt_valid\.mat: no variable RELEASE in it"):
        convert(release / "gt_valid.mat", truth, release)
    with pytest.raises(PoseError, match=r"absent\.mat: No such file"):
        convert(release / "absent.mat", truth, release)
    (release / "torn.mat").write_bytes((release / "release.mat").read_bytes()[:5000])
    with pytest.raises(PoseError, match=r"torn\.mat: not a readable \.mat file"):
        convert(release / "torn.mat", truth, release)
