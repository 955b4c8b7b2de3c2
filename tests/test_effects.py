"""What each switch of the ablation does: arithmetic, intervals, and the paper's claims."""

import json

import numpy as np
import pandas as pd
import pytest
from result_folders import write_complexity, write_logs, write_run

from analysis import effects, intervals, load_curves, load_results, reported
from analysis.ablation import orders_of
from analysis.claims import Measured, claims_table, read_claims
from analysis.claims import main as write_claims
from analysis.effects import EPOCHS, effects_table, epochs_to, seeds_interval
from analysis.factorial import contrasts
from analysis.intervals import read_resamples
from pose.config.model_sheet import read_sheet
from pose.infer import predictions_of
from pose.support.errors import PoseError

SHEET = read_sheet()
ORDERS = orders_of(SHEET)
PAPER = reported.ablation().rename(index=str)
NOTHING = pd.DataFrame(columns=pd.MultiIndex.from_tuples([], names=intervals.KEYS))


def of(scores: pd.Series, orders: pd.DataFrame = ORDERS) -> dict:
    table = contrasts(orders)
    return (table.drop(columns="settings") @ scores).round(6).to_dict()


def test_the_papers_eight_numbers_tell_three_effects_and_four_interactions():
    found = of(PAPER["AP"])
    assert {k: found[k] for k in ("backbone", "neck", "head")} == {
        "backbone": 2.3,  # the mean of 2.7, 1.9, 2.4 and 2.2
        "neck": 2.1,
        "head": 3.05,
    }
    assert found["neck x head"] == -2.6  # 0.8 with the head, 3.4 without
    assert found["backbone x neck"] == -0.5 and found["backbone x head"] == 0
    assert found["backbone x neck x head"] == 0.6 and len(found) == 7


def test_a_further_value_of_a_switch_is_set_against_the_plain_one():
    orders = pd.concat([ORDERS, pd.DataFrame({"9": ["meme", "apart", "meme"]}, ORDERS.columns).T])
    table = contrasts(orders)
    row = table.loc["apart neck"]
    assert row["settings"] == 1 and (row["9"], row["7"]) == (1, -1)
    assert table.loc["neck", "settings"] == 4 and "backbone x apart neck" not in table.index


def test_a_further_switch_doubles_what_each_effect_is_averaged_over():
    half = ORDERS.assign(loss="plain")
    other = half.assign(loss="focal").rename(index=lambda order: f"{order}b")
    table = contrasts(pd.concat([half, other]))
    assert table.loc["backbone", "settings"] == 8 and table.loc["focal loss", "settings"] == 8
    assert "backbone x focal loss" in table.index and len(table) == 15


def test_effects_that_the_orders_cannot_tell_are_left_out():
    assert list(contrasts(ORDERS.loc[["1", "2", "4"]]).index) == ["backbone", "head"]
    assert contrasts(ORDERS.loc[["1", "8"]]).empty


def frame(scores: dict[tuple[str, int], float]) -> pd.DataFrame:
    """Rows of load_results: AP by order and seed."""
    rows = [
        {"dataset": "synthetic", "input": "64x48", "protocol": "controlled", "boxes": "gt"}
        | {
            "run": order,
            "model": order,
            "order": order,
            "seed": seed,
            "AP": score,
            "AR": None,
            "PCKh@0.5": None,
        }
        for (order, seed), score in scores.items()
    ]
    return pd.DataFrame(rows)


def resamples(scores: dict[tuple[str, int], float], noise: float) -> pd.DataFrame:
    """Images move all models alike, and each by ``noise`` more."""
    rng = np.random.default_rng(0)
    common = rng.normal(0, 5, 200)
    columns = {
        (order, seed, "gt", "AP"): score + common + rng.normal(0, noise, 200)
        for (order, seed), score in scores.items()
    }
    return pd.DataFrame(columns)


@pytest.fixture
def no_curves(tmp_path):
    write_run(tmp_path, "eeffpose-p0-order1")
    return load_curves(tmp_path).iloc[:0]


def effect(name, scores, drawn, curves):
    return effects_table(frame(scores), curves, drawn, SHEET).set_index("effect").loc[name]


def test_a_switch_that_does_nothing_gets_no_verdict(no_curves):
    scores = {(order, 0): 50.0 for order in ORDERS.index}
    table = effects_table(frame(scores), no_curves, resamples(scores, 1), SHEET)
    assert set(table["verdict"]) == {"no verdict"} and (table["measured"] == 0).all()
    assert (table["low"] < 0).all() and (table["high"] > 0).all()


def test_what_all_models_share_of_the_images_does_not_blur_an_effect(no_curves):
    scores = {(order, 0): PAPER.loc[order, "AP"] for order in ORDERS.index}
    row = effect("head", scores, resamples(scores, 0.2), no_curves)
    assert row["paper"] == pytest.approx(3.05) and row["measured"] == pytest.approx(3.05)
    assert 2.7 < row["low"] < 3.05 < row["high"] < 3.4 and row["verdict"] == "more"
    assert row["seeds"] == 1 and np.isnan(row["seeds_low"])


