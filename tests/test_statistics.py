"""Intervals over images: the same AP, every image as often as it is drawn, and what follows."""

import json

import numpy as np
import pytest
from random_scenes import random_scene

from analysis import compare
from analysis.statistics import Hits, Matches, draws, holm, interval, p_better, p_value, resampled
from pose.datasets.coco import COCO
from pose.datasets.coco_format import Truth
from pose.datasets.keypoints import KeypointSet
from pose.datasets.mpii import read_ground_truth
from pose.evaluation.coco import evaluate
from pose.evaluation.pckh import pckh, read_predictions


def scenes(number):
    """Random scenes with a result and a person that counts, as the evaluators' input."""
    for seed in range(number):
        content, results = random_scene(seed)
        if results and any(p["num_keypoints"] and not p["iscrowd"] for p in content["annotations"]):
            yield seed, content, results


def once(sample):
    return np.ones(sample.units, np.int64)


@pytest.mark.parametrize(
    "set_of_keypoints", [COCO, KeypointSet(COCO.names, (), (), (), (0.1,) * 17)]
)
def test_the_score_of_all_images_once_is_pycocotools(set_of_keypoints):
    for seed, content, results in scenes(12):
        truth = Truth("scene", content, set_of_keypoints)
        expected = evaluate(results, truth)
        sample = Matches.of(results, truth)
        found = sample.scores(once(sample))
        assert found == pytest.approx((expected["AP"], expected["AR"]), abs=1e-12), seed


def duplicated(content, results, weights):
    """The scene with every image as often as it is drawn, its copies side by side."""
    places = {
        image: place for place, image in enumerate(sorted(i["id"] for i in content["images"]))
    }

    def copies(records):
        for record in records:
            place = places[record["image_id"]]
            for copy in range(weights[place]):
                yield record | {"image_id": 1000 * place + copy}

    people = [p | {"id": k} for k, p in enumerate(copies(content["annotations"]), 1)]
    images = [{"id": 1000 * p + c} for p in places.values() for c in range(weights[p])]
    return content | {"images": images, "annotations": people}, list(copies(results))


def test_a_resample_is_pycocotools_on_the_images_as_often_as_they_are_drawn():
    compared = 0
    for seed, content, results in scenes(15):
        for k, result in enumerate(results):  # of equal scores, pycocotools takes the next image
            result["score"] += 1e-7 * k
        sample = Matches.of(results, Truth("scene", content, COCO))
        for weights in draws(sample.units, 3, seed):
            drawn, theirs = duplicated(content, results, weights)
            if not theirs or not weights @ sample.persons:
                continue
            expected = evaluate(theirs, Truth("drawn", drawn, COCO))
            found = sample.scores(weights)
            assert found == pytest.approx((expected["AP"], expected["AR"]), abs=1e-12), seed
            compared += 1
    assert compared > 15


def test_an_image_that_is_drawn_three_times_counts_three_times():
    found, none = np.array([0]), np.zeros(0, int)
    sample = Matches(np.array([1, 1]), np.array([0]), [found], [none], [np.array([0])])
    assert [sample.scores(np.array(w))[1] for w in ([1, 1], [3, 1], [1, 3])] == [0.5, 0.75, 0.25]
    assert all(draw.sum() == 7 for draw in draws(7, 20))
    assert np.max([draw.max() for draw in draws(7, 20)]) > 2


def test_no_person_in_a_resample_is_no_score():
    sample = Matches(
        np.array([1, 0]), np.array([0]), [np.array([0])], [np.zeros(0, int)], [np.array([0])]
    )
    assert np.isnan(sample.scores(np.array([0, 2]))).all()
    assert interval(np.array([0.2, np.nan, 0.2])) == (0.2, 0.2)


def compare_with_pckh(photographs):
    fixtures = photographs / "metric_fixtures"
    truth = read_ground_truth(fixtures / "mpii_val_ground_truth_2958.mat")
    joints = read_predictions(fixtures / "mpii_val_predictions_hourglass_8stack.mat")
    sample = Hits.of(joints, truth)
    assert sample.scores(once(sample))[0] == pytest.approx(
        pckh(joints, truth)["PCKh@0.5"], abs=1e-9
    )
    scores = resampled([sample], 50)[0]
    assert 0.1 < scores.std() < 0.6


def test_models_that_are_the_same_get_no_verdict():
    zero = np.zeros(500)
    assert interval(zero) == (0, 0) and p_better(zero) == 0.5 and p_value(zero) == 1


def test_a_p_value_is_two_sided_and_never_zero():
    assert p_value(np.ones(999)) == p_value(-np.ones(999)) == 2 / 1000
    assert p_better(np.array([1, 1, -1, 0.0])) == 0.625


def test_holm_multiplies_the_least_p_by_the_number_of_all():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def simulated(rng, images):
    """Two models on the same persons, the second a little better, at three OKS thresholds."""
    persons = rng.poisson(1.5, images)
    image = np.repeat(np.arange(images), persons)
    ease = rng.normal(0, 0.5, images)[image] + rng.normal(0, 1, len(image))
    others = np.repeat(np.arange(images), rng.poisson(1, images))
    for gain in (0, 0.2):
        oks = 1 / (1 + np.exp(-1 - gain - ease - rng.normal(0, 0.7, len(image))))
        score = np.append(oks + rng.normal(0, 0.15, len(oks)), rng.uniform(0, 0.7, len(others)))
        order = np.argsort(-score, kind="stable")
        oks = np.append(oks, np.zeros(len(others)))[order]
        found = [np.flatnonzero(oks > threshold) for threshold in (0.5, 0.7, 0.9)]
        none = [np.zeros(0, int)] * 3
        yield Matches(persons, np.append(image, others)[order], found, none, none)


