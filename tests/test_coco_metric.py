"""COCO's AP: known numbers, all evaluators, and the way from raw predictions to a results file."""

import json
import sys

import numpy as np
import pytest

from pose.data.samples import open_split
from pose.datasets.coco import COCO, DATASET
from pose.evaluate import main
from pose.evaluation.coco import FAST, METRICS, evaluate
from pose.evaluation.oks import oks_nms
from pose.evaluation.predictions import Predictions
from pose.evaluation.results import read_results, rescore, to_records, to_results
from pose.infer import predictions_of
from pose.support.errors import PoseError

EVALUATORS = {"pycocotools": "pycocotools", "xtcocotools": "xtcocotools", "fast": FAST}


@pytest.fixture(params=EVALUATORS)
def evaluator(request):
    pytest.importorskip(EVALUATORS[request.param])
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


def test_published_numbers_are_reproduced(distorted, four_images, evaluator, photographs):
    metrics = evaluate(distorted, DATASET.read_truth(four_images), evaluator)
    expected = [0.5004950495, 0.8836633663, 0.4679867987, 0.4247524752, 0.5814108911]
    expected += [0.5833333333, 0.9166666667, 0.5833333333, 0.44, 0.6857142857]
    assert [metrics[name] for name in METRICS] == pytest.approx(expected, abs=1e-10)
    assert metrics["evaluator"].startswith(EVALUATORS[evaluator])


@pytest.fixture(scope="module")
def perfect(test_data):
    """The annotated persons of the val images as if predicted."""
    samples = open_split("coco", test_data / "coco_mini", "val", (256, 192))
    keypoints = np.concatenate([samples.joints, samples.visible[..., None]], axis=-1)
    return predictions_of(samples, keypoints)


@pytest.fixture(scope="module")
def annotations(test_data):
    return test_data / "coco_mini" / "annotations" / "person_keypoints_val2017.json"


@pytest.mark.parametrize("soft", [False, True])
def test_perfect_predictions_score_1(perfect, annotations, evaluator, soft):
    results, truth = to_records(perfect, COCO, 0.2, 0.99, soft), DATASET.read_truth(annotations)
    metrics = evaluate(results, truth, evaluator)
    assert [metrics[name] for name in METRICS] == pytest.approx([1.0] * 10)


@pytest.fixture(scope="module")
def noisy(perfect):
    """The annotated persons, predicted with errors, each twice."""
    rng = np.random.default_rng(0)
    twice = {name: np.concatenate([array, array]) for name, array in arrays(perfect).items()}
    noise = rng.normal(0, 0.03, twice["keypoints"].shape)
    noise *= np.sqrt(twice["areas"])[:, None, None]
    noise[..., 2] = rng.uniform(-0.5, 0, noise.shape[:2])
    return Predictions(**twice | {"keypoints": twice["keypoints"] + noise})


def arrays(predictions):
    return {name: array for name, array in vars(predictions).items() if name != "about"}


@pytest.mark.parametrize("soft", [False, True])
def test_evaluators_agree_on_noisy_predictions_of_real_images(noisy, annotations, soft):
    results, truth = to_records(noisy, COCO, 0.2, 0.9, soft), DATASET.read_truth(annotations)
    expected = evaluate(results, truth)
    assert 0.1 < expected["AP"] < 0.95
    for name, library in EVALUATORS.items():
        pytest.importorskip(library)
        metrics = evaluate(results, truth, name)
        assert [metrics[m] for m in METRICS] == pytest.approx(
            [expected[m] for m in METRICS], abs=1e-9
        )


def test_records_for_evaluators_and_results_for_files_are_the_same(noisy):
    records, results = to_records(noisy, COCO, 0.2, 0.9), to_results(noisy, COCO, 0.2, 0.9)
    assert [record | {"keypoints": list(record["keypoints"])} for record in records] == results
    assert json.loads(json.dumps(results)) == results


def test_rescoring_counts_only_keypoints_above_the_threshold():
    scores = np.array([[0.9, 0.5, 0.2], [0.1, 0.1, 0.2]])
    np.testing.assert_allclose(rescore(scores, np.array([0.5, 1.0]), 0.2), [0.35, 0.0])


def test_suppression_stays_within_an_image(perfect):
    twice = {name: np.concatenate([array, array]) for name, array in arrays(perfect).items()}
    count = len(to_results(perfect, COCO, 0.2, 0.99))
    assert len(to_results(Predictions(**twice), COCO, 0.2, 0.99)) == count
    twice["image_ids"][len(perfect) :] += 10**7
    assert len(to_results(Predictions(**twice), COCO, 0.2, 0.99)) == 2 * count


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
    images = len(json.loads(annotations.read_text())["images"])
    assert (row["persons"], row["images"]) == (len(perfect), images)
    assert [path.name for path in tmp_path.glob("*")].count("metrics.json") == 1


