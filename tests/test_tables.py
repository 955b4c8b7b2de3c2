"""Tables 1 to 4, on made-up result folders."""

import csv
import re
import shutil
import subprocess

import pandas as pd
import pytest
from result_folders import write_complexity, write_run
from test_analysis import CROSS, sheet_with

from analysis import comparison, load_results, reported
from analysis.code_mix import mixed_code
from analysis.verdict import verdict
from pose.config.model_sheet import FILE, read_sheet
from pose.support.errors import PoseError

COCO = {"dataset": "coco", "input": "256x192", "images": 5000}
SHEET = read_sheet()


def table(number: int, *places, output=None, models=FILE) -> pd.DataFrame:
    """The CSV of a table of results in ``places``, written with its texts beside them."""
    output = output or places[0]
    places = map(str, places)
    comparison.main([str(number), *places, "--models", str(models), "--output-dir", str(output)])
    return pd.read_csv(output / f"table{number}.csv", dtype={"order": str})


def row_of(number: int, folder) -> dict[str, str]:
    """The last row of a table's text by its columns."""
    lines = [
        line for line in (folder / f"table{number}.md").read_text().splitlines() if "|" in line
    ]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return dict(zip(cells[0], cells[-1], strict=True))


def test_every_cell_of_the_papers_tables_and_of_those_since_is_the_reported_one(photographs):
    collected = photographs.parent / "paper/reported_since_2022.csv"
    assert (reported.FOLDER / "since_2022.csv").read_bytes() == collected.read_bytes()
    for number in (1, 2, 3, 4):
        compare_cells(photographs, number)


def compare_cells(photographs, number):
    (copy,) = (photographs.parent / "paper").glob(f"table{number}_*.csv")
    own = reported.FOLDER / copy.name
    theirs, ours = (list(csv.DictReader(file.open())) for file in (copy, own))
    assert len(theirs) == len(ours) > 7
    for there, here in zip(theirs, ours, strict=True):
        assert there == here
    # Nothing is lost or moved on the way into a table of this project.
    frame = reported.ablation().reset_index() if number == 1 else reported.comparison(number)
    frame = frame.rename(columns={"PCKh@0.5": "PCKh50"})
    for there, (_, here) in zip(theirs, frame.iterrows(), strict=True):
        for name, cell in there.items():
            known = here["input"].split("x") if name in ("input_h", "input_w") else None
            value = known[name == "input_w"] if known else here[name]
            if name in ("group", "method", "backbone", "note"):
                assert value == cell
            else:
                assert (cell == "" and pd.isna(value)) or float(value) == float(cell), (there, name)


def test_table_1_keeps_reported_and_measured_numbers_apart(tmp_path):
    write_run(tmp_path / "demo")
    write_run(tmp_path / "demo", boxes="det", AP=0.2)
    write_complexity(tmp_path / "demo")
    rows = table(1, tmp_path / "demo").set_index("order")
    assert list(rows.index) == ["1", "2", "8"]
    best = rows.loc["8"]
    assert (best["AP paper"], best["AP gt mean"], best["AP det mean"]) == (75.4, 25.0, 20.0)
    assert (best["params"], best["gmacs"], best["counted_input"]) == (9.0043, 4.0, "256x192")
    assert best["verdict"] == "not comparable" and rows.loc["1", "verdict"] == "not run"
    for kind in ("md", "html", "tex"):
        text = (tmp_path / f"demo/table1.{kind}").read_text()
        assert "val set 4 synthetic images" in text and "must not be compared" in text
        assert "orders 3, 4, 5, 6, 7" in text
        assert len(re.findall("not run", text)) == 2 * 3  # AP in both boxes, and the verdict
    assert "http" not in (tmp_path / "demo/table1.html").read_text()


def test_numbers_stay_numbers_in_a_csv(tmp_path):
    for seed, ap in enumerate((0.743, 0.745)):
        write_run(tmp_path, "hrnet-w32", seed, AP=ap, **COCO)
    rows = table(2, tmp_path)
    texts = {"method", "backbone", "model", "input", "val_set", "protocol", "precision", "seeds"}
    texts |= {"batch_norm", "evaluator", "submission", "verdict"}
    for name in set(rows) - texts:
        assert rows[name].dtype.kind in "fib", name
    row = rows[rows["AP gt n"].notna()].iloc[0]
    assert (row["AP gt mean"], row["AP gt sd"], row["AP gt n"]) == (74.4, 0.1414, 2)


