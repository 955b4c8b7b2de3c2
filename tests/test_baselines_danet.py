"""The reconstruction of DANet meets what its paper reports, and works."""

import pytest
import torch
from torch import nn

from pose.complexity import measure
from pose.models import create_model
from pose.models.danet import SecondOrderFusion
from pose.support.errors import PoseError

# million parameters and GFLOPs at 256x192 (MEMe's Tables 2 and 3)
REPORTED = {72: (3.4, 1.0), 88: (5.3, 1.4), 102: (5.8, 1.8)}

pytestmark = pytest.mark.usefixtures("seed")


@pytest.mark.parametrize("depth", REPORTED)
def test_parameters_and_macs_are_within_five_percent_of_the_reported(depth):
    params, gflops = REPORTED[depth]
    cost = measure(create_model(f"danet-{depth}"), (256, 192))
    assert cost.params / 1e6 == pytest.approx(params, rel=0.05)
    assert cost.gmacs_fvcore == pytest.approx(gflops, rel=0.05)


@pytest.mark.parametrize("depth", REPORTED)
def test_the_suffix_counts_the_convolutions_of_the_longest_path(depth):
    model = create_model(f"danet-{depth}")
    convolutions = sum(isinstance(m, nn.Conv2d) for m in model.modules())
    off_path = len(model.laterals) - 1  # all but the coarsest scale's
    assert convolutions - off_path == depth


@pytest.mark.parametrize("depth", REPORTED)
def test_one_training_step_moves_every_parameter(depth):
    model = create_model(f"danet-{depth}").train()
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    heatmaps = model(torch.randn(2, 3, 64, 64))
    (heatmaps - torch.rand_like(heatmaps)).square().mean().backward()
    torch.optim.Adam(model.parameters(), lr=1e-3).step()
    assert not [key for key, p in model.named_parameters() if torch.equal(p, before[key])]


def test_heatmaps_are_a_quarter_of_the_image_and_finite():
    model = create_model("danet-72", num_keypoints=16).eval()
    with torch.inference_mode():
        heatmaps = model(torch.randn(1, 3, 256, 192))
    assert heatmaps.shape == (1, 16, 64, 48)
    assert heatmaps.isfinite().all()
    with pytest.raises(PoseError, match=r"DANet .* multiples of 32, not 256x200"):
        model(torch.zeros(1, 3, 256, 200))


def test_attention_shares_every_channel_out_among_the_layers():
    block = create_model("danet-72").stages[0][1].eval()
    x = torch.randn(1, 64, 16, 12)
    seen = []
    for layer in block.layers:
        layer.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.inference_mode():
        output = block(x)
    lowest, highest = torch.stack(seen).amin(0), torch.stack(seen).amax(0)
    assert (output >= lowest - 1e-5).all()
    assert (output <= highest + 1e-5).all()


def test_fusion_keeps_the_scale_that_its_gate_chooses():
    fusion = SecondOrderFusion(8).eval()
    fusion.layer = nn.Identity()
    finer, coarser = torch.randn(1, 8, 4, 4), torch.randn(1, 8, 2, 2)
    upsampled = coarser.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for bias, expected in ((50.0, finer), (-50.0, upsampled)):
        nn.init.zeros_(fusion.gate[-1].weight)
        nn.init.constant_(fusion.gate[-1].bias, bias)
        torch.testing.assert_close(fusion(finer, coarser), expected)
