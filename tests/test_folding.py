"""In testing, a batch normalisation is a part of the convolution before it."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from pose.models import create_model
from pose.models.folding import fold_batch_norm


def trained(name: str) -> nn.Module:
    """A net whose batch normalisations change what they get."""
    torch.manual_seed(0)
    model = create_model(name).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return model


def norms(model: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())


def last(maps: torch.Tensor | list) -> torch.Tensor:
    return maps[-1] if isinstance(maps, list) else maps


OTHERS = [
    "simplebaseline-r50",
    "hrnet-w16",
    "mobilenetv3",
    "shufflenetv2",
    "litehrnet-18",
    "lpn-50",
    "hourglass-2",
    "cpn-r50",
    "efficientpose-1",
    "danet-72",
]


@pytest.mark.parametrize(
    "name",
    ["eeffpose-p0-order1", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)],
)
def test_heat_maps_stay_when_batch_normalisation_is_folded(name):
    model, x = trained(name), torch.randn(2, 3, 128, 128)
    folding = fold_batch_norm(deepcopy(model), x)
    with torch.inference_mode():
        plain, folded = last(model(x)), last(folding(x))
    assert (folded - plain).abs().max() < 1e-4 * plain.abs().max()


def test_no_batch_normalisation_of_eeffpose_is_left():
    assert norms(fold_batch_norm(trained("eeffpose-p0-order1"), torch.zeros(1, 3, 64, 64))) == 0


def test_a_convolution_whose_output_goes_elsewhere_keeps_its_batch_normalisation():
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(x) + x

    model = nn.Sequential(nn.Conv2d(3, 3, 1), Inner(), nn.Conv2d(3, 3, 1), nn.ReLU(True)).eval()
    assert norms(fold_batch_norm(model, torch.zeros(1, 3, 8, 8))) == 1


def test_a_batch_normalisation_after_an_activation_in_place_stays():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(3)).eval()
    assert norms(fold_batch_norm(model, torch.zeros(1, 3, 8, 8))) == 1
