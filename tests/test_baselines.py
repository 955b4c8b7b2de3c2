"""Every baseline is the net that was published: its size, its cost, its weights, its heat maps."""

import numpy as np
import pytest
import torch
from reference_fill import filled, fixtures, has_names_and_shapes, images, relative_difference

from pose.complexity import measure
from pose.models import create_model
from pose.weights import load_published, to_published

# model, keypoints, input, parameters, fvcore GMACs in eval mode, stride of the heat maps: counted
# on the reference implementations, at every input size of the paper's tables.
ROWS = [
    ("hrnet-w32", 17, (256, 192), 28_536_113, 7.6853, 4),
    ("hrnet-w32", 17, (384, 288), 28_536_113, 17.2920, 4),
    ("hrnet-w32", 16, (256, 256), 28_536_080, 10.2470, 4),
    ("hrnet-w48", 17, (256, 192), 63_595_745, 15.7458, 4),
    ("hrnet-w48", 17, (384, 288), 63_595_745, 35.4282, 4),
    ("hrnet-w48", 16, (256, 256), 63_595_696, 20.9943, 4),
    ("hrnet-w48", 16, (384, 384), 63_595_696, 47.2371, 4),
    ("hrnet-w16", 17, (256, 192), 1_284_961, 0.5774, 4),
    ("hrnet-w16", 17, (384, 288), 1_284_961, 1.2992, 4),
    ("hrnet-w16", 16, (256, 256), 1_284_944, 0.7698, 4),
    ("simplebaseline-r50", 17, (256, 192), 33_999_697, 5.4502, 4),
    ("simplebaseline-r50", 16, (256, 256), 33_999_440, 7.2659, 4),
    ("simplebaseline-r152", 17, (256, 192), 68_635_473, 12.7456, 4),
    ("simplebaseline-r152", 17, (384, 288), 68_635_473, 28.6775, 4),
    ("mobilenetv2", 17, (256, 192), 9_569_809, 1.5802, 4),
    ("mobilenetv2", 17, (384, 288), 9_569_809, 3.5554, 4),
    ("mobilenetv2", 16, (256, 256), 9_569_552, 2.1059, 4),
    ("mobilenetv3", 17, (256, 192), 8_669_743, 1.4621, 4),
    ("mobilenetv3", 17, (384, 288), 8_669_743, 3.2882, 4),
    ("mobilenetv3", 16, (256, 256), 8_669_486, 1.9480, 4),
    ("shufflenetv2", 17, (256, 192), 7_550_965, 1.3682, 4),
    ("shufflenetv2", 17, (384, 288), 7_550_965, 3.0784, 4),
    ("shufflenetv2", 16, (256, 256), 7_550_708, 1.8232, 4),
    ("litehrnet-18", 17, (256, 192), 1_130_769, 0.2663, 4),
    ("litehrnet-18", 17, (384, 288), 1_130_769, 0.5991, 4),
    ("litehrnet-18", 16, (256, 256), 1_130_728, 0.3549, 4),
    ("litehrnet-30", 17, (256, 192), 1_763_717, 0.4247, 4),
    ("litehrnet-30", 17, (384, 288), 1_763_717, 0.9553, 4),
    ("litehrnet-30", 16, (256, 256), 1_763_676, 0.5660, 4),
    ("lpn-50", 17, (256, 192), 2_911_153, 1.0860, 4),
    ("lpn-50", 16, (256, 256), 2_910_896, 1.4469, 4),
    ("lpn-101", 17, (256, 192), 5_353_458, 1.5282, 4),
    ("lpn-152", 17, (256, 192), 7_377_459, 1.9737, 4),
    ("lpn-152", 16, (256, 256), 7_377_202, 2.6304, 4),
    # without the 7,385,216 and 1,858,688 parameters of skip convolutions that never run
    ("hourglass-8", 17, (256, 192), 25_437_960, 20.6985, 4),
    ("hourglass-8", 17, (256, 256), 25_437_960, 27.5980, 4),
    ("hourglass-8", 16, (256, 256), 25_434_112, 27.5823, 4),
    ("hourglass-2", 16, (256, 256), 6_570_400, 8.3804, 4),
    ("cpn-r50", 17, (256, 192), 27_010_538, 7.2827, 4),
    ("cpn-r50-projection", 17, (256, 192), 27_406_826, 7.3683, 4),
    ("cpn-r50-projection", 17, (384, 288), 27_406_826, 16.5788, 4),
    # without their fixed transposed convolutions' parameters, with their multiply-adds
    ("efficientpose-1", 16, (256, 256), 689_880, 0.8514, 1),
    ("efficientpose-2", 16, (368, 368), 1_684_464, 3.9035, 1),
    ("efficientpose-3", 16, (480, 480), 3_157_612, 11.8046, 1),
    ("efficientpose-4", 16, (600, 600), 6_448_266, 36.7800, 1),
]

