"""The results of single persons add up to the metrics."""

import numpy as np
import pandas as pd
import pytest
from random_scenes import random_scene

from pose.datasets.coco import COCO
from pose.datasets.coco_format import Truth
from pose.datasets.mpii import MPII, NOT_COUNTED, read_ground_truth
from pose.evaluate import main
from pose.evaluation.coco import evaluate, run
from pose.evaluation.pckh import pckh, read_predictions
from pose.evaluation.per_person import coco_persons, mpii_persons


@pytest.mark.parametrize("first_id", [1, 0, -(2**40)])
@pytest.mark.parametrize("seed", range(8))
def test_cocos_recalls_are_means_over_persons(seed, first_id):
    content, results = random_scene(seed, first_id)
    truth = Truth("scene", content, COCO)
    metrics = evaluate(results, truth)
    persons = coco_persons(run(results, truth, "pycocotools"))
    assert persons["matched"].mean() == pytest.approx(metrics["AR"], abs=1e-12)
    assert (persons["oks"] > 0).mean() == pytest.approx(metrics["AR50"], abs=1e-12)
    assert persons["oks"][persons["oks"] > 0].ge(0.5).all()
    assert set(persons["person_id"]) <= {person["id"] for person in content["annotations"]}
    assert (persons["score"].isna() == (persons["oks"] == 0)).all()


def test_pckh_is_a_mean_over_the_joints_of_persons(test_data):
    folder = test_data / "metric_fixtures"
    truth = read_ground_truth(folder / "mpii_val_ground_truth_2958.mat")
    joints = read_predictions(folder / "mpii_val_predictions_hourglass_8stack.mat")
    counted = [name for name in MPII.names if name not in NOT_COUNTED]
    distances = mpii_persons(joints, truth)[counted].to_numpy()
    for threshold in (0.5, 0.1):
        share = 100 * np.mean(distances[~np.isnan(distances)] <= threshold)
        assert share == pytest.approx(pckh(joints, truth)[f"PCKh@{threshold}"], abs=1e-9)


def test_the_command_writes_a_columnar_file(test_data, tmp_path, capsys):
    folder = test_data / "metric_fixtures"
    files = ["--predictions", str(folder / "mpii_val_predictions_hourglass_2stack.mat")]
    files += ["--ground-truth", str(folder / "mpii_val_ground_truth_2958.mat")]
    main(["mpii", *files, "--per-person", str(tmp_path / "persons.parquet")])
    persons = pd.read_parquet(tmp_path / "persons.parquet")
    assert list(persons.columns) == ["row", "head_size", *MPII.names]
    assert len(persons) == 2958
    with pytest.raises(SystemExit):
        main(["mpii", *files, "--per-person", str(tmp_path / "persons.csv")])
    assert "persons.csv does not end in .parquet" in capsys.readouterr().err
