"""COCO's AP: known numbers, both evaluators, and the way from raw predictions to a results file."""

import json
import sys

import numpy as np
import pytest

from pose.data.keypoints import COCO
from pose.data.samples import open_split
from pose.errors import PoseError
from pose.evaluate import main
from pose.evaluation.coco import METRICS, evaluate, rescore, to_results
from pose.evaluation.oks import oks_nms
from pose.evaluation.predictions import Predictions

EVALUATORS = ["pycocotools", "xtcocotools"]


@pytest.fixture(params=EVALUATORS)
def evaluator(request):
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture(scope="module")
def four_images(test_data):
    return test_data / "metric_fixtures" / "coco_keypoints_4_images.json"


@pytest.fixture(scope="module")
def distorted(four_images):
    """The persons of four images, stretched; scored by hand and suppressed."""
    people = json.loads(four_images.read_text())["annotations"]
    results = []
    for image in sorted({person["image_id"] for person in people}):
        here = [person for person in people if person["image_id"] == image]
        keypoints = np.reshape([p["keypoints"] for p in here], (-1, 17, 3)) * [0.98, 1.02, 0.8]
        scores = 0.98 + keypoints[..., 2].mean(axis=1) + keypoints[..., 2].max(axis=1)
        areas = np.array([np.prod(p["bbox"][2:]) * 1.25**2 for p in here])
        for row in oks_nms(keypoints, scores, areas, 0.9, COCO.sigmas):
            numbers = keypoints[row].ravel().tolist()
            result = {"image_id": image, "category_id": 1, "keypoints": numbers}
            results.append(result | {"score": float(scores[row])})
    return results


def test_published_numbers_are_reproduced(distorted, four_images, evaluator):
    metrics = evaluate(distorted, four_images, evaluator)
    expected = [0.5004950495, 0.8836633663, 0.4679867987, 0.4247524752, 0.5814108911]
    expected += [0.5833333333, 0.9166666667, 0.5833333333, 0.44, 0.6857142857]
    assert [metrics[name] for name in METRICS] == pytest.approx(expected, abs=1e-10)
    assert metrics["evaluator"].startswith(evaluator)


@pytest.fixture(scope="module")
def perfect(test_data):
    """The annotated persons of the val images as if predicted."""
    samples = open_split("coco", test_data / "coco_mini", "val", (256, 192))
    return Predictions(
        image_ids=samples.image_ids,
        person_ids=samples.person_ids,
        keypoints=np.concatenate([samples.joints, samples.visible[..., None]], axis=-1),
        box_scores=samples.box_scores,
        areas=samples.areas,
        centers=samples.centers,
        scales=samples.scales,
    )


@pytest.fixture(scope="module")
def annotations(test_data):
    return test_data / "coco_mini" / "annotations" / "person_keypoints_val2017.json"


@pytest.mark.parametrize("soft", [False, True])
def test_perfect_predictions_score_1(perfect, annotations, evaluator, soft):
    metrics = evaluate(to_results(perfect, 0.2, 0.99, soft), annotations, evaluator)
    assert [metrics[name] for name in METRICS] == pytest.approx([1.0] * 10)


def test_evaluators_agree_on_noisy_predictions_of_real_images(perfect, annotations):
    pytest.importorskip("xtcocotools")
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.03, perfect.keypoints.shape) * np.sqrt(perfect.areas)[:, None, None]
    noise[..., 2] = rng.uniform(-0.5, 0, noise.shape[:2])
    noisy = Predictions(**vars(perfect) | {"keypoints": perfect.keypoints + noise})
    results = to_results(noisy, 0.2, 0.9)
    first, second = (evaluate(results, annotations, evaluator) for evaluator in EVALUATORS)
    assert 0.1 < first["AP"] < 0.95
    assert [first[m] for m in METRICS] == pytest.approx([second[m] for m in METRICS], abs=1e-12)


def test_rescoring_counts_only_keypoints_above_the_threshold():
    scores = np.array([[0.9, 0.5, 0.2], [0.1, 0.1, 0.2]])
    np.testing.assert_allclose(rescore(scores, np.array([0.5, 1.0]), 0.2), [0.35, 0.0])


def test_suppression_stays_within_an_image(perfect):
    twice = {name: np.concatenate([array, array]) for name, array in vars(perfect).items()}
    count = len(to_results(perfect, 0.2, 0.99))
    assert len(to_results(Predictions(**twice), 0.2, 0.99)) == count
    twice["image_ids"][len(perfect) :] += 10**7
    assert len(to_results(Predictions(**twice), 0.2, 0.99)) == 2 * count


def test_the_command_scores_raw_predictions_and_labels_the_row(
    perfect, annotations, tmp_path, capsys
):
    perfect.save(tmp_path / "predictions.npz")
    files = ["--predictions", str(tmp_path / "predictions.npz"), "--annotations", str(annotations)]
    labels = ["--label", "boxes=gt", "--label", "seed=0"]
    main(["coco", *files, "--json", "--output", str(tmp_path / "metrics.json"), *labels])
    printed = capsys.readouterr().out
    row = json.loads((tmp_path / "metrics.json").read_text())
    assert json.loads(printed) == row
    assert (row["AP"], row["boxes"], row["seed"]) == (pytest.approx(1.0), "gt", 0)
    assert (row["persons"], row["images"]) == (80, 83)
    assert [path.name for path in tmp_path.glob("*")].count("metrics.json") == 1


def test_an_evaluator_that_is_not_installed_is_named(distorted, four_images, monkeypatch):
    monkeypatch.setitem(sys.modules, "xtcocotools.coco", None)
    with pytest.raises(PoseError, match="pip install xtcocotools"):
        evaluate(distorted, four_images, "xtcocotools")


def changed(results, **change):
    return [results[0] | change, *results[1:]]


def test_wrong_predictions_are_named(distorted, four_images, tmp_path):
    cases = {
        "empty": [],
        "is not annotated": changed(distorted, image_id=1),
        "has not 17 keypoints": changed(distorted, keypoints=[0, 0, 1]),
        "not finite": changed(distorted, score=float("nan")),
        "not a COCO result": [{"image_id": 785}],
    }
    for message, results in cases.items():
        with pytest.raises(PoseError, match=message):
            evaluate(results, four_images)
    with pytest.raises(PoseError, match="no such file"):
        Predictions.load(tmp_path / "none.npz")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(PoseError, match="not a file of"):
        Predictions.load(tmp_path / "torn.npz")
