"""Kinds of errors, each constructed alone, and what they cost together."""

import json

import numpy as np
import pytest
from random_scenes import random_scene

from analysis.error_kinds import KINDS, STEPS, Analysis
from analysis.errors import analyse, main
from pose.datasets.coco import COCO, DATASET
from pose.evaluation.coco import evaluate
from pose.evaluation.results import read_results

AREA = 2500.0  # s = 50 pixels; joints are 40 apart, further than 0.5 of any similarity reaches
GRID = 40.0 * np.stack(np.divmod(np.arange(17), 4)[::-1], axis=1)
LEFT, RIGHT = COCO.names.index("left_wrist"), COCO.names.index("right_wrist")
ARMS = [7, 8, 9, 10]


def person(number, image=1, at=(0, 0), labelled=17, **more):
    flags = 2 * (np.arange(17) < labelled)
    joints = (GRID + at) * (flags > 0)[:, None]
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "area": AREA,
        "bbox": [*map(float, at), 120.0, 160.0],
        "num_keypoints": labelled,
        "keypoints": np.column_stack([joints, flags]).ravel().astype(float).tolist(),
    } | more


def result(joints, score=0.5, image=1):
    keypoints = np.column_stack([joints, np.ones(17)]).ravel().tolist()
    return {"image_id": image, "category_id": 1, "keypoints": keypoints, "score": score}


@pytest.fixture
def truth_of(tmp_path):
    """The annotations of these persons, on images 1 to 3."""

    def read(*people):
        path = tmp_path / "truth.json"
        categories = [{"id": 1, "name": "person"}]
        images = [{"id": number} for number in (1, 2, 3)]
        content = {"images": images, "annotations": list(people), "categories": categories}
        path.write_text(json.dumps(content))
        return DATASET.read_truth(path)

    return read


def only(gains):
    return {step for step, gain in gains.items() if abs(gain) > 1e-9}


def test_without_an_error_nothing_is_to_be_gained(truth_of):
    found = analyse([result(GRID)], truth_of(person(1)))
    assert found["AP"] == pytest.approx(1)
    assert found["joints"] == dict.fromkeys(KINDS, 0) | {"good": 17}
    assert not only(found["alone"]) and not only(found["in_turn"])


def away(joints, similarity):
    """``joints`` of arms moved right until their similarity is that."""
    distance = np.sqrt(-2 * AREA * np.log(similarity)) * 2 * np.array(COCO.sigmas)
    moved = joints.copy()
    moved[ARMS, 0] += distance[ARMS]
    return moved


ERRORS = {
    "jitter": lambda joints: away(joints, 0.51),
    "inversion": lambda joints: joints[[*range(7), 8, 7, 10, 9, *range(11, 17)]],
    "swap": lambda joints: np.where(np.isin(np.arange(17), ARMS)[:, None], joints + 300, joints),
    "miss": lambda joints: np.where(np.isin(np.arange(17), ARMS)[:, None], joints - 500, joints),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_each_kind_of_joint_alone_is_found_and_costs_what_ap_lacks(kind, truth_of):
    truth = truth_of(person(1), person(2, at=(300, 300)))
    results = [result(ERRORS[kind](GRID), 0.3), result(GRID + 300, 0.9)]
    found = analyse(results, truth)
    assert found["joints"] == dict.fromkeys(KINDS, 0) | {"good": 30, kind: 4}
    assert found["joints_by_name"]["left_wrist"][kind] == 1
    assert found["AP"] < 0.95
    assert only(found["alone"]) == only(found["in_turn"]) == {kind}
    assert found["alone"][kind] == pytest.approx(1 - found["AP"])


@pytest.mark.parametrize(
    ("similarity", "kind"), [(0.86, "good"), (0.84, "jitter"), (0.51, "jitter"), (0.49, "miss")]
)
def test_good_ends_at_085_and_jitter_at_05(similarity, kind, truth_of):
    found = analyse([result(away(GRID, similarity))], truth_of(person(1)))
    assert found["joints"][kind] == (17 if kind == "good" else 4)


def test_a_swap_is_to_the_other_persons_joint_or_its_counterpart_and_needs_a_label(truth_of):
    apart = np.array([55.0, 5.0])  # the persons overlap
    for joint, labelled, kind in ((LEFT, 17, "swap"), (RIGHT, 17, "swap"), (LEFT, 5, "miss")):
        truth = truth_of(person(1), person(2, at=apart, labelled=labelled))
        joints = GRID.copy()
        joints[LEFT] = (GRID + apart)[joint]
        kinds = Analysis.of([result(joints), result(GRID + apart, 0.9)], truth).kinds
        assert KINDS[kinds[0, LEFT]] == kind
        assert (np.delete(kinds[0], LEFT) == 0).all()


def test_between_a_swap_and_an_inversion_the_nearer_joint_decides(truth_of):
    shift = GRID[RIGHT] - GRID[LEFT] + [6.0, 0]  # the other's left wrist is beside our right one
    truth = truth_of(person(1), person(2, at=shift))
    for place, kind in ((GRID[RIGHT], "inversion"), (GRID[LEFT] + shift, "swap")):
        joints = GRID.copy()
        joints[LEFT] = place
        kinds = Analysis.of([result(joints), result(GRID + shift, 0.9)], truth).kinds
        assert KINDS[kinds[0, LEFT]] == kind


def test_a_joint_that_is_not_labelled_is_of_no_kind(truth_of):
    found = analyse(
        [result(GRID - 3000 * (np.arange(17) > 9)[:, None])], truth_of(person(1, labelled=10))
    )
    assert found["joints"]["good"] == 10 and sum(found["joints"].values()) == 10


def test_results_of_nobody_cost_by_their_score_and_persons_without_a_result(truth_of):
    two = truth_of(person(1), person(2, image=2))
    perfect = [result(GRID, 0.5), result(GRID, 0.5, image=2)]
    found = analyse([*perfect, result(GRID + 2000, 0.9, image=3)], two)
    assert only(found["alone"]) == {"scores", "background"}
    assert (found["background"], found["duplicates"], found["misses"]) == (1, 0, 0)
    assert found["in_turn"]["scores"] == pytest.approx(1 - found["AP"])
    found = analyse([*perfect, result(GRID + 1, 0.6)], two)
    assert (found["background"], found["duplicates"]) == (1, 1)
    found = analyse(perfect[:1], two)
    assert only(found["alone"]) == only(found["in_turn"]) == {"misses"}
    assert found["misses"] == 1


def test_a_crowds_results_are_no_background(truth_of):
    crowd = person(2, at=(900, 900), iscrowd=1)
    found = analyse([result(GRID), result(GRID + 900, 0.9)], truth_of(person(1), crowd))
    assert (found["ignored"], found["background"], found["AP"]) == (1, 0, pytest.approx(1))


def test_where_nobody_is_found_all_is_missing(truth_of):
    found = analyse([result(GRID + 2000)], truth_of(person(1)))
    assert (found["AP"], found["misses"], found["joints"]["good"]) == (0, 1, 0)
    assert sum(found["in_turn"].values()) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(8))
