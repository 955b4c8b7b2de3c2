"""What is particular to Stacked Hourglass."""

import pytest
import torch
from parity.sample import digest
from reference_fill import fill, filled, fixtures, images, relative_difference, state_dict
from torch import nn

from pose.models import create_model
from pose.support.errors import PoseError
from pose.weights import load_published

FIXTURES = {"hourglass-2": "hourglass_2", "hourglass-8": "hourglass_8"}

pytestmark = pytest.mark.usefixtures("seed")


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
    entry = fixtures("baselines")["hourglass_2"]
    model = filled("hourglass-2", gain=entry["gain"])
    model.training = True  # all stacks, with the statistics of evaluation below
    with torch.inference_mode():
        stacks = model(images(*entry["input_hw"]))
    for output, heatmaps in zip(entry["outputs"], stacks, strict=True):
        assert relative_difference(heatmaps, entry, reference, output) < 5e-5


@pytest.mark.parametrize("name", FIXTURES)
def test_has_all_parameters_but_the_skip_convolutions_that_never_run(name):
    entry = fixtures("baselines")[FIXTURES[name]]
    with torch.device("meta"):
        parameters = sum(p.numel() for p in create_model(name).parameters())
    assert parameters == entry["params"] - entry["unused_params"]


def skips_that_never_run(published):
    """Name -> shape of the skip convolutions of those residuals that keep their width."""
    shapes = {}
    for key, tensor in published.items():
        residual, _, convolution = key.rpartition(".conv1.")
        skip = f"{residual}.skip_layer.conv"
        if convolution == "conv.weight" and f"{skip}.weight" not in published:
            width = tensor.shape[1]
            shapes |= {f"{skip}.weight": [width, width, 1, 1], f"{skip}.bias": [width]}
    return shapes


def test_reads_published_files_with_and_without_the_skip_convolutions_that_never_run():
    model = create_model("hourglass-2")
    published = state_dict(model)
    unused = skips_that_never_run(published)
    assert digest(unused.items()) == fixtures("baselines")["hourglass_2"]["unused"]
    load_published(model, published)
    published |= {key: fill(key, shape) for key, shape in unused.items()}
    load_published(model, published)
    del published["pre.1.skip_layer.conv.weight"]
    with pytest.raises(PoseError, match=r"missing: pre\.1\.skip_layer\.conv\.weight$"):
        load_published(model, published)


@pytest.mark.parametrize("size", [(384, 288), (256, 224)])
def test_an_input_that_is_not_a_multiple_of_64_is_a_clear_error(size):
    model = create_model("hourglass-2").eval()
    with pytest.raises(PoseError, match=rf"Hourglass .* multiples of 64, not {size[0]}x{size[1]}"):
        model(torch.zeros(1, 3, *size))
