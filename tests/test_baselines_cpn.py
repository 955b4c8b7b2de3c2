"""What is particular to CPN: five outputs, two RefineNets, and a reconstructed trunk."""

import pytest
import timm
import torch
import torchvision
from reference_fill import filled, fixtures, images, relative_difference

from pose.models import create_model
from pose.support.errors import PoseError
from pose.weights import initialise, load_published, to_published

pytestmark = pytest.mark.usefixtures("seed")


def test_every_output_is_the_reference_s(reference):
    entry = fixtures("baselines")["cpn_res50"]
    model = filled("cpn-r50", gain=entry["gain"])
    x = images(*entry["input_hw"])
    with torch.inference_mode():
        evaluated = model(x)
        model.training = True  # all outputs, with the statistics of evaluation below
        ours = model(x)
    assert torch.equal(evaluated, ours[-1])
    assert len(ours) == 5
    for output, heatmaps in zip(entry["outputs"], ours, strict=True):
        assert relative_difference(heatmaps, entry, reference, output) < 5e-5


def test_the_port_s_checkpoints_fit_the_variant_with_projections_and_no_other():
    port = to_published(create_model("cpn-r50-projection"))
    shortcut = "refine_net.cascade.0.0.downsample.0.weight"
    assert port[shortcut].shape == (256, 256, 1, 1)
    assert port.keys() > to_published(create_model("cpn-r50")).keys()
    load_published(create_model("cpn-r50", shortcut="projection"), port)
    with pytest.raises(PoseError, match=rf"unexpected: {shortcut}.*; .* fit cpn-r50-projection$"):
        load_published(create_model("cpn-r50"), port)


def test_the_reconstruction_s_trunk_has_the_scales_of_a_resnet():
    model = create_model("cpn-inception").eval()
    with torch.inference_mode():
        scales = model.trunk(torch.zeros(1, 3, 384, 288))
    assert [s.shape[1] for s in scales] == [192, 320, 1088, 1536]
    assert [s.shape[2:] for s in scales] == [(96, 72), (48, 36), (24, 18), (12, 9)]


def test_the_reconstruction_learns_whole():
    model = create_model("cpn-inception", num_keypoints=16).train()
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    outputs = model(torch.randn(2, 3, 96, 64))
    assert [output.shape for output in outputs] == [(2, 16, 24, 16)] * 5
    sum((output - torch.rand_like(output)).square().mean() for output in outputs).backward()
    torch.optim.Adam(model.parameters(), lr=1e-3).step()
    assert not [key for key, p in model.named_parameters() if torch.equal(p, before[key])]
    with torch.inference_mode():
        heatmaps = model.eval()(torch.randn(1, 3, 384, 288))
    assert heatmaps.shape == (1, 16, 96, 72)
    assert heatmaps.isfinite().all()


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("cpn-r50", torchvision.models.resnet50),
        ("cpn-inception", lambda: timm.create_model("inception_resnet_v2")),
    ],
)
def test_the_trunk_starts_from_the_classifier_s(name, build, tmp_path, monkeypatch):
    classifier = build().state_dict()
    torch.save(classifier, tmp_path / "imagenet.pth")
    monkeypatch.setattr("pose.weights.load.fetch", lambda name: tmp_path / "imagenet.pth")
    model = create_model(name)
    initialise(model, "imagenet")
    ours = model.trunk.state_dict()
    assert len(ours) == len(classifier) - len(["weight", "bias"])
    assert all(torch.equal(tensor, classifier[key]) for key, tensor in ours.items())


def test_unfit_inputs_and_options_are_one_line():
    model = create_model("cpn-r50").eval()
    with pytest.raises(PoseError, match=r"CPN .* multiples of 32, not 256x200"):
        model(torch.zeros(1, 3, 256, 200))
    with pytest.raises(PoseError, match=r"unknown shortcut 'project' \(did you mean 'projection'"):
        create_model("cpn-r50", shortcut="project")