# Fixture -> our model. Those whose outputs are not at hand have the mean, standard deviation and
# largest magnitude of the whole output, as their README gives them.
FIXTURES = {
    "hrnet_w32": "hrnet-w32",
    "hrnet_w48": "hrnet-w48",
    "hrnet_w16_small": "hrnet-w16",
    "simplebaseline_res50": "simplebaseline-r50",
    "simplebaseline_res152": "simplebaseline-r152",
    "mobilenetv2": "mobilenetv2",
    "mobilenetv3_fitted": "mobilenetv3",
    "shufflenetv2": "shufflenetv2",
    "litehrnet_18": "litehrnet-18",
    "litehrnet_30": "litehrnet-30",
    "lpn_50": "lpn-50",
    "lpn_152": "lpn-152",
    "hourglass_2": "hourglass-2",
    "hourglass_8": "hourglass-8",
    "cpn_res50": "cpn-r50",
    "efficientpose_i": "efficientpose-1",
    "efficientpose_ii": "efficientpose-2",
}
STATISTICS = {
    "hrnet_w48": (8.203, 126.3, 316.0),
    "hrnet_w16_small": (-5.759, 20.1, 58.38),
    "simplebaseline_res152": (-0.2648, 1.689, 7.661),
    "mobilenetv3_fitted": (-0.04705, 0.1534, 0.406),
    "shufflenetv2": (-0.04965, 0.2722, 1.134),
    "litehrnet_30": (8.017, 30.3, 255.7),
    "lpn_152": (-0.0105, 0.3099, 1.215),
    "hourglass_8": (-0.3076, 2.847, 7.112),
    "efficientpose_i": (0.02942, 0.2452, 0.6379),  # whole maps are too large to store
    "efficientpose_ii": (0.04538, 0.3649, 1.002),
}
WITHOUT_EFFECT = "att.conv_mask.bias"  # LPN's softmax cancels it
TOLERANCE = 5e-5  # of the output's standard deviation; a correct net keeps within 1.5e-5


# Like a smaller one but for width and depth: but for the names of their tensors, slow tests.
LARGE = {
    "efficientpose-3",
    "efficientpose-4",
    "hourglass-8",
    "hrnet-w48",
    "litehrnet-30",
    "lpn-152",
    "simplebaseline-r152",
}


def case(value: object, name: str, label: str = "", slow: bool = False) -> object:
    """A test's parameter that concerns the model of that name."""
    marks = [pytest.mark.slow] if slow or name in LARGE else []
    return pytest.param(value, id=label or name, marks=marks)


def cases(first_size_only: bool) -> list[object]:
    """The rows; other sizes than a model's first, or seconds of arithmetic, make a slow test."""
    seen = set()
    parameters = []
    for row in ROWS:
        name, keypoints, (height, width), _, gmacs, _ = row
        slow = gmacs > 10 or (first_size_only and name in seen)
        parameters.append(case(row, name, f"{name}-{keypoints}-{height}x{width}", slow))
        seen.add(name)
    return parameters


MODELS = [case(name, name) for name in dict.fromkeys(row[0] for row in ROWS)]


@pytest.mark.parametrize("row", cases(first_size_only=True))
def test_costs_as_much_as_the_reference_implementation(row):
    name, keypoints, size, params, gmacs, _ = row
    cost = measure(create_model(name, keypoints), size)
    assert cost.params == params
    assert cost.gmacs_fvcore == pytest.approx(gmacs, rel=1e-3)


@pytest.mark.parametrize("row", cases(first_size_only=False))
def test_has_the_published_parameters_and_gives_finite_heatmaps_at_each_input_size(row):
    name, keypoints, (height, width), params, _, stride = row
    model = create_model(name, keypoints).eval()
    assert sum(p.numel() for p in model.parameters()) == params
    with torch.inference_mode():
        heatmaps = model(torch.randn(1, 3, height, width))
    assert heatmaps.shape == (1, keypoints, height // stride, width // stride)
    assert heatmaps.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_one_training_step_moves_every_parameter(name):
    torch.manual_seed(0)
    model = create_model(name).train()
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    # large enough that no batch normalisation of Hourglass has but one pixel an image
    outputs = model(torch.randn(2, 3, 128, 128))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    sum((output - torch.rand_like(output)).square().mean() for output in outputs).backward()
    optimizer.step()
    still = [key for key, p in model.named_parameters() if torch.equal(p, before[key])]
    assert [key for key in still if not key.endswith(WITHOUT_EFFECT)] == []


@pytest.mark.parametrize("fixture", [case(f, name, f) for f, name in FIXTURES.items()])
def test_published_weights_give_the_reference_s_heatmaps(fixture, reference):
    entry = fixtures("baselines")[fixture]
    model = filled(FIXTURES[fixture], entry["num_keypoints"], entry["gain"])
    with torch.inference_mode():
        heatmaps = model(images(*entry["input_hw"]))
    if fixture in STATISTICS:
        ours = heatmaps.numpy()
        mean, std, largest = STATISTICS[fixture]
        assert ours.mean(dtype=np.float64) == pytest.approx(mean, rel=1e-3)
        assert ours.std(dtype=np.float64) == pytest.approx(std, rel=1e-3)
        assert np.abs(ours).max() == pytest.approx(largest, rel=1e-3)
    else:
        prediction = list(entry["outputs"])[-1]  # of several outputs the last
        assert relative_difference(heatmaps, entry, reference, prediction) < TOLERANCE


@pytest.mark.parametrize("fixture", FIXTURES)
def test_tensors_have_the_published_names_and_shapes(fixture):
    entry = fixtures("baselines")[fixture]
    with torch.device("meta"):
        model = create_model(FIXTURES[fixture], entry["num_keypoints"])
    assert has_names_and_shapes(to_published(model), entry)


@pytest.mark.parametrize("name", MODELS)
def test_every_project_s_names_survive_the_round_trip(name):
    source, target = create_model(name), create_model(name)
    for tensor in source.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_()
    expected = source.state_dict()
    for naming in source.namings:
        load_published(target, to_published(source, naming.name))
        assert all(torch.equal(tensor, expected[k]) for k, tensor in target.state_dict().items())
