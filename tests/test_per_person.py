"""The results of single persons add up to the metrics."""

import numpy as np
import pandas as pd
import pytest
from random_scenes import random_scene
from scipy.io import savemat

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
    persons = coco_persons(run(results, truth, "pycocotools"), COCO)
    assert persons["matched"].mean() == pytest.approx(metrics["AR"], abs=1e-12)
    assert (persons["oks"] > 0).mean() == pytest.approx(metrics["AR50"], abs=1e-12)
    assert persons["oks"][persons["oks"] > 0].ge(0.5).all()
    assert set(persons["person_id"]) <= {person["id"] for person in content["annotations"]}
    assert (persons["score"].isna() == (persons["oks"] == 0)).all()
    labelled = persons[[f"{name}_flag" for name in COCO.names]].to_numpy() > 0
    terms = persons[list(COCO.names)].to_numpy()
    assert (labelled == ~np.isnan(terms)).all()
    own = (persons["num_keypoints"] > 0) & labelled.any(axis=1)  # else OKS is to the box
    assert np.allclose(np.nanmean(terms[own], axis=1), persons["oks"][own], atol=1e-9)


@pytest.fixture
def predicted(test_data, tmp_path):
    """The files of MPII's persons and of predictions with errors of about half a head."""
    truth = test_data / "mpii_mini/annot/gt_valid.mat"
    persons = read_ground_truth(truth)
    errors = np.random.default_rng(0).normal(0, 0.3, persons.joints.shape)
    joints = persons.joints + errors * persons.head_sizes[:, None, None]
    savemat(tmp_path / "pred.mat", {"preds": joints + 1})
    return truth, tmp_path / "pred.mat"


def test_pckh_is_a_mean_over_the_joints_of_persons(predicted):
    truth, joints = read_ground_truth(predicted[0]), read_predictions(predicted[1])
    counted = [name for name in MPII.names if name not in NOT_COUNTED]
    distances = mpii_persons(joints, truth)[counted].to_numpy()
    for threshold in (0.5, 0.1):
        share = 100 * np.mean(distances[~np.isnan(distances)] <= threshold)
        assert share == pytest.approx(pckh(joints, truth)[f"PCKh@{threshold}"], abs=1e-9)


def test_the_command_writes_a_columnar_file(predicted, tmp_path, capsys):
    truth, joints = predicted
    files = ["--predictions", str(joints), "--ground-truth", str(truth)]
    main(["mpii", *files, "--per-person", str(tmp_path / "persons.parquet")])
    persons = pd.read_parquet(tmp_path / "persons.parquet")
    assert list(persons.columns) == ["row", "head_size", *MPII.names]
    assert len(persons) == len(read_ground_truth(truth).joints)
    with pytest.raises(SystemExit):
        main(["mpii", *files, "--per-person", str(tmp_path / "persons.csv")])
    assert "persons.csv does not end in .parquet" in capsys.readouterr().err
