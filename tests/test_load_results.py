"""Results as data frames, on made-up result folders."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from result_folders import write_complexity, write_logs, write_persons, write_run

from analysis import load_curves, load_persons, load_reported, load_results
from analysis.results import SCORES, columns
from pose.config.model_sheet import read_sheet
from pose.support.errors import PoseError
from pose.weights.about import ALONE, read_plain


def test_a_row_says_what_was_run_what_came_out_what_it_cost_and_where_it_comes_from(tmp_path):
    results = tmp_path / "demo"
    folder = write_run(results, "eeffpose-p0-order2", seed=1)
    write_run(results, "eeffpose-p0-order2", seed=1, boxes="det", AP=0.2)
    write_complexity(results)
    table = load_results(results).set_index("boxes")
    assert list(table.index) == ["det", "gt"]
    row = table.loc["gt"]
    assert (row["name"], row["run"], row["model"]) == ("demo", *["eeffpose-p0-order2"] * 2)
    assert tuple(row[["order", "backbone", "neck", "head"]]) == ("2", "meme", "plain", "plain")
    assert (row["AP"], row["AR"], table.loc["det", "AP"]) == (25.0, 30.0, 20.0)
    assert np.isnan(row["APM"])  # no person is of that size
    assert (row["val_set"], row["split"], row["images"]) == ("4 synthetic images", "val", 4)
    assert (row["params"], row["gmacs"], row["counted_input"]) == (8_423_785, 4.0, "256x192")
    assert (row["epochs"], row["train_hours"], row["device"]) == (3, 2.5, "a CPU")
    assert (row["batch"], row["precision"], row["batch_norm"]) == (64, "fp32", "the whole batch")
    assert (row["source"], row["commit"], row["identity"]) == ("trained", "c0ffee", "e21")
    assert (row["code_train"], row["code_evaluate"], row["data"]) == ("aaaa", "cccc", "dddd")
    assert (row["versions"], row["folder"]) == ("python 3.12 torch 2.14", str(folder))


@pytest.mark.parametrize(("chunk", "told"), [(16, "chunks of 16"), (None, "each process's share")])
def test_a_row_says_over_how_many_samples_batch_statistics_go(tmp_path, chunk, told):
    write_run(tmp_path, train={"micro_batch": chunk, "synchronised_batch_norm": False})
    assert load_results(tmp_path).loc[0, "batch_norm"] == told


def test_weights_that_are_elsewhere_are_told_of_by_a_file_of_their_own(tmp_path):
    folder = write_run(tmp_path)
    weights, whole = folder / "weights.safetensors", load_results(tmp_path)
    (folder / ALONE).write_text(json.dumps(read_plain(weights)))
    weights.unlink()
    pd.testing.assert_frame_equal(load_results(tmp_path), whole)


def test_columns_and_dtypes_are_the_same_whatever_the_runs_are(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", dataset="mpii", input="64x64", training=False,
              **{"PCKh@0.5": 40.0, "per_joint": {"wrist": 30.0, "head": None}})  # fmt: skip
    coco, mpii = load_results(tmp_path / "a"), load_results(tmp_path / "b")
    expected = columns(read_sheet())
    for table in (coco, mpii, load_reported()):
        assert {name: str(kind) for name, kind in table.dtypes.items()} == expected
    assert mpii.loc[0, ["PCKh@0.5", "PCKh@0.5 wrist"]].tolist() == [40.0, 30.0]
    assert all(expected[score] == "float64" for score in SCORES)


def test_a_part_of_a_val_set_says_what_share_it_is(tmp_path):
    folder = write_run(tmp_path, "hrnet-w32", dataset="coco", input="256x192", images=500)
    row = load_results(folder).iloc[0]
    assert (row["val_set"], row["val_share"]) == ("500 of 5000 images", 0.1)
    assert pd.isna(row["backbone"]) and pd.isna(row["order"])  # its parts are no switches


def test_two_folders_are_merged_and_a_run_that_lies_in_both_is_one_row(tmp_path):
    write_run(tmp_path / "a", "eeffpose-p0-order1")
    write_run(tmp_path / "b", "eeffpose-p0-order2")
    shutil.copytree(tmp_path / "a", tmp_path / "b", dirs_exist_ok=True)
    (tmp_path / "b/eeffpose-p0-order1/seed0/weights.safetensors").unlink()
    table = load_results(tmp_path / "b", tmp_path / "a")
    assert list(table["order"]) == ["1", "2"]
    assert table.loc[0, "commit"] == "c0ffee"  # from where the weights are
    assert len(load_curves(tmp_path / "a", tmp_path / "b")) == 10


def test_a_run_whose_two_places_differ_is_an_error_that_names_both(tmp_path):
    first = write_run(tmp_path / "a")
    second = write_run(tmp_path / "b", AP=0.26)
    write_logs(second, AP=0.26)
    with pytest.raises(PoseError, match=rf"{first} and {second} .* differ in AP \(25.0, 26.0\)"):
        load_results(tmp_path / "a", tmp_path / "b")
    with pytest.raises(PoseError, match=f"{first} and {second} hold the same run"):
        load_curves(tmp_path / "a", tmp_path / "b")


def test_a_run_that_was_not_evaluated_has_a_row_without_scores(tmp_path):
    (write_run(tmp_path / "a") / "metrics_gt.json").unlink()
    row = load_results(tmp_path / "a").iloc[0]
    assert pd.isna(row["boxes"]) and np.isnan(row["AP"]) and row["epochs"] == 3
    write_run(tmp_path / "b", training=False)  # the scores of the same run, elsewhere
    (row,) = load_results(tmp_path / "a", tmp_path / "b").to_dict("records")
    assert (row["boxes"], row["AP"]) == ("gt", 25.0)


def test_a_checkpoint_that_was_published_is_told_from_one_that_was_trained(tmp_path):
    name = "eeffpose-p0-order8@coco"
    write_run(tmp_path / "demo/released", run=name, training=False, checkpoint=name)
    row = load_results(tmp_path / "demo").iloc[0]
    assert (row["name"], row["source"], row["checkpoint"]) == ("demo", "published", name)


def test_the_scores_of_cocos_server_stand_beside_those_on_val(tmp_path):
    folder = write_run(tmp_path, dataset="coco", input="256x192")
    (folder / "submission").mkdir()
    server = folder / "submission/server.json"
    server.write_text('{"AP": 0.742, "AP50": 0.92}')
    table = load_results(tmp_path).set_index("split")
    row = table.loc["test-dev"]
    assert tuple(row[["AP", "val_set", "evaluator"]]) == (
        74.2,
        "COCO test-dev2017",
        "COCO's server",
    )
    for content, message in (('{"AP": 74.2}', "AP is 74.2; give a fraction"),
                             ('{"AP": 0.7, "AP5": 0.9}', "unknown score 'AP5'"),
                             ("[]", 'write the server\'s scores as')):  # fmt: skip
        server.write_text(content)
        with pytest.raises(PoseError, match=message):
            load_results(tmp_path)


def test_curves_are_in_percent_and_know_their_run(tmp_path):
    write_run(tmp_path, "eeffpose-p0-order7", seed=3, run="anything")
    curves = load_curves(tmp_path)
    assert list(curves["epoch"]) == [-2, -1, 0, 1, 2]
    assert set(curves["AP"]) == {20.0} and set(curves["order"]) == {"7"}
    assert set(curves["seed"]) == {3} and curves["seconds"].dtype == float


def test_persons_know_their_run_and_boxes(tmp_path):
    write_persons(write_run(tmp_path, "eeffpose-p0-order1"), left_wrist=[0.9, np.nan, 0.0])
    write_persons(write_run(tmp_path, "eeffpose-p0-order8"), "det")
    persons = load_persons(tmp_path)
    assert list(persons["order"]) == [*"111888"]
    assert list(persons["boxes"]) == ["gt"] * 3 + ["det"] * 3
    assert persons["left_wrist"].notna().sum() == 2


def test_a_keypoint_called_as_a_switch_is_kept_beside_it(tmp_path):
    write_persons(write_run(tmp_path, "eeffpose-p0-order4"), head=[0.9, np.nan, 0.1])
    persons = load_persons(tmp_path)
    assert list(persons["head"]) == ["meme"] * 3
    assert persons["head_keypoint"].notna().sum() == 2


def test_places_may_be_configs_and_one_without_results_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "results/mine")
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    assert len(load_results("mine.yaml")) == 1
    (tmp_path / "none.yaml").write_text("name: none\n")
    with pytest.raises(PoseError, match="results/none: no results of any run"):
        load_results("none.yaml")
    (tmp_path / "bad.yaml").write_text("[")
    with pytest.raises(PoseError, match=r"bad\.yaml: not a config with a name"):
        load_results("bad.yaml")


@pytest.mark.parametrize(
    ("content", "message"), [("[]", "JSON object"), ('{"model": "x"}', "lacks seed")]
)
def test_metrics_of_another_version_are_named(tmp_path, content, message):
    file = write_run(tmp_path) / "metrics_gt.json"
    file.write_text(content)
    with pytest.raises(PoseError, match=rf"{file}.*{message}"):
        load_results(tmp_path)


def test_a_curve_that_only_metrics_of_another_version_could_label_is_named(tmp_path):
    folder = write_run(tmp_path)
    (folder / "weights.safetensors").write_bytes(b"cut")
    (folder / "metrics_gt.json").write_text('{"AP": 0.5}')
    with pytest.raises(PoseError, match=r"metrics_gt.json: lacks model, seed"):
        load_curves(tmp_path)


def test_a_log_of_another_version_is_named(tmp_path):
    log = write_run(tmp_path) / "training.jsonl"
    log.write_text(json.dumps({"epoch": 1, "lr": 1.0}))
    with pytest.raises(PoseError, match=r"training.jsonl line 1: lacks AP"):
        load_curves(tmp_path)


@pytest.mark.parametrize("content", ["", '{"model": "eeff'])
def test_metrics_that_are_empty_or_cut_off_leave_the_run_without_those_scores(
    tmp_path, content, caplog
):
    folder = write_run(tmp_path)
    write_run(tmp_path, "eeffpose-p0-order1")
    (folder / "metrics_gt.json").write_text(content)
    scores = load_results(tmp_path).set_index("order")["AP"]
    assert scores["1"] == 25.0 and np.isnan(scores["8"])
    (told,) = caplog.messages
    assert told.startswith(f"{folder}/metrics_gt.json: not valid JSON")
    assert len(load_curves(tmp_path)) == 10 and len(caplog.messages) == 1  # told once


def test_a_log_that_is_cut_off_counts_up_to_there_and_tells_no_length(tmp_path, caplog):
    folder = write_run(tmp_path)
    for name in ("training.jsonl", "performance.jsonl"):
        (folder / name).write_text((folder / name).read_text()[:-10])
    assert list(load_curves(tmp_path)["epoch"]) == [-2, -1, 0, 1]
    row = load_results(tmp_path).iloc[0]
    assert row["AP"] == 25.0 and pd.isna(row["epochs"]) and np.isnan(row["train_hours"])
    assert f"{folder}/training.jsonl line 5: malformed JSON" in caplog.text


def test_an_empty_log_is_told(tmp_path, caplog):
    log = write_run(tmp_path) / "training.jsonl"
    log.write_text("")
    assert load_curves(tmp_path).empty and f"{log}: empty" in caplog.text


def test_weights_and_persons_that_are_cut_off_are_told_and_the_scores_stay(tmp_path, caplog):
    folder = write_run(tmp_path)
    write_persons(folder)
    for name in ("weights.safetensors", "persons_gt.parquet"):
        (folder / name).write_bytes((folder / name).read_bytes()[:100])
    assert load_results(tmp_path).loc[0, ["model", "AP"]].tolist() == ["eeffpose-p0-order8", 25.0]
    assert load_persons(tmp_path).empty
    assert "persons_gt.parquet: not a Parquet file" in caplog.text
    assert "weights.safetensors: not a safetensors file, or a damaged one" in caplog.text


def test_two_folders_with_half_of_the_runs_each_give_the_frames_of_one(tmp_path):
    for order, half in ((1, "b"), (2, "a"), (8, "b")):
        run = write_run(tmp_path / half, f"eeffpose-p0-order{order}")
        write_persons(run)
        shutil.copytree(run, tmp_path / "whole" / run.parent.name / run.name)
    halves, whole = (tmp_path / "a", tmp_path / "b"), tmp_path / "whole"
    for load in (load_results, load_curves, load_persons):
        frames = (load(*halves), load(whole))
        merged, one = (f.drop(columns=["name", "folder"], errors="ignore") for f in frames)
        pd.testing.assert_frame_equal(merged, one)


def test_the_papers_numbers_come_in_the_same_columns():
    table = load_reported()
    assert set(table["source"]) == {"reported"} and len(table) == 8 + 19 + 14 + 13
    best = table[(table["model"] == "eeffpose-p0-order8") & (table["split"] == "val")]
    assert set(best["AP"].dropna()) == {75.4} and set(best["PCKh@0.5"].dropna()) == {90.4}
