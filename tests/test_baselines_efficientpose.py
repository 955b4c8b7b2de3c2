"""What is particular to EfficientPose: full-size maps, passes, heads for training alone."""

import pytest
import timm
import torch
from reference_fill import filled, fixtures, images, relative_difference

from pose.config import experiment
from pose.datasets.mpii import MPII
from pose.models import create_model
from pose.models.efficientpose import RELEASED_JOINTS
from pose.support.errors import PoseError
from pose.weights import initialise, load_published, to_published

HEADS = {f"training_heads.{n}.{t}" for n in ("skeleton", "detection1") for t in ("weight", "bias")}

pytestmark = pytest.mark.usefixtures("seed")


def test_maps_are_the_released_graph_s_at_both_resolutions(reference):
    entry = fixtures("baselines")["efficientpose_i"]
    model = filled("efficientpose-1", 16, entry["gain"])
    x = images(*entry["input_hw"])
    with torch.inference_mode():
        full = model(x)
        low = model.confidences(model.pass_features(x)["detection2"])
    released = [MPII.names.index(joint) for joint in RELEASED_JOINTS]
    full, low = full[:, released], low[:, released]
    parts = {"output_lowres": low, "output_s5": full[:, :, ::5, ::5], "output_b1k15": full[1, 15]}
    for output, heatmaps in parts.items():
        assert relative_difference(heatmaps, entry, reference, output) < 5e-5


def test_released_maps_are_brought_into_mpii_s_order_by_loading():
    model = create_model("efficientpose-1", num_keypoints=16)
    released = to_published(model)
    bias = "pass3_detection2_confs_convolution.bias"
    released[bias] = torch.arange(16.0)
    load_published(model, released)
    named = dict(zip(RELEASED_JOINTS, range(16), strict=True))
    assert model.confidences.bias.tolist() == [named[joint] for joint in MPII.names]
    assert torch.equal(to_published(model)[bias], released[bias])


def test_released_weights_load_into_the_recipe_s_net_which_then_is_without_training_heads():
    released = to_published(create_model("efficientpose-1", num_keypoints=16))
    options = experiment("efficientpose-1", "mpii", (256, 256)).model_options.architecture()
    model = create_model("efficientpose-1", num_keypoints=16, **options)
    del released["stem_conv_res1_convolution.weight"]
    with pytest.raises(PoseError, match=r"missing: stem_conv_res1_convolution.weight$"):
        load_published(model, released)
    assert model.training_heads
    released = to_published(create_model("efficientpose-1", num_keypoints=16))
    load_published(model, released)
    assert not model.training_heads and to_published(model).keys() == released.keys()


def test_upsampling_is_bilinear():
    model = create_model("efficientpose-1", num_keypoints=16)
    ramp = torch.arange(8.0).expand(1, 16, 8, 8)
    doubled = torch.nn.functional.conv_transpose2d(ramp, model.bilinear, stride=2, padding=1)
    expected = torch.nn.functional.interpolate(ramp, scale_factor=2, mode="bilinear")
    inside = (..., slice(1, -1), slice(1, -1))  # at the border it fades to zero
    torch.testing.assert_close(doubled[inside], expected[inside])


@pytest.mark.parametrize(("keypoints", "limbs"), [(16, 15), (17, 19)])
def test_training_heads_give_every_pass_s_maps_in_training_alone(keypoints, limbs):
    model = create_model("efficientpose-1", keypoints, training_heads=True)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    x = torch.randn(2, 3, 64, 64)
    outputs = model.train()(x)
    assert [tuple(output.shape) for output in outputs] == [
        (2, 2 * limbs, 8, 8),
        (2, keypoints, 8, 8),
        (2, keypoints, 64, 64),
    ]
    sum((output - torch.rand_like(output)).square().mean() for output in outputs).backward()
    torch.optim.Adam(model.parameters(), lr=1e-3).step()
    assert not [key for key, p in model.named_parameters() if torch.equal(p, before[key])]
    with torch.inference_mode():
        assert model.eval()(x).shape == (2, keypoints, 64, 64)


def test_without_training_heads_it_is_the_released_graph_and_with_them_it_starts_the_same():
    plain = create_model("efficientpose-1", num_keypoints=16)
    headed = create_model("efficientpose-1", num_keypoints=16, training_heads=True)
    assert to_published(headed).keys() - to_published(plain).keys() == HEADS
    headed.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(plain.eval()(x), headed.eval()(x))


@pytest.mark.parametrize("variant", [3, 4])
def test_the_larger_graphs_have_a_skip_around_every_block_of_a_pass_but_the_first(variant):
    model = create_model(f"efficientpose-{variant}", num_keypoints=16).eval()
    assert [len(blocks) for blocks in model.passes.values()] == [variant] * 3
    blocks = model.passes["detection1"]
    for block in blocks[1:]:
        for mbconv in (block.mbconv1, block.mbconv2, block.mbconv3):
            torch.nn.init.zeros_(mbconv.project_bn.weight)
    x = torch.randn(1, blocks[0].mbconv1.expand.in_channels, 4, 4)
    with torch.inference_mode():
        assert torch.equal(blocks(x), blocks[0](x))


def test_both_trunks_start_from_imagenet(tmp_path, monkeypatch):
    def fetch(name):
        path = tmp_path / f"{name}.pth"
        torch.manual_seed(len(name))
        torch.save(timm.create_model(name).state_dict(), path)
        return path

    monkeypatch.setattr("pose.weights.load.fetch", fetch)
    model = create_model("efficientpose-1", num_keypoints=16)
    initialise(model, "imagenet")
    for trunk, name in ((model.high, "tf_efficientnet_b2"), (model.low, "tf_efficientnet_b0")):
        published = torch.load(tmp_path / f"{name}.pth")
        assert all(torch.equal(t, published[key]) for key, t in trunk.state_dict().items())


def test_unfit_inputs_and_keypoints_are_one_line():
    model = create_model("efficientpose-1", num_keypoints=16).eval()
    with pytest.raises(PoseError, match=r"EfficientPose .* multiples of 8, not 256x196"):
        model(torch.zeros(1, 3, 256, 196))
    with pytest.raises(PoseError, match="no skeleton of 5 keypoints is known"):
        create_model("efficientpose-1", num_keypoints=5, training_heads=True)
