"""What is particular to Stacked Hourglass."""

import numpy as np
import pytest
import torch
from reference_fill import baselines_manifest, filled_baseline, images
from torch import nn

from pose.models import create_model
from pose.support.errors import PoseError
from pose.weights import load_published

FIXTURES = {"hourglass-2": "hourglass_2", "hourglass-8": "hourglass_8"}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_training_gives_the_heatmaps_of_every_stack_and_evaluation_the_last():
    model = create_model("hourglass-2")
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    x = images(64, 64)
    with torch.inference_mode():
        trained, evaluated = model.train()(x), model.eval()(x)
    assert [heatmaps.shape for heatmaps in trained] == [(2, 17, 16, 16)] * 2
    assert torch.equal(evaluated, trained[-1])


def test_every_stack_predicts_the_reference_s_heatmaps(reference):
    entry = baselines_manifest(reference)["hourglass_2"]
    model = create_model("hourglass-2").eval()
    load_published(model, filled_baseline(entry))
    model.training = True  # all stacks, with the statistics of evaluation below
    with torch.inference_mode():
        ours = model(images(*entry["input_hw"]))
    theirs = np.load(reference / entry["file"])
    for i, heatmaps in enumerate(ours):
        expected = theirs[f"output_{i}"]
        assert np.abs(heatmaps.numpy() - expected).max() < 5e-5 * expected.std()


@pytest.mark.parametrize("name", FIXTURES)
def test_has_all_parameters_but_the_skip_convolutions_that_never_run(name, reference):
    entry = baselines_manifest(reference)[FIXTURES[name]]
    with torch.device("meta"):
        parameters = sum(p.numel() for p in create_model(name).parameters())
    assert parameters == entry["params"] - entry["unused_params"]


def test_reads_published_files_with_and_without_the_skip_convolutions_that_never_run(reference):
    entry = baselines_manifest(reference)["hourglass_2"]
    published = filled_baseline(entry)
    model = create_model("hourglass-2")
    load_published(model, published)
    load_published(model, {k: t for k, t in published.items() if k not in entry["unused_keys"]})
    del published["pre.1.skip_layer.conv.weight"]
    with pytest.raises(PoseError, match=r"missing: pre\.1\.skip_layer\.conv\.weight$"):
        load_published(model, published)


@pytest.mark.parametrize("size", [(384, 288), (256, 224)])
def test_an_input_that_is_not_a_multiple_of_64_is_a_clear_error(size):
    model = create_model("hourglass-2").eval()
    with pytest.raises(PoseError, match=rf"Hourglass .* multiples of 64, not {size[0]}x{size[1]}"):
        model(torch.zeros(1, 3, *size))