def test_seeds_are_averaged_and_settings_that_all_share_are_said_once(tmp_path):
    for seed, ap in enumerate((0.2, 0.3)):
        write_run(tmp_path, seed=seed, AP=ap)
    rows = table(1, tmp_path)
    assert rows.loc[0, "AP gt sd"] == pytest.approx(7.0711)  # the sample's standard deviation
    text = (tmp_path / "table1.md").read_text()
    assert "25.0 ± 7.1" in text and "protocol controlled; batch 64; precision fp32" in text
    assert "protocol" not in row_of(1, tmp_path) and len(row_of(1, tmp_path)) == 9


def test_runs_of_two_protocols_are_two_rows_that_name_what_differs(tmp_path):
    label = "controlled, hrnet recipe (epochs=3, lr={})"
    write_run(tmp_path, seed=0, protocol=label.format(1))
    write_run(tmp_path, seed=1, protocol=label.format(2))
    rows = table(1, tmp_path)
    assert list(rows["order"]) == ["8", "8"]
    assert "protocol controlled, hrnet recipe, epochs=3" in (tmp_path / "table1.md").read_text()
    assert row_of(1, tmp_path)["protocol"] == "lr=2"


def test_one_row_per_model_and_input_and_no_average_over_inputs(tmp_path):
    for size, ap in (("256x192", 0.744), ("384x288", 0.758)):
        write_run(tmp_path / size, "hrnet-w32", **COCO | {"input": size}, AP=ap)
    rows = table(2, tmp_path).set_index(["model", "input"])
    assert len(rows) == len(reported.coco_val())
    assert rows.loc[("hrnet-w32", "256x192"), "AP gt mean"] == 74.4
    assert rows.loc[("hrnet-w32", "384x288"), "AP gt mean"] == 75.8


def test_what_a_model_costs_is_told_at_the_input_of_its_row_alone(tmp_path):
    write_run(tmp_path, "hrnet-w32", **COCO)
    write_complexity(tmp_path, "hrnet-w32,64x48,17,28536000,0.5")
    write_complexity(tmp_path, "hrnet-w32,64x48,17,28536000,0.5", "danet-72,256x192,17,3345000,1.0")
    rows = table(2, tmp_path).set_index(["model", "input"])
    hrnet, danet = rows.loc[("hrnet-w32", "256x192")], rows.loc[("danet-72", "256x192")]
    assert hrnet["params"] == 28.536 and pd.isna(hrnet["gmacs"])
    assert (danet["params"], danet["gmacs"]) == (3.345, 1.0)


def test_runs_that_the_paper_has_no_row_for_stand_below(tmp_path):
    write_run(tmp_path, "hrnet-w32", **COCO)
    write_run(tmp_path, "lpn-50", **COCO | {"images": 83})
    rows = table(2, tmp_path)
    assert len(rows) == len(reported.coco_val()) + 1
    last = rows.iloc[-1]
    assert tuple(last[["model", "val_set", "verdict"]]) == (
        *("lpn-50", "83 of 5000 images", "not comparable"),
    )
    assert row_of(2, tmp_path)["val set"] == "83 of 5000 images"
    assert "DANet †" in (tmp_path / "table2.md").read_text()


def test_cocos_ap_does_not_stand_beside_pckh(tmp_path):
    write_run(tmp_path, dataset="mpii", input="64x64", persons=264, **{"PCKh@0.5": 40.0})
    rows = table(1, tmp_path)
    assert rows.loc[0, "PCKh@0.5 gt mean"] == 40.0
    assert not any(name.startswith(("AP", "AR")) for name in rows)
    assert row_of(1, tmp_path)["PCKh@0.5 gt boxes"] == "40.0"


