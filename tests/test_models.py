"""EEffPose is the authors' net: same weights in, same heat maps out; and it trains and exports."""

import pytest
import torch
import torch.nn.functional as F
from reference_fill import (
    filled,
    fixtures,
    has_names_and_shapes,
    images,
    model_of,
    relative_difference,
)
from timm.layers import DropPath
from torch import nn

from pose.config.model_sheet import read_sheet, switches
from pose.models import create_model, list_models
from pose.models.eeffpose.fusion import AddUp
from pose.models.eeffpose.head import FSHead
from pose.models.eeffpose.neck import BiFPN
from pose.models.eeffpose.net import MODELS
from pose.support.errors import PoseError
from pose.weights import initialise, to_published

# Counted on the released code, every parameter. FSHead and FAHead have the same ones, so that
# orders share counts in pairs.
P0_PARAMS = {(1, 4): 3_797_279, (2, 7): 8_423_785, (3, 5): 4_380_786, (6, 8): 9_007_292}
PARAMS = {
    **{f"eeffpose-p0-order{o}": n for orders, n in P0_PARAMS.items() for o in orders},
    "eeffpose-p0": 9_007_292,
    "eeffpose-p2-order3": 10_577_644,
    "eeffpose-p2-order5": 10_577_644,
    "eeffpose-p2-order6": 16_759_630,
    "eeffpose-p2-order8": 16_759_630,
    "eeffpose-p2": 16_759_630,
}
MPII_PARAMS = {"eeffpose-p0": 9_007_094, "eeffpose-p2": 16_759_288}
FIXTURES = fixtures("eeffpose")

pytestmark = pytest.mark.usefixtures("seed")


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def without_drop_path(model: nn.Module) -> nn.Module:
    """Dropped branches would get no gradient by chance."""
    for module in model.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    return model


def adam_step(model: nn.Module, size: tuple[int, int]) -> None:
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    heatmaps = model(torch.randn(2, 3, *size))
    F.mse_loss(heatmaps, torch.rand_like(heatmaps)).backward()
    optimizer.step()


@pytest.mark.parametrize("name", [name for name in list_models() if name in PARAMS])
def test_has_as_many_parameters_as_the_released_model(name):
    assert parameters(create_model(name)) == PARAMS[name]
    if name in MPII_PARAMS:
        assert parameters(create_model(name, num_keypoints=16)) == MPII_PARAMS[name]


@pytest.mark.parametrize("order", range(1, 9))
def test_gives_the_heatmaps_of_the_released_model(order, reference):
    entry = FIXTURES[f"P0_order{order}"]
    with torch.inference_mode():
        heatmaps = filled(*model_of(entry))(images(*entry["input_hw"]))
    assert relative_difference(heatmaps, entry, reference) < 1e-4


@pytest.mark.parametrize("fixture", FIXTURES)
def test_tensors_have_the_released_names_and_shapes(fixture):
    entry = FIXTURES[fixture]
    with torch.device("meta"):
        model = create_model(*model_of(entry))
    assert has_names_and_shapes(to_published(model), entry)
    assert parameters(model) == entry["params"]


@pytest.mark.parametrize("name", ["eeffpose-p0-order1", "eeffpose-p0-order8"])
@pytest.mark.parametrize("size", [(384, 288), (68, 52), (4, 4), (100, 164)])
def test_takes_any_sides_that_are_multiples_of_4(name, size):
    with torch.inference_mode():
        heatmaps = create_model(name).eval()(torch.zeros(1, 3, *size))
    assert heatmaps.shape == (1, 17, size[0] // 4, size[1] // 4)


@pytest.mark.parametrize("name", [name for name in list_models() if "order" in name])
def test_one_training_step_changes_every_parameter(name):
    model = without_drop_path(create_model(name))
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    adam_step(model, (96, 64))
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), f"{key}: no gradient"
        assert not torch.equal(parameter, before[key]), f"{key}: unchanged"


def extended_and_donors(backbone):
    """Pairs of every extended convolution and the block that it continues."""
    donors = [backbone.blocks[2][-1], backbone.blocks[4][-1]]
    for branches in backbone.extended.values():
        for donor, copies in zip(donors, branches, strict=False):
            yield from ((copied, donor) for copied in copies)


def test_extended_convolutions_are_copies_that_go_their_own_way():
    model = without_drop_path(create_model("eeffpose-p0-order8"))
    pairs = list(extended_and_donors(model.backbone))
    assert len(pairs) == 3 + 3 + 4 + 4 + 1 + 1
    pointers = [p.data_ptr() for p in model.parameters()]
    assert len(pointers) == len(set(pointers))
    for copied, donor in pairs:
        for ours, theirs in zip(copied.parameters(), donor.parameters(), strict=True):
            assert torch.equal(ours, theirs)
    adam_step(model, (96, 64))
    for copied, donor in pairs:
        assert not torch.equal(copied.conv_pw.weight, donor.conv_pw.weight)


def rate(module: nn.Module) -> float:
    return module.drop_path.drop_prob if isinstance(module.drop_path, DropPath) else 0.0


