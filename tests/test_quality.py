"""What asks for a look: each finding from made-up results that hold it; none where all is well."""

import pandas as pd
import pytest
from result_folders import write_logs, write_run

from analysis.quality import (
    controlled,
    findings,
    main,
    read_audits,
    read_controls,
    read_curves,
    read_scores,
)
from analysis.results import run_folders

SCORE = {"AP": 0.25, "AR": 0.3, "decode": "quarter"}
ROW = {"model": "eeffpose-p0-order8", "dataset": "synthetic", "input": "64x48"}


def write_controls(results, floor=0.01, unrounded=0.9, **labels):
    rows = [
        ROW | {"boxes": boxes, "control": control, "centre": centre, "decode": decode, "AP": ap}
        for boxes in ("gt", "det")
        for control, centre, decode, ap in (
            ("floor", "", "", floor),
            ("reference", "rounded", "quarter", 0.7),
            ("reference", "unrounded", "quarter", unrounded),
            ("reference", "unrounded", "dark", 0.99),
        )
    ]
    table = pd.DataFrame(rows).assign(**labels)
    table.to_csv(results / labels.get("model", ROW["model"]) / "controls.csv", index=False)


def run(results, best=0.25, **values):
    folder = write_run(results, **SCORE | values)
    write_logs(folder, AP=best, AR=0.3)
    return folder


def found(*places):
    folders = run_folders(places)
    frames = (read_scores(folders), read_controls(folders), read_audits(folders))
    table = findings(*frames, read_curves(folders), folders)
    return list(table.itertuples(index=False, name=None))


def test_where_all_is_well_nothing_is_said(tmp_path, capsys):
    run(tmp_path)
    write_controls(tmp_path)
    assert found(tmp_path) == []
    main([str(tmp_path), "--output-dir", str(tmp_path / "tables")])
    assert "nothing asks for a look" in capsys.readouterr().out
    written = {file.name for file in (tmp_path / "tables").iterdir()}
    assert {"quality.html", "controls.csv", "controls.md", "audit.html"} <= written


def test_a_score_stands_beside_the_controls_of_its_boxes_and_decoding(tmp_path):
    run(tmp_path, decode="dark")
    write_controls(tmp_path)
    folders = run_folders([tmp_path])
    (row,) = controlled(read_scores(folders), read_controls(folders)).itertuples()
    assert (row.score, row.floor, row.unrounded, row.outside) == (25, 1, 99, "")
    assert pd.isna(row.rounded)  # no such row for dark


@pytest.mark.parametrize(
    ("limits", "severity", "what"),
    [
        ({"unrounded": 0.2}, "error", "25.00 is above 20.00, which a net of perfect maps scores"),
        ({"floor": 0.3}, "warning", "25.00 is below 30.00, which the mean pose scores"),
    ],
)
def test_a_score_outside_its_controls_is_named(limits, severity, what, tmp_path):
    run(tmp_path)
    write_controls(tmp_path, **limits)
    where = "eeffpose-p0-order8, seed 0, gt boxes"
    assert found(tmp_path) == [(severity, f"score outside its controls: {what}", where)]


def test_seeds_that_give_the_same_are_an_error_unless_they_give_nothing(tmp_path):
    for seed in (0, 1):
        run(tmp_path, seed=seed)
    write_controls(tmp_path)
    ((severity, what, _),) = found(tmp_path)
    assert (severity, what) == ("error", "identical results of the seeds 0 and 1")
    for seed in (0, 1):
        run(tmp_path, seed=seed, AP=0.0, best=0.0)
    write_controls(tmp_path, floor=0.0)
    assert found(tmp_path) == []


def test_detector_boxes_better_than_true_ones_are_named(tmp_path):
    run(tmp_path)
    run(tmp_path, boxes="det", AP=0.26)
    write_controls(tmp_path)
    ((severity, what, _),) = found(tmp_path)
    assert severity == "warning"
    assert what.endswith("better than true ones: 26.0 in detector boxes, 25.0 in true ones")