def test_the_papers_own_footnotes_and_slips_are_carried(tmp_path):
    write_run(tmp_path, dataset="mpii", input="64x64", persons=264, **{"PCKh@0.5": 40.0})
    rows = table(4, tmp_path).set_index("method")
    assert rows.loc["HRNet-W48", "PCKh@0.5 paper"] == 90.28
    text = (tmp_path / "table4.md").read_text()
    assert "90.28 *" in text and "* Re-implemented by the paper's authors" in text
    assert "90.84 in the text" in text
    write_run(tmp_path / "coco", "hrnet-w32", **COCO)
    table(2, tmp_path / "coco")
    assert "26.2 GFLOPs at 256x192" in (tmp_path / "coco/table2.html").read_text()


def test_the_servers_scores_fill_table_3_and_else_the_archive_is_named(tmp_path):
    folder = write_run(tmp_path, "hrnet-w32", **COCO) / "submission"
    folder.mkdir()
    (folder / "a_results.zip").touch()
    rows = table(3, tmp_path).set_index(["model", "input"])
    row = rows.loc[("hrnet-w32", "256x192")]
    assert (row["verdict"], row["submission"]) == ("not run", "a_results.zip")
    (folder / "server.json").write_text('{"AP": 0.734, "AP50": 0.922}')
    row = table(3, tmp_path).set_index(["model", "input"]).loc[("hrnet-w32", "256x192")]
    assert (row["AP det mean"], row["AP50 det mean"], row["verdict"]) == (73.4, 92.2, "reproduced")
    assert "measured scores are the server's" in (tmp_path / "table3.md").read_text()


def test_a_difference_is_told_where_both_numbers_are_of_the_same_images(tmp_path):
    write_run(tmp_path, AP=0.749, **COCO)
    write_run(tmp_path, "eeffpose-p0-order1", AP=0.679, **COCO)
    rows = table(1, tmp_path).set_index("order")
    assert rows["AP gt difference"].to_dict() == pytest.approx({"1": 0.1, "8": -0.5})
    assert rows["verdict"].to_dict() == {"1": "reproduced", "8": "differs"}
    assert row_of(1, tmp_path)["AP gt - paper"] == "-0.5"


@pytest.mark.parametrize(
    ("paper", "measured", "options", "expected"),
    [
        (75.4, 75.2, {}, "reproduced"),
        (75.4, 75.15, {}, "reproduced"),
        (75.4, 75.1, {}, "differs"),
        (75.4, 74.9, {"low": 74.3, "high": 75.5}, "reproduced"),
        (75.4, 75.2, {"low": 75.1, "high": 75.3}, "differs"),
        (75.4, 75.4, {"comparable": False}, "not comparable"),
        (float("nan"), 75.4, {}, "not comparable"),
        (75.4, float("nan"), {"comparable": False}, "not run"),
    ],
)
def test_the_rule_of_verdicts(paper, measured, options, expected):
    assert verdict(paper, measured, **options) == expected


def test_the_confound_of_orders_1_and_2_is_visible(tmp_path):
    for order, batch in ((1, 192), (8, 64)):
        write_run(tmp_path, f"eeffpose-p0-order{order}", train={"batch_size": batch}, **COCO)
    table(1, tmp_path)
    row = row_of(1, tmp_path)
    assert row["batch"] == "64" and "precision" not in row
    assert "precision fp32" in (tmp_path / "table1.md").read_text()


def test_a_ninth_order_is_a_row_of_every_table_without_a_number_of_the_paper(tmp_path):
    sheet = sheet_with(tmp_path, CROSS)
    write_run(tmp_path / "a", "eeffpose-p0-order1", **COCO)
    write_run(tmp_path / "a", "eeffpose-p0-cross", training=False, **COCO)
    rows = table(1, tmp_path / "a", models=sheet).set_index("order")
    assert list(rows.index) == ["1", "12"]
    assert list(rows.loc["12", ["backbone", "neck", "head"]]) == ["meme", "cross", "meme"]
    assert pd.isna(rows.loc["12", "AP paper"]) and rows.loc["12", "AP gt mean"] == 25.0
    shown = row_of(1, tmp_path / "a")
    assert [shown[f"MEMe {name}"] for name in ("backbone", "neck", "head")] == ["✓", "cross", "✓"]
    assert table(2, tmp_path / "a", models=sheet).iloc[-1]["model"] == "eeffpose-p0-order1"
    assert "eeffpose-p0-cross" in set(table(2, tmp_path / "a", models=sheet)["model"])


