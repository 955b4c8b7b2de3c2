"""MPII's PCKh: published predictions give their published numbers."""

import json
from itertools import permutations

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.sparse import csc_array

from pose.config import experiment
from pose.data.samples import open_split
from pose.datasets.mpii import MPII, differing_persons, read_ground_truth
from pose.evaluate import main
from pose.evaluation.pckh import pckh, read_predictions
from pose.evaluation.predictions import Predictions
from pose.evaluation.score import score
from pose.support.errors import PoseError

PARTS = ["head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"]


@pytest.mark.parametrize(
    ("stacks", "per_joint", "mean", "strict", "hrnets", "unweighted"),
    [
        (2, [95.80, 94.57, 88.12, 83.31, 86.24, 80.88, 77.44], 87.299, 23.914, None, 86.76),
        (8, [96.79, 95.19, 90.08, 85.32, 87.48, 84.26, 80.73], 89.092, 24.494, 28.905, 88.64),
    ],
)
def test_published_numbers_are_reproduced(
    stacks, per_joint, mean, strict, hrnets, unweighted, photographs, capsys
):
    folder = photographs / "metric_fixtures"
    truth = folder / "mpii_val_ground_truth_2958.mat"
    predictions = folder / f"mpii_val_predictions_hourglass_{stacks}stack.mat"
    main(["mpii", "--predictions", str(predictions), "--ground-truth", str(truth), "--json"])
    row = json.loads(capsys.readouterr().out)
    assert [round(row["per_joint"][part], 2) for part in PARTS] == per_joint
    assert (round(row["PCKh@0.5"], 3), round(row["PCKh@0.1"], 3)) == (mean, strict)
    assert hrnets is None or round(row["PCKh@0.11"], 3) == hrnets  # printed as Mean@0.1
    assert round(row["mean_unweighted"], 2) == unweighted
    assert row["persons"] == 2958
    assert {"PCKh@0.5", "PCKh@0.1", "per_joint", "evaluator"} <= row.keys()


@pytest.mark.parametrize(
    ("name", "axes"),
    [("pos_pred_src", (1, 2, 0)), *(("preds", axes) for axes in permutations(range(3)))],
)
@pytest.mark.parametrize("scores", [False, True])
def test_predictions_are_read_in_every_order_of_axes(name, axes, scores, test_data, tmp_path):
    truth = read_ground_truth(test_data / "mpii_mini" / "annot" / "gt_valid.mat")
    joints = truth.joints + 1  # 1-based, as MATLAB counts
    if scores:
        joints = np.concatenate([joints, joints[..., :1]], axis=-1)
    savemat(tmp_path / "pred.mat", {name: joints.transpose(axes)})
    np.testing.assert_allclose(read_predictions(tmp_path / "pred.mat"), truth.joints)


def test_perfect_predictions_score_100_from_either_kind_of_file(test_data, tmp_path, capsys):
    root = test_data / "mpii_mini"
    truth = read_ground_truth(root / "annot" / "gt_valid.mat")
    savemat(tmp_path / "pred.mat", {"preds": truth.joints + 1})
    save_raw(truth.joints, tmp_path / "pred.npz")
    for name in ("pred.mat", "pred.npz"):
        files = ["--predictions", str(tmp_path / name)]
        files += ["--ground-truth", str(root / "annot" / "gt_valid.mat")]
        main(["mpii", *files, "--json"])
        row = json.loads(capsys.readouterr().out)
        assert (row["PCKh@0.5"], row["PCKh@0.1"], row["mean_unweighted"]) == (100, 100, 100)
        assert set(row["per_joint"].values()) == {100}


def save_raw(joints, path, **change):
    """Raw predictions as pose.infer writes them, in an order of their own."""
    order = np.random.default_rng(0).permutation(len(joints))
    boxes = np.ones((len(joints), 2))
    columns = {
        "image_ids": order,
        "person_ids": order,
        "keypoints": np.concatenate([joints, joints[..., :1]], axis=-1)[order],
        "box_scores": boxes[:, 0],
        "areas": boxes[:, 0],
        "centers": boxes,
        "scales": boxes,
    }
    Predictions(**columns | change).save(path)