@pytest.mark.slow
def test_95_percent_of_the_intervals_hold_the_ap_and_the_difference_of_all_images():
    rng = np.random.default_rng(2022)

    def scores_of(samples, weights):
        first, second = (sample.scores(weights)[0] for sample in samples)
        return first, second, second - first

    every = list(simulated(rng, 400_000))
    truth = np.array(scores_of(every, once(every[0])))
    held = np.zeros(3)
    for number in range(2000):
        samples = list(simulated(rng, 100))
        drawn = np.array([scores_of(samples, w) for w in draws(100, 500, number)])
        low, high = np.transpose([interval(column) for column in drawn.T])
        held += (low <= truth) & (truth <= high)
    assert ((held >= 0.93 * 2000) & (held <= 0.97 * 2000)).all(), held / 2000


# The command


@pytest.fixture
def files(tmp_path):
    """Annotations and results of two models: noisier ones, and one false person an image."""
    rng = np.random.default_rng(0)
    images = [{"id": 7 * k + 1} for k in range(20)]
    people, good, bad = [], [], []
    for number, image in enumerate(images[:15], 1):
        joints = np.column_stack([rng.uniform(0, 100, (17, 2)), np.full(17, 2.0)])
        common = {"image_id": image["id"], "category_id": 1}
        person = {"id": number, "iscrowd": 0, "area": 9000.0, "bbox": [0, 0, 100, 100]}
        people.append(person | common | {"num_keypoints": 17, "keypoints": joints.ravel().tolist()})
        for results, noise in ((good, 2), (bad, 6)):
            moved = joints + np.column_stack([rng.normal(0, noise, (17, 2)), np.zeros(17)])
            results.append(common | {"keypoints": moved.ravel().tolist(), "score": rng.random()})
    content = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    for name, value in (("truth", content), ("good", good), ("bad", bad)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    return tmp_path


def run(folder, *names, more=()):
    results = [str(folder / f"{name}.json") for name in names]
    compare.main(["--annotations", str(folder / "truth.json"), "--results", *results, *more])


def test_scores_and_pairs_with_their_intervals(files, capsys):
    run(files, "good", "bad", more=["--resamples", "200", "--json"])
    found = json.loads(capsys.readouterr().out)
    good, bad = (found["scores"][str(files / f"{name}.json")] for name in ("good", "bad"))
    truth = Truth.read(files / "truth.json", COCO)
    expected = evaluate(json.loads((files / "good.json").read_text()), truth)
    assert good["AP"] == pytest.approx(expected["AP"], abs=1e-9)
    assert good["low"] <= good["AP"] <= good["high"] and set(good) == {"AP", "low", "high"}
    (pair,) = found["pairs"]
    assert pair["difference"] == pytest.approx(good["AP"] - bad["AP"])
    assert 0 < pair["low"] < pair["difference"] < pair["high"] and pair["p_better"] == 1
    assert list(pair) == ["a", "b", "difference", "low", "high", "p_better", "p_holm"]
    assert pair["p_holm"] == pytest.approx(2 / 201)
    run(files, "good", "bad", more=["--resamples", "200", "--json"])
    assert json.loads(capsys.readouterr().out) == found


def test_a_copy_of_a_file_is_no_better(files, capsys):
    (files / "copy.json").write_text((files / "good.json").read_text())
    run(files, "good", "copy", more=["--resamples", "50", "--json"])
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["difference"] == pair["low"] == pair["high"] == 0
    assert pair["p_better"] == 0.5 and pair["p_holm"] == 1


def test_the_text_tells_percent_units_and_seed(files, capsys):
    run(files, "good", "bad", more=["--resamples", "50"])
    text = capsys.readouterr().out
    assert "50 bootstrap resamples of 20 images" in text and "seed 0" in text
    run(files, "good", more=["--resamples", "50"])
    assert "p_holm" in text and "p_holm" not in capsys.readouterr().out


def test_mpii_predictions_are_scored_as_pckh_and_compared_by_their_persons(photographs, capsys):
    compare_with_pckh(photographs)
    folder = photographs / "metric_fixtures"
    results = [str(folder / f"mpii_val_predictions_hourglass_{n}stack.mat") for n in (2, 8)]
    truth = str(folder / "mpii_val_ground_truth_2958.mat")
    arguments = ["--annotations", truth, "--results", *results, "--resamples", "50", "--json"]
    compare.main(["--mpii", *arguments])
    found = json.loads(capsys.readouterr().out)
    assert found["scores"][results[1]]["PCKh@0.5"] == pytest.approx(89.092, abs=1e-3)
    assert found["pairs"][0]["high"] < 0 and found["pairs"][0]["p_better"] == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r[3].update(score=float("nan")), "record 3: score"),
        (lambda r: r[0].update(image_id=5), "image 5 is not in the annotations"),
        (lambda r: r[0].update(category_id=2), "category_id"),
        (lambda r: r[0].update(keypoints=[0.0] * 42), "42 numbers, not 51"),
        (lambda r: r.clear(), "empty"),
    ],
)
def test_results_that_cannot_be_scored_are_one_line(files, change, told):
    results = json.loads((files / "bad.json").read_text())
    change(results)
    (files / "bad.json").write_text(json.dumps(results))
    with pytest.raises(SystemExit) as end:
        run(files, "good", "bad")
    assert told in end.value.code and str(files / "bad.json") in end.value.code
    assert "\n" not in end.value.code


def test_a_file_that_is_named_twice_is_one_line(files):
    with pytest.raises(SystemExit, match="named twice"):
        run(files, "good", "good")