def test_all_kinds_in_turn_sum_to_what_ap_lacks(seed, tmp_path):
    annotations, results = random_scene(seed, first_id=0)
    for name, content in (("truth", annotations), ("results", results)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    truth = DATASET.read_truth(tmp_path / "truth.json")
    read = read_results(tmp_path / "results.json", truth.image_ids, COCO)
    expected, found = evaluate(read, truth), analyse(read, truth)
    assert found["AP"] == pytest.approx(expected["AP"], abs=1e-12)
    assert sum(found["in_turn"].values()) == pytest.approx(1 - found["AP"], abs=1e-9)
    assert Analysis.of(read, truth).ap_without() == pytest.approx(found["AP"], abs=1e-12)
    for bins in found["sensitivity"].values():
        assert sum(of["persons"] for of in bins.values()) == found["persons"]
        ar = sum(of["persons"] * (of["AR"] or 0) for of in bins.values()) / found["persons"]
        assert ar == pytest.approx(expected["AR"], abs=1e-9)
        for kind in KINDS:
            assert sum(of[kind] for of in bins.values()) == found["joints"][kind]


def test_persons_stand_in_bins_of_size_overlap_and_labelled_joints(truth_of):
    people = [
        person(1, labelled=5),
        person(2, at=(10, 0), area=32.0**2),
        person(3, at=(900, 0), labelled=16, area=128.0**2),
        person(4, at=(905, 0), iscrowd=1),
    ]
    found = Analysis.of([result(GRID)], truth_of(*people)).sensitivity()
    shown = {name: {b: of["persons"] for b, of in bins.items()} for name, bins in found.items()}
    assert shown["area"] == {"< 32²": 0, "32²-64²": 2, "64²-96²": 0, "96²-128²": 0, "> 128²": 1}
    assert shown["overlapping persons"] == {"0": 1, "1-2": 2, "3 or more": 0}
    assert shown["labelled joints"] == {"1-5": 1, "6-10": 0, "11-15": 0, "16 or more": 2}


@pytest.fixture
def files(tmp_path):
    annotations, results = random_scene(3)
    (tmp_path / "truth.json").write_text(json.dumps(annotations))
    (tmp_path / "a.json").write_text(json.dumps(results))
    (tmp_path / "b.json").write_text(json.dumps(results[::2]))
    return tmp_path


def test_the_command_prints_json_by_file_and_writes_table_and_figure(files, capsys):
    paths = [str(files / name) for name in ("a.json", "b.json")]
    options = ["--json", "--output-dir", str(files / "out"), "--name", "kinds"]
    main(["--annotations", str(files / "truth.json"), "--results", *paths, *options])
    found = json.loads(capsys.readouterr().out)
    assert list(found) == paths
    assert set(found[paths[0]]["alone"]) == set(STEPS)
    assert (files / "out/figures/kinds.svg").stat().st_size > 1000
    assert "a.json" in (files / "out/tables/kinds.md").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "bad.json: not valid JSON"),
        ("[]", "bad.json: not a list of COCO results, or an empty one"),
        ('[{"image_id": -5}]', "bad.json: record 0: image_id: image -5 is not in"),
    ],
)
def test_a_bad_file_is_one_line(content, message, files):
    (files / "bad.json").write_text(content)
    paths = [str(files / name) for name in ("a.json", "bad.json")]
    with pytest.raises(SystemExit, match=rf"^error: [^\n]*{message}[^\n]*$"):
        main(["--annotations", str(files / "truth.json"), "--results", *paths])
