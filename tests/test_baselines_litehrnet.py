"""What is particular to Lite-HRNet."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pose.models import create_model
from pose.models.litehrnet import LiteHRModule, interleave
from pose.support.errors import PoseError
from pose.weights import load_published, to_published

WIDTHS = (40, 80, 160)

pytestmark = pytest.mark.usefixtures("seed")


@pytest.fixture
def module() -> LiteHRModule:
    """A module of three branches that only fuses."""
    module = LiteHRModule(WIDTHS)
    module.layers = nn.Identity()
    return module


@pytest.fixture
def branches() -> list[torch.Tensor]:
    return [torch.randn(2, width, 16 >> i, 8 >> i) for i, width in enumerate(WIDTHS)]


def test_fusion_adds_branch_0_twice_and_hands_its_sum_to_the_others(module, branches):
    module.eval()
    (_, up1, up2), (down, _, up), (down2, down1, _) = module.fuse_layers
    b0, b1, b2 = branches
    y0 = 2 * b0 + up1(b1) + up2(b2)
    y1 = 2 * down(y0) + b1 + up(b2)
    y2 = 2 * down2(y0) + down1(b1) + b2
    for ours, expected in zip(module(branches), (y0, y1, y2), strict=True):
        torch.testing.assert_close(ours, expected.relu())


def test_fusion_leaves_the_tensors_that_it_is_given_as_they_were(module, branches):
    before = [branch.clone() for branch in branches]
    module(branches)
    assert all(torch.equal(a, b) for a, b in zip(branches, before, strict=True))


def test_statistics_of_the_paths_from_branch_0_move_twice_in_a_training_step(module, branches):
    module(branches)
    steps = {
        name.split(".")[2]: int(tensor)
        for name, tensor in module.named_buffers()
        if name.endswith("num_batches_tracked")
    }
    assert steps == {"0": 2, "1": 1, "2": 1}


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_interleaving_is_the_shuffle_of_the_two_halves(memory):
    a, b = (torch.randn(2, 6, 4, 3).to(memory_format=memory) for _ in "ab")
    assert torch.equal(interleave(a, b), F.channel_shuffle(torch.cat([a, b], dim=1), 2))


@pytest.mark.parametrize("naming", ["official", "mmpose-1"])
def test_reads_the_authors_and_mmpose_s_checkpoints(naming):
    published = to_published(create_model("litehrnet-18"), naming)
    model = create_model("litehrnet-18")
    load_published(model, published)
    head = {"official": "keypoint_head", "mmpose-1": "head"}[naming]
    assert torch.equal(model.head.weight, published[f"{head}.final_layer.weight"])
    loaded = to_published(model, naming)
    assert all(torch.equal(loaded[key], tensor) for key, tensor in published.items())


def test_an_input_that_is_not_a_multiple_of_32_is_a_clear_error():
    model = create_model("litehrnet-18").eval()
    with pytest.raises(PoseError, match=r"Lite-HRNet .* multiples of 32, not 256x200"):
        model(torch.zeros(1, 3, 256, 200))
