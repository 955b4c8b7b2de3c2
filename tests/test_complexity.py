"""Costs equal what was counted on the released code, by the same counter."""

import csv
import json

import pytest
import torch
from torch import nn

from pose.complexity import input_size, main, measure
from pose.errors import PoseError
from pose.models import create_model

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


def test_command_line_writes_one_row_and_one_json_object_a_model(tmp_path, monkeypatch, capsys):
    file = tmp_path / "complexity.csv"
    models = ["eeffpose-p0-order3", "eeffpose-p0-order5"]
    arguments = ["--input", "64x48", "--num-keypoints", "16", "--json", "--csv", str(file)]
    monkeypatch.setattr("sys.argv", ["pose.complexity", *models, *arguments])
    main()
    printed = capsys.readouterr()
    assert printed.err == ""
    objects = [json.loads(line) for line in printed.out.splitlines()]
    with file.open(newline="") as rows:
        written = list(csv.DictReader(rows))
    assert [row["model"] for row in objects] == [row["model"] for row in written] == models
    assert ",".join(written[0]) == (
        "model,input,params,gmacs_fvcore,gmacs_conv_linear,peak_activation_mib,"
        "backbone_params,neck_params,head_params,backbone_gmacs,neck_gmacs,head_gmacs,"
        "unsupported_ops"
    )
    # 3 scales of a 1x1 convolution from 64 channels, BN's weight and bias: one keypoint fewer
    assert int(written[0]["params"]) == 4_380_786 - 3 * (64 + 2)


@pytest.mark.parametrize("text", ["256", "256x", "256*192", "0x64", "256x190", "-4x64", "axb"])
def test_a_malformed_input_size_is_an_error(text):
    with pytest.raises(PoseError, match="give HEIGHTxWIDTH in multiples of 4"):
        input_size(text)
    assert input_size("256x192") == (256, 192)