def test_a_row_tells_how_its_numbers_came_about(perfect, annotations, tmp_path, capsys):
    about = {"decode": "dark", "flip": True, "flip_shift": 1, "skipped": {"no area": 2}}
    Predictions(**arrays(perfect), about=about).save(tmp_path / "predictions.npz")
    files = ["--predictions", str(tmp_path / "predictions.npz"), "--annotations", str(annotations)]
    main(["coco", *files, "--json", "--oks-nms", "0.9", "--soft-oks-nms"])
    row = json.loads(capsys.readouterr().out)
    expected = {"rescore_threshold": 0.2, "oks_nms": 0.9, "oks_nms_kind": "soft", **about}
    assert expected.items() <= row.items()
    assert row["evaluator"].startswith("pycocotools 2")


def test_results_of_other_projects_with_more_keys_score_the_same(
    distorted, four_images, tmp_path, capsys
):
    more = [{**result, "id": 5, "segmentation": [], "valid": True} for result in distorted]
    path = tmp_path / "mmpose.json"
    path.write_text(json.dumps(more))
    files = ["--predictions", str(path), "--annotations", str(four_images)]
    main(["coco", *files, "--json", "--evaluator", "fast"])
    expected = evaluate(distorted, DATASET.read_truth(four_images))
    row = json.loads(capsys.readouterr().out)
    assert [row[m] for m in METRICS] == [expected[m] for m in METRICS]


def test_an_evaluator_that_is_not_installed_is_named(distorted, four_images, monkeypatch):
    monkeypatch.setitem(sys.modules, "xtcocotools.coco", None)
    with pytest.raises(PoseError, match="pip install xtcocotools"):
        evaluate(distorted, DATASET.read_truth(four_images), "xtcocotools")


WRONG_RESULTS = {
    "not a list of COCO results, or an empty one": lambda results: [],
    "record 0: image_id: image 1 is not in": lambda results: changed(results, image_id=1),
    "record 0: keypoints: 3 numbers, not 51": lambda results: changed(results, keypoints=[0, 0, 1]),
    "record 0: score: should be a finite number": lambda results: changed(
        results, score=float("nan")
    ),
    "record 0: no 'score'": lambda results: [
        {name: value for name, value in results[0].items() if name != "score"}
    ],
    "record 0: image_id: .* got 785.0 .number.": lambda results: changed(results, image_id=785.0),
    "record 0: image_id: .* got '785' .text.": lambda results: changed(results, image_id="785"),
    "record 0: score: .* got '1' .text.": lambda results: changed(results, score="1"),
    "record 0: bbox: .* negative side": lambda results: changed(results, bbox=[0, 0, 5, -5]),
    "category_id: should be 1, got 2": lambda results: changed(results, category_id=2),
    "record 0: keypoints.0.: .* got .x. .text.": lambda results: changed(
        results, keypoints=["x"] * 51
    ),
    "only 1 of": lambda results: changed(results, bbox=[0, 0, 5, 5]),
    "record 0:": lambda results: [None, *results],
}


def changed(results, **change):
    return [results[0] | change, *results[1:]]


@pytest.mark.parametrize("message", WRONG_RESULTS)
def test_wrong_results_are_named_by_record(message, distorted, four_images, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(WRONG_RESULTS[message](distorted)))
    with pytest.raises(PoseError, match=f"results.json: .*{message}|results.json: {message}"):
        read_results(path, DATASET.read_truth(four_images).image_ids, COCO)


def test_the_command_ends_with_one_line_for_malformed_json(four_images, tmp_path):
    path = tmp_path / "results.json"
    path.write_text('[{"image_id": 785,')
    with pytest.raises(SystemExit, match=r"error: .*results.json: not valid JSON[^\n]*$"):
        main(["coco", "--predictions", str(path), "--annotations", str(four_images)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": [0] * 50}, "record 0 of 'annotations'.*: keypoints: 50 numbers, not 51"),
        ({"area": float("nan")}, "record 0 of 'annotations'.*: area: should be a finite number"),
        ({"id": None}, "record 0 of 'annotations'"),
        ({"image_id": 3}, "image_id: image 3 is not in the annotations"),
        ({"num_keypoints": 18}, "num_keypoints: should be less than or equal to 17"),
        ("num_keypoints", "record 0 of 'annotations'.*: no 'num_keypoints'"),
        ("twice", "annotation id {annotation} stands twice"),
        ("same image", "image id {image} stands twice"),
    ],
)
def test_wrong_annotations_are_named(change, message, four_images, tmp_path):
    content = json.loads(four_images.read_text())
    people = content["annotations"]
    ids = {"annotation": people[0]["id"], "image": content["images"][0]["id"]}
    if isinstance(change, dict):
        people[0] |= change
    elif change == "twice":
        people.append(people[0])
    elif change == "same image":
        content["images"].append(content["images"][0])
    else:
        del people[0][change]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    with pytest.raises(PoseError, match=message.format(**ids)):
        DATASET.read_truth(path)


@pytest.fixture
def four_persons(four_images, tmp_path):
    """Reads the annotations of four images after ``change(content)``."""

    def read(change):
        content = json.loads(four_images.read_text())
        change(content)
        path = tmp_path / "persons.json"
        path.write_text(json.dumps(content))
        return DATASET.read_truth(path)

    return read


