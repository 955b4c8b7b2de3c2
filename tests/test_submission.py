"""The archive for COCO's server holds what the server takes."""

import json
import zipfile

import numpy as np
import pytest

from pose.evaluation.predictions import Predictions
from pose.evaluation.submission import main

STEM = "person_keypoints_test-dev2017_order8_results"


@pytest.fixture
def predicted(tmp_path):
    """25 detected persons on one test image and 3 on another, of the three images there are."""
    rng = np.random.default_rng(0)
    count, boxes = 28, np.ones((28, 2), np.float32)
    Predictions(
        image_ids=np.repeat([581918, 1], [25, 3]),
        person_ids=np.full(count, -1),
        keypoints=rng.uniform(0, 1, (count, 17, 3)) * [600, 400, 1],
        box_scores=rng.uniform(0, 1, count),
        areas=np.full(count, 1000.0),
        centers=boxes,
        scales=boxes,
    ).save(tmp_path / "predictions.npz")
    images = {"images": [{"id": number} for number in (1, 16, 581918)], "categories": []}
    (tmp_path / "image_info.json").write_text(json.dumps(images))
    return tmp_path


def submit(folder, name="order8", output="submission"):
    files = ["--predictions", str(folder / "predictions.npz")]
    files += ["--image-info", str(folder / "image_info.json")]
    main([*files, "--name", name, "--output-dir", str(folder / output)])


def test_the_archive_holds_the_best_20_persons_of_each_image(predicted, capsys):
    submit(predicted)
    with zipfile.ZipFile(predicted / "submission" / f"{STEM}.zip") as archive:
        assert archive.namelist() == [f"{STEM}.json"]
        results = json.loads(archive.read(f"{STEM}.json"))
    assert results == json.loads((predicted / "submission" / f"{STEM}.json").read_text())
    assert [result["image_id"] for result in results] == [1] * 3 + [581918] * 20
    for result in results:
        assert result.keys() == {"image_id", "category_id", "keypoints", "score"}
        assert (len(result["keypoints"]), result["category_id"]) == (51, 1)
    raw = Predictions.load(predicted / "predictions.npz")
    assert np.isin(
        np.round(raw.keypoints[25:, 0, 0], 2), [result["keypoints"][0] for result in results[:3]]
    ).all()
    assert "2 of 3 images" in capsys.readouterr().out


def test_it_is_the_same_to_the_byte_whenever_it_is_written(predicted):
    submit(predicted, output="first")
    submit(predicted, output="second")
    first, second = ((predicted / d / f"{STEM}.zip").read_bytes() for d in ("first", "second"))
    assert first == second


def test_what_the_server_would_refuse_is_named(predicted):
    with pytest.raises(SystemExit, match="name 'my net'"):
        submit(predicted, name="my net")
    (predicted / "image_info.json").write_text('{"images": [{"id": 1}]}')
    with pytest.raises(SystemExit, match=r"^error: predictions: image 581918 is not in"):
        submit(predicted)
    assert not list((predicted / "submission").glob("*"))
    (predicted / "image_info.json").write_text("[]")
    with pytest.raises(SystemExit, match="not a COCO annotation file"):
        submit(predicted)
