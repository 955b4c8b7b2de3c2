"""Costs equal what was counted on the released code, by the same counter."""

import csv
import json
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from analysis import complexity_table, reported
from pose.complexity import input_size, main, measure, read_sheet
from pose.models import create_model, list_models
from pose.support.errors import PoseError
from pose.training.activations import count

ROOT = Path(__file__).parent.parent

# (model, keypoints, input) -> fvcore GMACs, GMACs of convolutions alone. The second order of each
# pair differs in FAHead's sigmoid and product, which no counter counts.
GMACS = {
    ("eeffpose-p0-order1", 17, (256, 192)): (1.589, 1.533),
    ("eeffpose-p0-order2", 17, (256, 192)): (4.313, 4.182),
    ("eeffpose-p0-order3", 17, (256, 192)): (2.273, 2.193),
    ("eeffpose-p0-order4", 17, (256, 192)): (1.589, 1.533),
    ("eeffpose-p0-order5", 17, (256, 192)): (2.273, 2.193),
    ("eeffpose-p0-order6", 17, (256, 192)): (4.997, 4.843),
    ("eeffpose-p0-order7", 17, (256, 192)): (4.313, 4.182),
    ("eeffpose-p0-order8", 17, (256, 192)): (4.997, 4.843),
    ("eeffpose-p0", 16, (256, 256)): (6.662, 6.456),
    ("eeffpose-p2-order3", 17, (384, 288)): (13.754, 13.410),
    ("eeffpose-p2-order5", 17, (384, 288)): (13.754, 13.410),
    ("eeffpose-p2-order6", 17, (384, 288)): (23.112, 22.527),
    ("eeffpose-p2-order8", 17, (384, 288)): (23.112, 22.527),
    ("eeffpose-p2", 16, (384, 384)): (30.814, 30.033),
}


@pytest.mark.parametrize("case", GMACS)
def test_multiply_adds_equal_the_released_model_s(case):
    name, keypoints, size = case
    cost = measure(create_model(name, keypoints).eval(), size)
    fvcore, convolutions = GMACS[case]
    assert cost.gmacs_fvcore == pytest.approx(fvcore, rel=1e-3)
    assert cost.gmacs_conv_linear == pytest.approx(convolutions, rel=1e-3)
    assert sum(gmacs for _, gmacs in cost.parts.values()) == pytest.approx(cost.gmacs_fvcore)
    assert sum(params for params, _ in cost.parts.values()) == cost.params


@pytest.fixture
def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(inplace=True), nn.Conv2d(8, 8, 1), nn.AvgPool2d(4)
    )


def test_peak_activation_memory_is_that_of_the_tensors_alive_together(small):
    pixels = 32 * 16
    # the caller's images, and the second convolution's input and output
    expected = (3 + 8 + 8) * pixels * torch.float32.itemsize / 2**20
    assert measure(small, (32, 16)).peak_activation_mib == pytest.approx(expected)


def test_names_what_the_counter_leaves_out_and_keeps_the_model_as_it_was(small):
    cost = measure(small.train(), (32, 16))
    assert cost.gmacs_conv_linear * 1e9 == 32 * 16 * (3 * 8 * 9 + 8 * 8)
    assert cost.unsupported_ops == {"aten::avg_pool2d": 1, "aten::silu_": 1}
    assert cost.parts == {}
    assert small.training


def test_command_line_writes_one_row_and_one_json_object_a_model(tmp_path, capsys):
    file = tmp_path / "complexity.csv"
    models = ["eeffpose-p0-order3", "eeffpose-p0-order5"]
    arguments = ["--input", "64x48", "--num-keypoints", "16", "--json", "--csv", str(file)]
    main([*models, *arguments])
    printed = capsys.readouterr()
    assert printed.err == ""
    objects = [json.loads(line) for line in printed.out.splitlines()]
    with file.open(newline="") as rows:
        written = list(csv.DictReader(rows))
    assert [row["model"] for row in objects] == [row["model"] for row in written] == models
    assert ",".join(written[0]) == (
        "model,input,num_keypoints,params,gmacs_fvcore,gmacs_conv_linear,peak_activation_mib,"
        "backbone_params,neck_params,head_params,backbone_gmacs,neck_gmacs,head_gmacs,"
        "unsupported_ops"
    )
    # 3 scales of a 1x1 convolution from 64 channels, BN's weight and bias: one keypoint fewer
    assert int(written[0]["params"]) == 4_380_786 - 3 * (64 + 2)


def test_latency_stands_in_a_table_of_its_own_with_device_and_threads(tmp_path):
    file = tmp_path / "latency.csv"
    main(["shufflenetv2@64x64", "--latency", "cpu", "--workers", "0", "--csv", str(file)])
    with file.open(newline="") as rows:
        (row,) = csv.DictReader(rows)
    assert list(row)[3:] == ["latency_ms", "passes", "device", "threads"]
    assert 0 < float(row["latency_ms"]) < 10_000 and int(row["threads"]) == torch.get_num_threads()


def test_training_memory_is_what_a_step_was_counted_to_keep(tmp_path, capsys):
    file = tmp_path / "memory.csv"
    main(["shufflenetv2@64x64", "--memory", "8", "--csv", str(file)])
    with file.open(newline="") as rows:
        (row,) = csv.DictReader(rows)
    build = partial(create_model, "shufflenetv2", 17)
    assert int(row["params"]) == sum(p.numel() for p in build().parameters())
    assert row["images"] == "8"
    for precision, name in (("fp32", "fp32"), ("fp16", "16bit")):
        need = count(build, (64, 64), precision, 8)
        assert float(row[f"bytes_{name}"]) == pytest.approx(need.an_image, abs=0.5)
        step = need.always + 8 * need.an_image
        assert float(row[f"step_gb_{name}"]) == pytest.approx(step / 1e9, abs=5e-4)