def test_a_joint_counts_up_to_half_a_head_size(test_data):
    truth = read_ground_truth(test_data / "mpii_mini" / "annot" / "gt_valid.mat")
    for share, expected in [(0.0, 100), (0.49, 100), (0.51, 0)]:
        off = truth.joints + np.array([share, 0]) * truth.head_sizes[:, None, None]
        assert pckh(off, truth)["PCKh@0.5"] == expected


def test_images_and_evaluation_agree_on_the_joints(photographs):
    root = photographs / "mpii_mini"
    samples = open_split("mpii", root, "val", (256, 256))
    truth = read_ground_truth(root / "annot" / "gt_valid.mat")
    np.testing.assert_array_equal(samples.visible, truth.visible)
    apart = np.linalg.norm(samples.joints - truth.joints, axis=-1)[truth.visible] > 0.01
    assert apart.sum() == 2  # the official file has a 0 for one coordinate of two joints


@pytest.fixture
def small(tmp_path):
    """Writes a gt_valid.mat of five persons, with changes."""

    def write(**change):
        rng = np.random.default_rng(0)
        joints, boxes = rng.uniform(9, 99, (16, 2, 5)), rng.uniform(1, 90, (2, 2, 5)).cumsum(axis=0)
        content = {"pos_gt_src": joints, "headboxes_src": boxes, "jnt_missing": np.zeros((16, 5))}
        savemat(tmp_path / "gt_valid.mat", content | change)
        return tmp_path / "gt_valid.mat"

    return write


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jnt_missing": np.zeros((5, 16))}, r"jnt_missing has the shape \(5, 16\), not \(16, 5\)"),
        ({"jnt_missing": np.zeros((16, 1))}, "jnt_missing has the shape"),
        ({"jnt_missing": np.eye(16, 5) * 2}, r"jnt_missing\[0, 0\] is 2, not 0 or 1"),
        ({"jnt_missing": np.ones((16, 5))}, "no joint of any person is annotated"),
        ({"headboxes_src": np.ones((2, 2, 5))}, "the head box of person 0 has no size"),
        ({"headboxes_src": np.full((2, 2, 5), np.nan)}, r"headboxes_src\[0, 0, 0\] is nan"),
        ({"headboxes_src": np.full((2, 2, 5), 1e300)}, r"headboxes_src\[0, 0, 0\] is 1e\+300"),
        ({"headboxes_src": np.ones((2, 2, 4))}, "headboxes_src has the shape"),
        ({"pos_gt_src": np.ones((17, 2, 5))}, "pos_gt_src has the shape"),
    ],
)
def test_a_wrong_ground_truth_is_named(change, message, small):
    with pytest.raises(PoseError, match=rf"gt_valid\.mat: {message}"):
        read_ground_truth(small(**change))


def test_a_joint_that_nobody_has_is_in_no_mean(small):
    missing = np.zeros((16, 5))
    missing[[MPII.names.index(name) for name in ("left_elbow", "left_wrist", "right_wrist")]] = 1
    truth = read_ground_truth(small(jnt_missing=missing))
    row = pckh(truth.joints, truth)
    assert (row["mean_unweighted"], row["per_joint"]["elbow"]) == (100, 100)
    assert row["per_joint"]["wrist"] is None


def test_a_single_person_is_read_though_matlab_drops_its_axis(small):
    whole = loadmat(small())
    one = {name: whole[name][..., 0] for name in ("pos_gt_src", "headboxes_src", "jnt_missing")}
    truth = read_ground_truth(small(**one))
    assert truth.joints.shape == (1, 16, 2)
    np.testing.assert_array_equal(truth.joints[0], whole["pos_gt_src"][..., 0] - 1)