def test_intervals_over_seeds_stand_apart_from_those_over_images(no_curves):
    moved = {"2": (3, -3)}  # the seeds of order 2 differ
    scores = {
        (order, seed): PAPER.loc[order, "AP"] + moved.get(order, (0, 0))[seed]
        for order in ORDERS.index
        for seed in (0, 1)
    }
    row = effect("backbone", scores, resamples(scores, 0.1), no_curves)
    assert row["measured"] == pytest.approx(2.3) and row["low"] > 2
    assert row["seeds_low"] < 0 < row["seeds_high"] and row["verdict"] == "no verdict"
    assert seeds_interval(np.array([1.0, 2.0, 3.0])) == pytest.approx((-0.4841, 4.4841), abs=1e-4)


def test_an_effect_without_any_interval_gets_no_verdict(no_curves):
    scores = {(order, 0): PAPER.loc[order, "AP"] for order in ORDERS.index}
    assert effect("head", scores, NOTHING, no_curves)["verdict"] == "no verdict"


def test_convergence_is_the_epochs_to_90_percent_of_the_best_score(tmp_path):
    folder = write_run(tmp_path, "eeffpose-p0-order1")
    write_logs(folder, epochs=4, AP=0.1)
    log = folder / "training.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line, score in zip(lines, [0.0, 0.3, 0.44, 0.46, 0.5, 0.4], strict=True):
        line["AP"] = score
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert epochs_to(load_curves(tmp_path))[EPOCHS].tolist() == [4]  # two of them warm-up


def test_a_training_whose_log_ends_early_tells_no_convergence(tmp_path):
    for order in (1, 2):
        write_run(tmp_path, f"eeffpose-p0-order{order}")
    log = tmp_path / "eeffpose-p0-order2/seed0/training.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))
    assert list(epochs_to(load_curves(tmp_path))["order"]) == ["1"]


# Claims