@pytest.mark.parametrize("text", ["256", "256x", "256*192", "0x64", "256x190", "-4x64", "axb"])
def test_a_malformed_input_size_is_an_error(text):
    with pytest.raises(PoseError, match="give HEIGHTxWIDTH in multiples of 4"):
        input_size(text)
    assert input_size("256x192") == (256, 192)


@pytest.fixture
def mixed(tmp_path) -> list[str]:
    """Arguments for two models of different inputs and numbers of keypoints."""
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("model,input,num_keypoints\nlitehrnet-18,64x64,16\n")
    return ["eeffpose-p0-order1@64x48", "--sheet", str(sheet)]


def test_models_of_several_inputs_and_keypoints_are_measured_in_one_call(mixed, tmp_path, capsys):
    main([*mixed, "--csv", str(tmp_path / "rows.csv")])
    with (tmp_path / "rows.csv").open(newline="") as rows:
        cases = [(row["model"], row["input"], row["num_keypoints"]) for row in csv.DictReader(rows)]
    assert cases == [("eeffpose-p0-order1", "64x48", "17"), ("litehrnet-18", "64x64", "16")]


@pytest.mark.slow
def test_processes_that_share_the_work_count_the_same(mixed, tmp_path, capsys):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    main([*mixed, "--csv", str(one)])
    main([*mixed, "--csv", str(two), "--workers", "2"])
    assert one.read_text() == two.read_text()


def test_a_model_without_an_input_and_a_foreign_sheet_are_errors(tmp_path, capsys):
    with pytest.raises(SystemExit, match="hrnet-w16: give its input, as hrnet-w16@256x192 or by"):
        main(["hrnet-w16"])
    sheet = tmp_path / "sheet.csv"
    for text in ("model,size\nhrnet-w16,256x192\n", "hrnet-w16", ""):
        sheet.write_text(text)
        with pytest.raises(
            SystemExit, match="not a sheet with the columns model, input, num_keypoints"
        ):
            main(["--sheet", str(sheet)])


def test_the_sheet_to_be_measured_has_known_models_and_every_row_of_the_papers_tables():
    cases = read_sheet(ROOT / "config/complexity.csv")
    assert {case.model for case in cases} <= set(list_models())
    places = {(case.model, case.input) for case in cases}
    for table in (2, 3, 4):
        rows = reported.comparison(table)
        assert set(rows[["model", "input"]].itertuples(index=False, name=None)) <= places


def counted(**changes: float) -> pd.DataFrame:
    """A complexity table as the spec's measurements have it: every row of the paper, no other."""
    rows = pd.concat(
        [reported.comparison(t).assign(num_keypoints=16 if t == 4 else 17) for t in (2, 3, 4)]
    ).drop_duplicates(["model", "input", "num_keypoints"])
    gmacs = rows["gflops"].fillna(1.0)
    reasons = pd.read_csv(reported.FOLDER / "complexity_reasons.csv")
    off = set(reasons[["model", "input", "reported"]].itertuples(index=False, name=None))
    keys = zip(rows["model"], rows["input"], rows["gflops"], strict=True)
    gmacs = gmacs.where([key not in off for key in keys], gmacs * 1.1)
    frame = rows[["model", "input", "num_keypoints"]].assign(
        params=rows["params_m"].fillna(1.0) * 1e6, gmacs_fvcore=gmacs, gmacs_conv_linear=gmacs
    )
    for model, factor in changes.items():
        frame.loc[frame["model"] == model.replace("_", "-"), "gmacs_fvcore"] *= factor
    return frame


def write_table(frame: pd.DataFrame, folder: Path) -> None:
    file = folder / "complexity.csv"
    frame.to_csv(file, index=False)
    output = ["--output-dir", str(folder / "tables")]
    sheet = ["--models", str(ROOT / "config/models.tsv")]
    complexity_table.main(["--complexity", str(file), *sheet, *output])


def test_the_comparison_gives_a_reason_for_each_disagreement_and_marks_reconstructions(tmp_path):
    write_table(counted(), tmp_path)
    table = pd.read_csv(tmp_path / "tables/complexity.csv").set_index(["model", "input"])
    simple = table.loc[("simplebaseline-r50", "256x192")]
    assert "transposed convolutions counted at their output's resolution" in simple["reason"]
    hrnet = table.loc[("hrnet-w32", "256x192")]
    assert hrnet["table"] == "2, 3" and pd.isna(hrnet["reason"])
    assert table.loc[("efficientpose-4", "600x600"), "printed_input"] == "256x256"
    assert table.loc["danet-72", "reconstruction"].all()
    for name in ("complexity.md", "complexity.html"):
        text = (tmp_path / "tables" / name).read_text()
        assert "danet-72 *" in text and "hrnet-w32 *" not in text


def test_a_disagreement_without_a_reason_and_a_reason_without_one_are_errors(tmp_path):
    with pytest.raises(
        SystemExit, match=r"hrnet-w48 at 256x192: gmacs are 16\.956, the paper print"
    ):
        write_table(counted(hrnet_w48=1.08), tmp_path)
    with pytest.raises(
        SystemExit, match=r"gmacs of lpn-152 at 256x192 agree with 1\.8; drop the re"
    ):
        write_table(counted(lpn_152=1 / 1.1), tmp_path)
    without = counted()
    with pytest.raises(SystemExit, match="Table 2: cpn-r50 at 256x192 with 17 keypoints was not m"):
        write_table(without[without["model"] != "cpn-r50"], tmp_path)
