"""MPII's PCKh: published predictions give their published numbers."""

import json

import numpy as np
import pytest

from pose.data.samples import open_split
from pose.errors import PoseError
from pose.evaluate import main
from pose.evaluation.pckh import pckh, read_ground_truth, read_predictions

PARTS = ["head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"]


@pytest.mark.parametrize(
    ("stacks", "per_joint", "mean", "strict", "unweighted"),
    [
        (2, [95.80, 94.57, 88.12, 83.31, 86.24, 80.88, 77.44], 87.299, 23.914, 86.76),
        (8, [96.79, 95.19, 90.08, 85.32, 87.48, 84.26, 80.73], 89.092, 24.494, 88.64),
    ],
)
def test_published_numbers_are_reproduced(
    stacks, per_joint, mean, strict, unweighted, test_data, capsys
):
    folder = test_data / "metric_fixtures"
    truth = folder / "mpii_val_ground_truth_2958.mat"
    predictions = folder / f"mpii_val_predictions_hourglass_{stacks}stack.mat"
    main(["mpii", "--predictions", str(predictions), "--ground-truth", str(truth), "--json"])
    row = json.loads(capsys.readouterr().out)
    assert [round(row["per_joint"][part], 2) for part in PARTS] == per_joint
    assert (round(row["PCKh@0.5"], 3), round(row["PCKh@0.1"], 3)) == (mean, strict)
    assert round(row["mean_unweighted"], 2) == unweighted
    assert row["persons"] == 2958


def test_a_joint_counts_up_to_half_a_head_size(test_data):
    truth = read_ground_truth(test_data / "mpii_mini" / "annot" / "gt_valid.mat")
    for share, expected in [(0.0, 100), (0.49, 100), (0.51, 0)]:
        off = truth.joints + np.array([share, 0]) * truth.head_sizes[:, None, None]
        assert pckh(off, truth)["PCKh@0.5"] == expected


def test_images_and_evaluation_agree_on_the_joints(test_data):
    root = test_data / "mpii_mini"
    samples = open_split("mpii", root, "val", (256, 256))
    truth = read_ground_truth(root / "annot" / "gt_valid.mat")
    np.testing.assert_array_equal(samples.visible, truth.visible)
    apart = np.linalg.norm(samples.joints - truth.joints, axis=-1)[truth.visible] > 0.01
    assert apart.sum() == 2  # the official file has a 0 for one coordinate of two joints


def test_wrong_files_and_shapes_are_named(test_data, tmp_path):
    folder = test_data / "metric_fixtures"
    predictions = folder / "mpii_val_predictions_hourglass_2stack.mat"
    with pytest.raises(PoseError, match="no variable pos_gt_src"):
        read_ground_truth(predictions)
    with pytest.raises(PoseError, match="No such file"):
        read_predictions(tmp_path / "pred.mat")
    truth = read_ground_truth(folder / "mpii_val_ground_truth_2958.mat")
    with pytest.raises(PoseError, match="shape"):
        pckh(read_predictions(predictions)[:5], truth)
