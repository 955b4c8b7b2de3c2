"""What is particular to LPN."""

import pytest
import torch
from torch import nn

from pose.models import create_model
from pose.models.lpn import GlobalContext
from pose.support.errors import PoseError

pytestmark = pytest.mark.usefixtures("seed")


def test_global_context_adds_one_attended_vector_to_every_pixel():
    block, x = GlobalContext(32), torch.randn(2, 32, 5, 3)
    attention = (block.conv_mask.weight[0, :, 0, 0] @ x.flatten(2)).softmax(dim=1)
    context = torch.einsum("bcp,bp->bc", x.flatten(2), attention)
    added = block.channel_add_conv(context[..., None, None])
    torch.testing.assert_close(block(x), x + added)


def test_the_bias_of_the_attention_has_no_effect():
    block, x = GlobalContext(32), torch.randn(2, 32, 5, 3)
    before = block(x)
    nn.init.constant_(block.conv_mask.bias, 3.0)
    torch.testing.assert_close(block(x), before)


def test_the_last_stage_keeps_the_resolution_so_that_two_upsamplings_suffice():
    model = create_model("lpn-50").eval()
    with torch.inference_mode():
        features = model.layer4(torch.zeros(1, 256, 4, 3))
        heatmaps = model(torch.zeros(1, 3, 64, 48))
    assert features.shape == (1, 512, 4, 3)
    assert heatmaps.shape == (1, 17, 16, 12)


def test_starts_from_the_published_distribution():
    model = create_model("lpn-50")
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.weight.numel() > 4000:
            assert layer.weight.std().item() == pytest.approx(0.001, rel=0.1)
        if isinstance(layer, GlobalContext):
            assert not layer.conv_mask.bias.any() and not layer.channel_add_conv[-1].bias.any()
            assert layer.channel_add_conv[-1].weight.any()  # not zero as in GCNet


def test_an_input_that_is_not_a_multiple_of_16_is_a_clear_error():
    model = create_model("lpn-50").eval()
    with pytest.raises(PoseError, match=r"LPN .* multiples of 16, not 256x200"):
        model(torch.zeros(1, 3, 256, 200))
