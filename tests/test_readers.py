"""Whatever a file holds, its reader gives what is right or one line that names the file."""

import gzip
import io
import json
import math
from contextlib import redirect_stdout
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.io import savemat

from pose.config import experiment, read_experiment
from pose.data.obtain.mpii_release import convert
from pose.datasets import coco, mpii
from pose.datasets.coco_format import Truth
from pose.datasets.mpii import read_ground_truth
from pose.datasets.records import read_detections, read_images
from pose.evaluation.coco import METRICS, evaluate
from pose.evaluation.pckh import pckh, read_predictions
from pose.evaluation.results import read_results
from pose.support.errors import PoseError
from pose.support.files import read_json, read_text

fuzzed = settings(
    derandomize=True,
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NUMBERS = [-1, 0, 1, 2, 3, 1.5, 1.0, -2.5, 1e13, 2**63, -(2**63), 10**400, math.nan, math.inf]
OTHERS = [None, True, False, "", "1", "nan", "\ud800", "a\0b", [], [1], [[1, 2]], {}, {"id": 1}]
ODD = st.sampled_from([*NUMBERS, *OTHERS])


def places(content, path=()):
    """The path to each value of a JSON document."""
    parts = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in parts:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


@st.composite
def spoiled(draw, content):
    """The document with one or two values replaced, removed or doubled."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 2))):
        *parents, last = draw(st.sampled_from(sorted(places(content), key=str)))
        part = content
        for key in parents:
            part = part[key]
        change = draw(st.sampled_from(["replace", "replace", "replace", "remove", "double"]))
        if change == "replace":
            part[last] = deepcopy(draw(ODD))
        elif change == "remove":
            del part[last]
        elif isinstance(part, list):
            part.append(part[last])
    return content


def read(reader, content, path):
    """What ``reader`` makes of the document, or None after one line that names the file."""
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    try:
        return reader(path)
    except PoseError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return None


def person(number, image):
    joints = np.random.default_rng(number).uniform(10, 90, (17, 3)).round(2)
    joints[:, 2] = np.arange(17) % 3
    person = {"id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "area": 2500.0}
    person |= {"bbox": [10, 10, 80, 80.5], "keypoints": joints.ravel().tolist()}
    return person | {"num_keypoints": 11}


ANNOTATIONS = {
    "images": [{"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 90} for i in (1, 2)],
    "annotations": [person(1, 1), person(2, 2), person(3, 2)],
    "categories": [{"id": 1, "name": "person"}],
}
RESULTS = [
    {"image_id": p["image_id"], "category_id": 1, "score": 0.5 + p["id"] / 10}
    | {"keypoints": (np.array(p["keypoints"]) + p["id"]).tolist()}
    for p in ANNOTATIONS["annotations"]
]
BOXES = [{"image_id": i, "category_id": 1, "bbox": [5, 5, 20, 30.5], "score": 0.5} for i in (1, 2)]
MPII = [
    {"image": "a.jpg", "center": [50, 60], "scale": 1.5, "joints": [[5, 6.5]] * 16}
    | {"joints_vis": [0, 1] * 8}
] * 2


def pycocotools(content, results):
    with redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(content))
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(json.loads(json.dumps(results))), "keypoints")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats.tolist()


@fuzzed
@given(content=spoiled(ANNOTATIONS))
def test_annotations_are_scored_as_by_pycocotools_or_refused(content, tmp_path, caplog):
    caplog.clear()
    truth = read(coco.DATASET.read_truth, content, tmp_path / "persons.json")
    if truth is None or truth.image_ids != {1, 2}:
        return
    metrics = [evaluate(RESULTS, truth, name) for name in ("pycocotools", "fast")]
    assert metrics[0] | {"evaluator": ""} == metrics[1] | {"evaluator": ""}
    if not caplog.records:  # of a file that contradicts itself, this is said
        for number, annotation in enumerate(content["annotations"], 1):
            annotation["id"] = number  # 0 would be "no match" to it
        expected = pycocotools(content, RESULTS)
        assert [metrics[0][name] for name in METRICS] == expected


@fuzzed
@given(content=spoiled(RESULTS))
def test_results_are_scored_as_by_pycocotools_or_refused(content, tmp_path):
    def reader(path):
        return read_results(path, {1, 2}, coco.COCO)

    results = read(reader, content, tmp_path / "results.json")
    if results is not None:
        metrics = evaluate(results, Truth("persons.json", ANNOTATIONS, coco.COCO))
        assert [metrics[name] for name in METRICS] == pycocotools(ANNOTATIONS, content)


def sound(records, joints):
    """Whether the columns hold finite numbers of a shape and rows of images that exist."""
    images = len(records["name"]) if "name" in records.columns else 2
    numbers = [column for column in records.columns.values() if column.dtype.kind in "if"]
    assert all(np.isfinite(column).all() for column in numbers)
    assert records["image"].min() >= 0 and records["image"].max() < images
    if joints:
        assert records["joints"].shape[1:] == (joints, 2)
        assert set(np.unique(records["visible"])) <= {0, 1}


@fuzzed
@given(content=spoiled(ANNOTATIONS))
def test_persons_to_train_on_are_sound_or_refused(content, tmp_path):
    records = read(coco.DATASET.read_persons, content, tmp_path / "persons.json")
    if records is not None:
        sound(records, 17)
        assert (records["visible"].sum(axis=1) > 0).all() and (records["sides"] >= 0).all()


@fuzzed
@given(content=spoiled(BOXES))
def test_detected_boxes_are_sound_or_refused(content, tmp_path):
    (tmp_path / "images.json").write_text(json.dumps(ANNOTATIONS))
    images = read_images(tmp_path / "images.json")
    records = read(lambda path: read_detections(path, images), content, tmp_path / "boxes.json")
    if records is not None:
        sound(records, 0)
        assert (records["sides"] > 0).all() and (records["score"] >= 0).all()


@fuzzed
@given(content=spoiled(MPII))
def test_mpii_persons_are_sound_or_refused(content, tmp_path):
    records = read(mpii.DATASET.read_persons, content, tmp_path / "valid.json")
    if records is not None:
        sound(records, 16)
        assert (records["sides"] > 0).all()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        '{"a":' * 100_000,
        "[1] 2",
        f"[{'9' * 5000}]",
        '{"images": [], "images": [1]}',
        "[{'a': 1}]",
        '"annotations"',
        "1e400",
        "NaN",
    ],
)
@pytest.mark.parametrize(
    "reader",
    [
        coco.DATASET.read_persons,
        coco.DATASET.read_truth,
        mpii.DATASET.read_persons,
    ],
    ids=["persons", "truth", "mpii"],
)
def test_json_of_another_kind_is_refused(reader, text, tmp_path):
    assert read(reader, text, tmp_path / "persons.json") is None


TRUTH = {
    "pos_gt_src": np.random.default_rng(0).uniform(50, 400, (16, 2, 5)),
    "headboxes_src": np.random.default_rng(1).uniform(1, 90, (2, 2, 5)).cumsum(axis=0),
    "jnt_missing": np.eye(16, 5),
}
ARRAYS = st.sampled_from(
    [
        lambda array: array[..., :1],
        lambda array: array[..., 1:],
        lambda array: array.T,
        lambda array: array[:1],
        lambda array: array[..., None],
        lambda array: array * 0,
        lambda array: array + 1,
        lambda array: array * math.nan,
        lambda array: array / 0,
        lambda array: array + 1j,
        lambda array: np.array(array, str, order="C"),
        lambda array: array.astype(object),
        lambda array: array.astype(np.int16),
        lambda array: np.zeros(0),
        lambda array: {"x": array},
        lambda array: "text",
    ]
)


@fuzzed
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:invalid value", "ignore:divide by zero")
def test_mat_files_give_a_share_or_are_refused(data, tmp_path):
    truth, perfect = tmp_path / "gt_valid.mat", {"preds": TRUTH["pos_gt_src"].transpose(2, 0, 1)}
    content = {"truth": dict(TRUTH), "predictions": perfect}
    of = data.draw(st.sampled_from(sorted(content)))
    name = data.draw(st.sampled_from(sorted(content[of])))
    content[of][name] = data.draw(ARRAYS)(content[of][name])
    savemat(truth, content["truth"])
    savemat(tmp_path / "pred.mat", content["predictions"])
    try:
        row = pckh(read_predictions(tmp_path / "pred.mat"), read_ground_truth(truth))
    except PoseError as error:
        assert "\n" not in str(error)
        return
    json.dumps(row, allow_nan=False)
    assert 0 <= row["PCKh@0.1"] <= row["PCKh@0.11"] <= row["PCKh@0.5"] <= 100


def release(change):
    """A release of two images, with one of its structs changed."""

    def struct(fields):
        return np.array([tuple(fields.values())], dtype=[(name, object) for name in fields])

    point = {"x": 5.0, "y": 6.0, "id": 3.0}
    person = {"scale": 1.5, "objpos": {"x": 4.0, "y": 5.0}}
    person["annopoints"] = {"point": struct(change("point", point))}
    image = {"image": change("image", {"name": "a.jpg"})}
    image["annorect"] = struct(change("annorect", person))
    content = {"annolist": struct(image), "img_train": np.array([1.0])}
    return {"RELEASE": change("RELEASE", content)}


@fuzzed
@given(
    where=st.sampled_from(["point", "image", "annorect", "RELEASE"]),
    field=st.integers(0, 2),
    value=st.sampled_from([None, -1.0, 16.0, 1.5, math.nan, "text", np.zeros(0), np.zeros(3)]),
)
def test_a_release_with_holes_gives_persons_or_is_refused(where, field, value, tmp_path):
    def change(name, fields):
        if name == where:
            key = list(fields)[field % len(fields)]
            fields = {k: v for k, v in fields.items() if k != key or value is not None}
            fields |= {key: value} if value is not None else {}
        return fields

    path, truth = tmp_path / "release.mat", tmp_path / "gt_valid.mat"
    savemat(path, release(change))
    joints = np.zeros((16, 2, 1))
    joints[3] = [[5], [6]]
    savemat(truth, {"pos_gt_src": joints})
    try:
        assert convert(path, truth, tmp_path) == {"train": 0, "valid": 1}
        (record,) = json.loads((tmp_path / "valid.json").read_text())
        assert record["joints"][3] == [5, 6] and math.isfinite(record["scale"])
    except PoseError as error:
        assert "\n" not in str(error) and ".mat" in str(error)


def test_matlabs_newest_format_is_named_with_its_remedy(tmp_path):
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "gt_valid.mat").write_bytes(header + b"\x89HDF" + bytes(500))
    with pytest.raises(PoseError, match=r"gt_valid\.mat: a MATLAB 7\.3 file; save it .* -v7$"):
        read_ground_truth(tmp_path / "gt_valid.mat")


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_is_read_in_every_encoding_that_editors_write(encoding, tmp_path):
    path = tmp_path / "file"
    settings = experiment("eeffpose-p0-order8", "coco", (256, 192))
    path.write_bytes(settings.model_dump_json().encode(encoding))
    assert read_experiment(str(path)) == settings
    path.write_bytes('{"ä": 1}'.encode(encoding))
    assert (read_text(path), read_json(path)) == ('{"ä": 1}', {"ä": 1})


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"{\xe4}", gzip.compress(b"{}", mtime=0)])
@pytest.mark.parametrize("reader", [read_json, read_experiment])
def test_bytes_that_are_no_text_are_refused_by_name(content, reader, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(PoseError, match=r"/file: not text in UTF-8 or UTF-16 \(byte \d+: [^\n]*$"):
        reader(str(tmp_path / "file"))


def test_a_wrong_experiment_is_named_by_its_file(tmp_path):
    (tmp_path / "e.json").write_text('{"model": 1}')
    with pytest.raises(PoseError, match=r"experiment .*/e\.json: .*missing key 'dataset'"):
        read_experiment(str(tmp_path / "e.json"))