def test_wrong_files_and_shapes_are_named(test_data, tmp_path):
    truth = read_ground_truth(test_data / "mpii_mini" / "annot" / "gt_valid.mat")
    predictions = tmp_path / "pred.mat"
    savemat(predictions, {"preds": truth.joints + 1})
    with pytest.raises(PoseError, match="no variable pos_gt_src"):
        read_ground_truth(predictions)
    with pytest.raises(PoseError, match="shape"):
        pckh(read_predictions(predictions)[:5], truth)
    lost = read_predictions(predictions)
    lost[7, 9] = np.nan
    with pytest.raises(PoseError, match="head_top of row 7 is not finite"):
        pckh(lost, truth)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"not a mat", "not a readable .mat file"),
        ({"joints": np.zeros((5, 16, 2))}, "no variable preds"),
        ({"preds": np.zeros((5, 17, 2))}, "preds has the shape .5, 17, 2."),
        ({"preds": np.zeros(16)}, "preds has the shape"),
        ({"preds": np.zeros((5, 16, 2, 2))}, "preds has the shape"),
        ({"preds": np.zeros((5, 16, 2)) + 1j}, "preds is not a dense array .* complex128"),
        ({"preds": csc_array(np.zeros((5, 32)))}, "preds is not a dense array .* but csc_"),
        ({"preds": "text"}, "preds is not a dense array of real numbers but str"),
        ({"preds": np.full((5, 16, 2), np.nan)}, r"preds\[0, 0, 0\] is nan, not a finite number"),
    ],
)
def test_a_wrong_pred_mat_ends_in_one_line(content, message, test_data, tmp_path):
    path = tmp_path / "pred.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        savemat(path, content)
    truth = test_data / "mpii_mini" / "annot" / "gt_valid.mat"
    with pytest.raises(SystemExit, match=rf"^error: [^\n]*{message}[^\n]*$"):
        main(["mpii", "--predictions", str(path), "--ground-truth", str(truth)])


def test_raw_predictions_must_be_of_every_person_once(test_data, tmp_path):
    annot = test_data / "mpii_mini" / "annot" / "gt_valid.mat"
    truth = read_ground_truth(annot)
    save_raw(truth.joints[:-1], tmp_path / "short.npz")
    count = len(truth.joints)
    message = f"{count - 1} persons, the ground truth has {count}, row {count - 1} is missing"
    with pytest.raises(SystemExit, match=message):
        main(["mpii", "--predictions", str(tmp_path / "short.npz"), "--ground-truth", str(annot)])


def test_a_training_on_mpii_is_scored_by_the_same_number(test_data, tmp_path):
    root = test_data / "mpii_mini"
    truth = read_ground_truth(root / "annot" / "gt_valid.mat")
    off = np.random.default_rng(0).normal(0, 0.3, truth.joints.shape)
    joints = truth.joints + off * truth.head_sizes[:, None, None]
    save_raw(joints, tmp_path / "pred.npz")
    settings = experiment("eeffpose-p0-order8", "mpii", (256, 256))
    metrics = score(settings, Predictions.load(tmp_path / "pred.npz"), root)
    assert metrics == {"PCKh@0.5": pckh(joints, truth)["PCKh@0.5"]}
    assert 50 < metrics["PCKh@0.5"] < 90


@pytest.mark.parametrize("persons", [2, 3, 5])
def test_persons_first_or_last_the_number_of_persons_decides(persons, tmp_path):
    joints = np.random.default_rng(0).uniform(9, 99, (persons, 16, 2))
    savemat(tmp_path / "pred.mat", {"preds": joints.transpose(1, 0, 2)})
    if persons == 2:  # both axes of two may be the persons; MPII's own order wins
        joints = joints.transpose(2, 1, 0)
    np.testing.assert_allclose(read_predictions(tmp_path / "pred.mat", persons), joints - 1)


def test_a_validation_set_of_other_persons_than_the_truth_is_refused_before_training(small):
    path = small()
    truth = read_ground_truth(path)
    joints, visible = truth.joints.copy(), truth.visible.astype(float)
    joints[3, :5] += 9
    assert differing_persons(path, truth, joints, visible) == 1
    with pytest.raises(PoseError, match=r"2 persons are others than in valid\.json"):
        differing_persons(path, truth, joints[[1, 0, 2, 3, 4]], visible)
    with pytest.raises(PoseError, match=r"5 persons, but valid\.json has 4"):
        differing_persons(path, truth, joints[:4], visible[:4])