@pytest.mark.parametrize("first", [0, -20, -(2**63), 2**63 - 100])
def test_the_ids_of_annotations_do_not_matter(first, distorted, four_images, four_persons):
    def renumber(content):
        for number, person in enumerate(content["annotations"]):
            person["id"] = first + number

    expected = evaluate(distorted, DATASET.read_truth(four_images))
    for name, library in EVALUATORS.items():
        pytest.importorskip(library)
        metrics = evaluate(distorted, four_persons(renumber), name)
        assert [metrics[m] for m in METRICS] == pytest.approx([expected[m] for m in METRICS])


def test_negative_ids_of_images_are_scored_as_any(distorted, four_images, four_persons):
    def shift(content):
        for record in content["images"]:
            record["id"] -= 10**9
        for record in content["annotations"]:
            record["image_id"] -= 10**9

    expected = evaluate(distorted, DATASET.read_truth(four_images))
    moved = [result | {"image_id": result["image_id"] - 10**9} for result in distorted]
    for name, library in EVALUATORS.items():
        pytest.importorskip(library)
        metrics = evaluate(moved, four_persons(shift), name)
        assert [metrics[m] for m in METRICS] == pytest.approx([expected[m] for m in METRICS])


def test_a_second_category_is_not_scored_and_this_is_said(
    distorted, four_images, four_persons, caplog
):
    def add(content):
        content["categories"].append({"id": 2, "name": "mannequin"})
        content["annotations"].append(content["annotations"][0] | {"id": 1, "category_id": 2})
        content["annotations"].append({"category_id": 3, "id": 1})

    metrics = evaluate(distorted, four_persons(add))
    assert metrics == evaluate(distorted, DATASET.read_truth(four_images))
    assert "category 1 alone is scored, not 1 annotations with keypoints" in caplog.text


def test_a_person_without_a_labelled_joint_does_not_count(
    distorted, four_images, four_persons, caplog
):
    def unlabel(content):
        person = content["annotations"][0]
        person["keypoints"][2::3] = 17 * [0]  # places stay, and so does num_keypoints

    def leave_out(content):
        content["annotations"][0] |= {"num_keypoints": 0, "keypoints": 51 * [0]}

    truth = four_persons(unlabel)
    assert "num_keypoints is not the number of labelled joints in 1 annotations" in caplog.text
    assert evaluate(distorted, truth) == evaluate(distorted, four_persons(leave_out))
    with pytest.raises(PoseError, match="no joint of any person is labelled"):
        four_persons(lambda content: [p.update(keypoints=51 * [0]) for p in content["annotations"]])
    with pytest.raises(PoseError, match="no person in it that is scored"):
        four_persons(lambda content: [p.update(num_keypoints=0) for p in content["annotations"]])


def test_it_is_said_where_xtcocotools_counts_otherwise(distorted, four_persons, caplog):
    pytest.importorskip("xtcocotools")
    truth = four_persons(lambda content: content["annotations"][0].update(num_keypoints=0))
    blank = [distorted[0] | {"keypoints": 51 * [0]}, *distorted[1:]]
    evaluate(blank, truth, "xtcocotools")
    # Persons without a labelled joint are distorted too, and have no keypoint score.
    lost = sum(not any(result["keypoints"][2::3]) for result in blank)
    assert f"xtcocotools leaves out {lost} results without a keypoint score" in caplog.text
    assert "xtcocotools counts 1 persons with labelled joints whose num_keypoints" in caplog.text


@pytest.mark.parametrize("categories", [None, [], [{"id": 2, "name": "person"}]])
def test_without_the_category_person_nothing_is_scored(categories, four_persons):
    with pytest.raises(PoseError, match=r"persons\.json: (no list 'categories'|category 1 is not)"):
        four_persons(lambda content: content.update(categories=categories))


def test_wrong_raw_predictions_are_named(perfect, annotations, tmp_path):
    path = tmp_path / "predictions.npz"
    with pytest.raises(PoseError, match="no such file"):
        Predictions.load(path)
    path.write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(PoseError, match="not a file of"):
        Predictions.load(path)
    cases = {
        "keypoints has a number that is not finite": {"keypoints": perfect.keypoints * np.nan},
        "keypoints has the shape": {"keypoints": perfect.keypoints[:5]},
        "predicted twice": {"person_ids": perfect.person_ids * 0},
    }
    for message, change in cases.items():
        Predictions(**arrays(perfect) | change).save(path)
        with pytest.raises(PoseError, match=message):
            Predictions.load(path)
    Predictions(**arrays(perfect) | {"keypoints": perfect.keypoints[:, :16]}).save(path)
    with pytest.raises(PoseError, match="16 joints a person"):
        to_results(Predictions.load(path), COCO, 0.2, 0.9)
    Predictions(**arrays(perfect) | {"image_ids": perfect.image_ids * 0}).save(path)
    with pytest.raises(SystemExit, match="image 0 is not in"):
        main(["coco", "--predictions", str(path), "--annotations", str(annotations)])