def claims(scores: dict, drawn: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    results = frame(scores).assign(split="val", params=None, gmacs=None)
    return claims_table(read_claims(), Measured(results, curves, drawn))


def test_slips_of_the_paper_show_by_its_own_tables(no_curves):
    table = claims({("1", 0): 1.0}, NOTHING, no_curves)
    wrong = table[table["by the paper's tables"] == "fails"]
    assert list(zip(wrong["place"], wrong["stated"], wrong["paper"].round(2), strict=True)) == [
        ("4.1 backbone", "= 2.1", 1.9),
        ("4.2 COCO val", "> 10", 9.4),  # EEffPose-P2 over MobileNetV2
        ("4.2 COCO val", "> 0", -0.9),  # EEffPose-P0 over HRNet-W48 at 384x288
        ("4.2 COCO test-dev", "> 0", 0.0),  # the same over HRNet-W48 at 256x192
        ("4.2 COCO test-dev", "< 0", 5.7),  # GFLOPs of EEffPose-P2 and HRNet-W32
        ("4.2 MPII val", "= 90.84", 90.9),
        ("5", "< 0", 5.7),
    ]
    assert set(table.loc[table["b"].str.contains("mobilenetv3"), "by the paper's tables"]) == {
        "not in the table"
    }


def test_a_claim_is_measured_on_the_orders_that_it_names(no_curves):
    scores = {(order, 0): PAPER.loc[order, "AP"] for order in ORDERS.index}
    scores["5", 0] = scores["4", 0] + 0.1
    table = claims(scores, resamples(scores, 0.2), no_curves)
    found = table[table["score"] == "AP"].set_index(["a", "b"])["by measurement"]
    assert found["4", "1"] == "holds" and found["5", "4"] == "no verdict"
    assert found["8", "5"] == found["5", "3"] == "holds, by another amount"
    assert found["eeffpose-p0-order8@256x192", "hrnet-w48@256x192"] == "not run"


def test_orders_on_different_data_sets_are_not_averaged(no_curves):
    scores = {("1", 0): 50.0, ("2", 0): 52.0}
    other = frame({("1", 0): 10.0, ("2", 0): 90.0}).assign(dataset="coco")
    both = pd.concat([frame(scores), other]).assign(split="val", params=None, gmacs=None)
    table = claims_table(read_claims(), Measured(both, no_curves, resamples(scores, 0.1)))
    found = table[(table["score"] == "AP") & (table["a"] == "2")].iloc[0]
    assert found["measured"] == pytest.approx(2.0) and found["low"] < 2 < found["high"]


# The commands


@pytest.fixture
def folder(tmp_path, data_root):
    """Two orders that differ in the backbone, the plain one with noisier joints."""
    from pose import evaluate
    from pose.data.samples import open_split

    samples = open_split("synthetic", data_root, "val", (64, 48))
    truth = data_root / "annotations/person_keypoints_val2017.json"
    rng = np.random.default_rng(0)
    for model, noise in (("eeffpose-p0-order1", 4), ("eeffpose-p0-order2", 0.1)):
        run = write_run(tmp_path / "results", model)
        joints = samples.joints + rng.normal(0, noise, samples.joints.shape)
        keypoints = np.concatenate([joints, np.ones((*joints.shape[:2], 1))], axis=2)
        predictions = predictions_of(samples, keypoints, input="64x48")
        predictions.save(run / "predictions_gt.npz")
        labels = {"model": model, "seed": 0, "boxes": "gt", "dataset": "synthetic"}
        labels["protocol"] = "controlled"
        words = {"predictions": run / "predictions_gt.npz", "annotations": truth}
        words |= {"output": run / "metrics_gt.json", "per-person": run / "persons_gt.parquet"}
        told = [f"--{key}={value}" for key, value in words.items()]
        evaluate.main(
            ["synthetic", *told, *(f"--label={key}={value}" for key, value in labels.items())]
        )
    write_complexity(tmp_path / "results")
    return tmp_path


def test_what_holds_no_resamples_is_named(tmp_path):
    other = tmp_path / "persons.parquet"
    pd.DataFrame({"oks": [0.5]}).to_parquet(other)
    for file in (other, tmp_path):  # pandas reads a folder
        with pytest.raises(PoseError, match=f"{file}: not resamples .*; run analysis.intervals"):
            read_resamples(file)


def test_intervals_stand_beside_the_scores_and_effects_use_the_same_draws(folder, data_root):
    truth = f"synthetic={data_root / 'annotations/person_keypoints_val2017.json'}"
    results, file = str(folder / "results"), str(folder / "resamples.parquet")
    intervals.main([results, "--truth", truth, "--resamples", "60", "--output", file])
    rows = load_results(results).set_index("order")
    assert (rows["AP_low"] <= rows["AP"]).all() and (rows["AP"] <= rows["AP_high"]).all()
    drawn = read_resamples(file)
    assert len(drawn) == 60 and drawn["eeffpose-p0-order1", 0, "gt", "AP"].between(0, 100).all()
    effects.main([
        results, "--truth", truth, "--resamples", file, "--output-dir", str(folder / "tables"),
        "--figures", str(folder / "figures"),
    ])  # fmt: skip
    table = pd.read_csv(folder / "tables/effects.csv").set_index(["score", "effect"])
    row = table.loc["AP", "backbone"]
    assert row["measured"] == pytest.approx(rows.loc["2", "AP"] - rows.loc["1", "AP"], abs=1e-3)
    assert row["low"] > 0 and row["verdict"] == "more"
    assert {file.name for file in (folder / "figures").iterdir()} >= {"effects.svg", "effects.png"}
    groups = pd.read_csv(folder / "tables/effects_by_group.csv")
    assert (groups["measured"] > 0).all() and set(groups["effect"]) <= {"backbone"}


def test_scores_without_their_predictions_are_told_and_have_no_interval(folder, data_root, caplog):
    truth = f"synthetic={data_root / 'annotations/person_keypoints_val2017.json'}"
    write_run(folder / "results", "eeffpose-p0-order8", oks_nms=0.9)
    file = str(folder / "resamples.parquet")
    intervals.main([str(folder), "--truth", truth, "--resamples", "5", "--output", file])
    known = load_results(folder).set_index("order")["AP_low"].notna()
    assert known.to_dict() == {"1": True, "2": True, "8": False}
    assert "order8/seed0/predictions_gt.npz: no such file" in caplog.text


def test_where_nothing_was_evaluated_every_claim_is_not_run(data_root, tmp_path):
    truth = f"synthetic={data_root / 'annotations/person_keypoints_val2017.json'}"
    (write_run(tmp_path / "results") / "metrics_gt.json").unlink()
    given, file = str(tmp_path / "results"), str(tmp_path / "resamples.parquet")
    intervals.main([given, "--truth", truth, "--output", file])
    write_claims([given, "--resamples", file, "--output-dir", str(tmp_path / "tables")])
    told = pd.read_csv(tmp_path / "tables/claims.csv")
    scored = ~told["score"].isin(["params_m", "gflops", "epochs"])
    assert set(told.loc[scored, "by measurement"]) == {"not run"}


def test_results_of_a_data_set_whose_truth_is_not_given_are_one_line(folder, data_root):
    truth = data_root / "annotations/person_keypoints_val2017.json"
    output = str(folder / "resamples.parquet")
    with pytest.raises(SystemExit, match="is of synthetic: give --truth synthetic=FILE"):
        intervals.main([str(folder), "--truth", f"coco={truth}", "--output", output])