def test_evaluators_that_disagree_are_named(tmp_path):
    folder = run(tmp_path, best=0.26)
    write_controls(tmp_path)
    audit = {"model": "m", "seed": 0, "boxes": "gt", "choice": "evaluator", "metric": "AP"}
    rows = [{"value": "pycocotools", "difference": 0.0}, {"value": "fast", "difference": 0.01}]
    pd.DataFrame([audit | row | {"score": 0.25} for row in rows]).to_csv(
        folder / "audit.csv", index=False
    )
    assert [what for _, what, _ in found(tmp_path)] == [
        "evaluators disagree: fast gives +1.00 AP",
        "the training's evaluator disagrees: 25.00 of the weights, 26.00 of their epoch",
    ]


def test_versions_of_evaluators_side_by_side_and_mixed_code_are_named(tmp_path):
    run(tmp_path)
    code = {"train": "aaaa", "infer": "other", "evaluate": "cccc"}
    run(tmp_path, seed=1, AP=0.2, best=0.2, evaluator="hotcoco 1.3.0", made_from={"code": code})
    write_controls(tmp_path)
    assert [what for _, what, _ in found(tmp_path)] == [
        "scores by hotcoco 1.3.0 and pycocotools 2.0.11 stand side by side",
        "mixed code: eeffpose-p0-order8 was predicted with bbbb and other",
    ]


def test_skipped_persons_failed_runs_and_missing_controls_are_named_last(tmp_path):
    run(tmp_path, skipped={"box without area": 3})
    (tmp_path / "eeffpose-p0-order1" / "seed0").mkdir(parents=True)
    write_logs(tmp_path / "eeffpose-p0-order1" / "seed0")
    assert found(tmp_path) == [
        ("warning", "3 persons of the val set skipped: box without area", "synthetic, gt boxes"),
        (
            "warning",
            "1 of 2 runs (50%) failed or are unfinished: they have no score",
            "eeffpose-p0-order1 seed 0",
        ),
        ("note", "1 scores have no controls; run pose.controls", "eeffpose-p0-order8"),
    ]


def test_files_that_cannot_be_read_come_first_and_a_cut_log_accuses_no_evaluator(tmp_path):
    folder = run(tmp_path, AP=0.5, best=0.5)
    write_controls(tmp_path)
    log = folder / "training.jsonl"
    log.write_text(log.read_text().replace("0.5", "0.4")[:-10])
    ((severity, what, where),) = found(tmp_path)
    assert severity == "error" and where == "eeffpose-p0-order8 seed0"
    assert what.startswith(f"left out: {log} line 5: malformed JSON")


def test_controls_of_two_folders_are_in_the_order_of_one(tmp_path):
    for order, half in ((1, "b"), (8, "a")):
        write_run(tmp_path / half, f"eeffpose-p0-order{order}", **SCORE)
        write_run(tmp_path / "whole", f"eeffpose-p0-order{order}", **SCORE)
    main([str(tmp_path / "whole"), "--output-dir", str(tmp_path / "one")])
    main([str(tmp_path / "a"), str(tmp_path / "b"), "--output-dir", str(tmp_path / "two")])
    for kind in ("csv", "md"):
        one, two = (tmp_path / place / f"controls.{kind}" for place in ("one", "two"))
        assert one.read_text() == two.read_text()


def test_mpiis_scores_have_controls_too(tmp_path):
    mpii = {"dataset": "mpii", "input": "256x256", "PCKh@0.5": 88.0, "persons": 264}
    write_run(tmp_path, **mpii, decode="quarter", training=False)
    rows = [("floor", "", "", 20.0), ("reference", "unrounded", "quarter", 87.0)]
    columns = ["control", "centre", "decode", "PCKh@0.5"]
    labels = {"model": "eeffpose-p0-order8", "dataset": "mpii", "input": "256x256", "boxes": "gt"}
    table = pd.DataFrame(rows, columns=columns).assign(**labels)
    table.to_csv(tmp_path / "eeffpose-p0-order8" / "controls.csv", index=False)
    ((severity, what, _),) = found(tmp_path)
    assert severity == "error" and "88.00 is above 87.00" in what


def test_a_damaged_table_is_one_line(tmp_path):
    run(tmp_path)
    (tmp_path / "eeffpose-p0-order8" / "controls.csv").write_text("model\nx\n")
    with pytest.raises(SystemExit, match=r"^error: [^\n]*controls.csv: not such a table[^\n]*$"):
        main([str(tmp_path)])
