"""The fast evaluator gives pycocotools' ten numbers on whatever COCO's format allows."""

import json

import numpy as np
import pytest
from random_scenes import random_scene

from pose.datasets.coco import COCO, DATASET
from pose.datasets.coco_format import Truth
from pose.evaluation import score
from pose.evaluation.coco import FAST, METRICS, evaluate
from pose.evaluation.results import read_results
from pose.evaluation.score import APScorer

pytest.importorskip(FAST)


@pytest.mark.parametrize("first_id", [1, 0])
def test_it_equals_pycocotools_on_random_scenes(first_id):
    scores = []
    for seed in range(60):
        content, results = random_scene(seed, first_id)
        if not results:
            continue
        truth = Truth("scene", content, COCO)
        expected, fast = (evaluate(results, truth, name) for name in ("pycocotools", "fast"))
        for metric in METRICS:
            assert fast[metric] == pytest.approx(expected[metric], abs=1e-9), (seed, metric)
        scores.append(expected["AP"])
        assert fast["evaluator"].startswith(FAST)
    assert len(scores) > 50 and np.ptp(scores) > 0.5 and min(scores) == -1


@pytest.fixture
def truth():
    return Truth("scene", random_scene(0)[0], COCO)


@pytest.fixture
def results():
    return random_scene(0)[1]


def test_a_training_scores_by_it_once_it_has_proved_right(truth, results):
    scorer = APScorer(truth)
    first, second = scorer.evaluate(results), scorer.evaluate(results)
    assert first["evaluator"].startswith("pycocotools")
    assert second["evaluator"].startswith(FAST)
    assert [first[m] for m in METRICS] == pytest.approx([second[m] for m in METRICS], abs=1e-9)


def test_a_training_never_scores_by_it_where_it_is_wrong(truth, results, monkeypatch, capsys):
    def wrong(results, truth, evaluator="pycocotools"):
        metrics = evaluate(results, truth, evaluator)
        return metrics | ({"APL": metrics["APL"] + 0.01} if evaluator == "fast" else {})

    monkeypatch.setattr(score, "evaluate", wrong)
    scorer = APScorer(truth)
    assert all(scorer.evaluate(results)["evaluator"].startswith("pycocotools") for _ in range(2))
    assert "not used" in capsys.readouterr().err


def test_a_training_goes_without_it_where_it_is_not_installed(truth, results, monkeypatch):
    monkeypatch.setattr(score, "find_spec", lambda name: None)
    assert APScorer(truth).evaluate(results)["evaluator"].startswith("pycocotools")


@pytest.mark.parametrize("evaluator", ["pycocotools", "fast"])
def test_true_is_1_to_each_evaluator(evaluator, test_data, tmp_path):
    name = test_data / "coco_mini/annotations/person_keypoints_val2017.json"
    content = json.loads(name.read_text())
    people = [person for person in content["annotations"] if person["num_keypoints"]]
    results = [
        {name: person[name] for name in ("image_id", "keypoints")} | {"category_id": 1, "score": 1}
        for person in people
    ]
    scores = []
    for one in (1, True, 1.0):
        for record in [*people, *results]:
            record["category_id"] = one
        (tmp_path / "truth.json").write_text(json.dumps(content | {"annotations": people}))
        (tmp_path / "results.json").write_text(json.dumps(results))
        truth = DATASET.read_truth(tmp_path / "truth.json")
        found = read_results(tmp_path / "results.json", truth.image_ids, COCO)
        scores.append(evaluate(found, truth, evaluator)["AP"])
    assert scores == [1, 1, 1]