def test_results_of_a_model_that_the_sheet_lacks_are_refused_not_left_out(tmp_path):
    write_run(tmp_path, "eeffpose-p0-cross", training=False)
    with pytest.raises(SystemExit):
        table(1, tmp_path)
    with pytest.raises(PoseError, match=r"eeffpose-p0-cross, which is not in config/models\.tsv"):
        comparison.compare(2, load_results(tmp_path), pd.DataFrame(), SHEET)


def test_two_results_of_one_seed_in_one_row_are_refused(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name, made_from={"experiment": name, "code": {}}, training=False)
    with pytest.raises(PoseError, match=r"two results for eeffpose-p0-order8 seed 0, gt boxes"):
        comparison.compare(1, load_results(tmp_path), comparison.load_costs(tmp_path), SHEET)


def test_two_folders_with_half_of_the_orders_each_give_the_tables_of_one(tmp_path):
    for order in (1, 2, 8):
        for place in ("whole", "half" if order == 8 else "other half"):
            write_run(tmp_path / place, f"eeffpose-p0-order{order}", **COCO)
            write_complexity(tmp_path / place)
    table(1, tmp_path / "whole", output=tmp_path / "one")
    table(1, tmp_path / "half", tmp_path / "other half", output=tmp_path / "two")
    for kind in ("csv", "md", "html", "tex"):
        one, two = (tmp_path / place / f"table1.{kind}" for place in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), kind


def test_latex_has_as_many_cells_in_every_row_and_escapes_what_it_must(tmp_path):
    write_run(tmp_path, protocol="controlled (batch_size=4)")
    table(1, tmp_path)
    text = (tmp_path / "table1.tex").read_text()
    body = re.search(r"\\midrule\n(.*)\\bottomrule", text, re.DOTALL)[1]
    (columns,) = re.findall(r"begin\{tabular\}\{(\w+)\}", text)
    for row in body.strip().splitlines():
        assert row.endswith(r" \\") and row.count(" & ") == len(columns) - 1
    assert r"batch\_size=4" in text and not re.search(r"(?<!\\)[%&_#](?=[a-z])", text[40:])
    assert text.isascii()
    if shutil.which("pdflatex"):
        page = r"\documentclass{article}\usepackage{booktabs,amssymb}\begin{document}\input{table1}"
        (tmp_path / "page.tex").write_text(page + r"\end{document}")
        done = subprocess.run(["pdflatex", "-halt-on-error", "page"], cwd=tmp_path)
        assert done.returncode == 0


def test_results_of_different_code_are_named_where_they_meet(tmp_path):
    def mixed(*codes, **values):
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        for order, seed, code in codes:
            told = {"made_from": {"code": code}, "training": False} | values
            write_run(tmp_path / "runs", f"eeffpose-p0-order{order}", seed, **told)
        return mixed_code(load_results(tmp_path / "runs"))

    same = {"train": "aaaa", "infer": "bbbb", "evaluate": "cccc"}
    other_model = same | {"train": "dddd"}  # of which other parts of the code count
    assert mixed((1, 0, same), (1, 1, same), (8, 0, other_model)) == ""
    assert mixed((1, 0, {})) == ""
    assert "eeffpose-p0-order1 was trained with aaaa and eeee" in mixed(
        (1, 0, same), (1, 1, same | {"train": "eeee"})
    )
    assert "(seed 0) was trained with aaaa+eeee in turn" in mixed(
        (1, 0, same | {"train": "aaaa+eeee"})
    )
    assert "scores are by cccc and ffff" in mixed((1, 0, same), (8, 0, same | {"evaluate": "ffff"}))
    assert "is of aaaa, kept beside eeee" in mixed((1, 0, same), kept_code="aaaa, kept beside eeee")


def test_the_slips_of_the_paper_name_their_table_and_place():
    slips = pd.concat(reported.slips(number) for number in (1, 2, 3, 4))
    assert len(slips) == len(pd.read_csv(reported.FOLDER / "slips.csv")) > 10
    assert (slips[["place", "says", "but"]] != "").all().all()