def test_stochastic_depth_grows_linearly_and_copies_follow_the_trunk_beside_them():
    model = create_model("eeffpose-p0-order8")
    trunk = [[rate(block) for block in stage] for stage in model.backbone.blocks]
    assert [r for stage in trunk for r in stage] == pytest.approx([0.2 * i / 16 for i in range(16)])
    for stage, branches in model.backbone.extended.items():
        for copies in branches:
            assert [rate(block) for block in copies] == trunk[int(stage)]
    for stage, fusion in model.backbone.fusions.items():
        assert rate(fusion) == trunk[int(stage)][-1]
    assert [rate(fusion) for fusion in model.neck] == [0.2, 0.2, 0.2]


def test_mish_replaces_the_activation_of_addup_alone():
    silu = create_model("eeffpose-p0-order8")
    mish = create_model("eeffpose-p0-order8", activation="mish")
    addups = [name for name, module in mish.named_modules() if isinstance(module, AddUp)]
    changed = [name for name, module in mish.named_modules() if isinstance(module, nn.Mish)]
    assert changed == [f"{name}.activation" for name in addups]
    assert list(silu.state_dict()) == list(mish.state_dict())


@pytest.mark.parametrize(("order", "levels"), [(1, 5), (3, 3), (4, 5), (8, 3)])
def test_heatmaps_are_the_sum_or_product_of_the_maps_of_all_scales(order, levels):
    model = create_model(f"eeffpose-p0-order{order}").eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        heatmaps, maps = model(x), model.scale_maps(x)
    assert [m.shape[-1] for m in maps] == [16, 8, 4, 2, 1][:levels]
    upsampled = torch.stack([F.interpolate(m, (16, 16), mode="nearest") for m in maps])
    fused = upsampled.prod(0) if order in (4, 8) else upsampled.sum(0)
    torch.testing.assert_close(heatmaps, fused)


@pytest.mark.parametrize("order", [1, 4])
def test_a_head_can_start_with_quieter_maps(order):
    head = create_model(f"eeffpose-p0-order{order}").head
    features = [torch.randn(8, 64, 2**side, 2**side) for side in (5, 4, 3, 2, 1)]
    loud = [project(x) for project, x in zip(head.project, features, strict=True)]
    head.start_at(0.1)
    for before, project, x in zip(loud, head.project, features, strict=True):
        assert before.std().item() == pytest.approx(1, abs=0.05)
        torch.testing.assert_close(project(x), 0.1 * before)


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).abs().max() / theirs.std()).item()


@pytest.mark.parametrize("name", ["eeffpose-p0-order1", "eeffpose-p0-order8"])
def test_memory_format_and_precision_do_not_change_the_heatmaps(name):
    model, x = filled(name), images(64, 64)
    with torch.inference_mode():
        expected = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(x)
        model = model.to(memory_format=torch.channels_last)
        last = model(x.to(memory_format=torch.channels_last))
    assert apart(last, expected) < 1e-4
    correlation = torch.corrcoef(torch.stack([half.float().flatten(), expected.flatten()]))[0, 1]
    assert correlation > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eeffpose-p0-order1", "eeffpose-p0-order8"])
def test_compiled_model_gives_the_same_heatmaps(name):
    model, x = filled(name), images(64, 64)
    with torch.inference_mode():
        assert apart(torch.compile(model, dynamic=False)(x), model(x)) < 1e-4


@pytest.mark.parametrize(
    "name", [pytest.param("eeffpose-p0-order1", marks=pytest.mark.slow), "eeffpose-p0-order8"]
)
def test_exported_model_gives_the_same_heatmaps_in_onnxruntime(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, x = filled(name), images(64, 64)
    path = tmp_path / "model.onnx"
    torch.onnx.export(model, (x,), path, dynamo=True, verbose=False, optimize=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (ours,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.inference_mode():
        assert apart(torch.from_numpy(ours), model(x)) < 1e-4


def test_a_net_is_built_from_its_switches_which_are_those_of_the_sheet():
    sheet = read_sheet()
    for name, (_, *values) in MODELS.items():
        assert switches(sheet[name]) == dict(zip(("backbone", "neck", "head"), values, strict=True))
    with torch.device("meta"):
        switched = create_model("eeffpose-p0", neck="plain", head="plain")
        order2 = create_model("eeffpose-p0-order2")
    assert switched.state_dict().keys() == order2.state_dict().keys()
    assert isinstance(switched.neck, BiFPN) and type(switched.head) is FSHead
    with pytest.raises(PoseError, match=r"unknown neck 'plan' \(did you mean 'plain'"):
        create_model("eeffpose-p0", neck="plan")


def test_unknown_names_and_options_are_errors_that_say_what_was_meant():
    with pytest.raises(PoseError, match="did you mean 'eeffpose-p0-order8'"):
        create_model("eefpose-p0-order8")
    with pytest.raises(PoseError, match=r"unknown option 'activaton' \(did you mean 'activation'"):
        create_model("eeffpose-p0", activaton="mish")
    with pytest.raises(PoseError, match="unknown activation 'relu'"):
        create_model("eeffpose-p0", activation="relu")
    with pytest.raises(PoseError, match=r"unknown init 'imagnet' \(did you mean 'imagenet'"):
        initialise(create_model("eeffpose-p0"), "imagnet")


@pytest.mark.parametrize(
    ("name", "options"),
    [("eeffpose-p0", {"activation": 5}), ("efficientpose-1", {"training_heads": "no"})],
)
def test_an_option_of_another_type_is_named(name, options):
    with pytest.raises(PoseError, match=rf"model {name}: {next(iter(options))} is such as"):
        create_model(name, **options)
