"""Published weights of the baselines are found under each project's names, and start trainings."""

import hashlib
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from reference_fill import fixtures, images, relative_difference, state_dict

from pose.models import create_model
from pose.support.errors import PoseError
from pose.weights import catalogue, convert, initialise, load_published, to_published
from pose.weights.file import load_weights

# One tensor of every part in MMPose's names, read in its source; the manifest of the fixtures has
# all of the mobile nets'.
MMPOSE = {
    "hrnet-w32": {
        "backbone.conv1.weight": (64, 3, 3, 3),
        "backbone.layer1.0.downsample.1.running_mean": (256,),
        "backbone.transition1.1.0.0.weight": (64, 256, 3, 3),
        "backbone.stage4.2.fuse_layers.0.3.0.weight": (32, 256, 1, 1),
        "head.final_layer.bias": (17,),
    },
    "simplebaseline-r50": {
        "backbone.conv1.weight": (64, 3, 7, 7),
        "backbone.layer4.2.bn3.running_var": (2048,),
        "head.deconv_layers.0.weight": (2048, 256, 4, 4),
        "head.deconv_layers.7.bias": (256,),
        "head.final_layer.weight": (17, 256, 1, 1),
    },
    "mobilenetv2": {
        "backbone.layer7.0.conv.2.bn.weight": (320,),
        "backbone.conv2.conv.weight": (1280, 320, 1, 1),
        "head.deconv_layers.0.weight": (1280, 256, 4, 4),
    },
    "shufflenetv2": {
        "backbone.layers.2.3.branch2.2.conv.weight": (232, 232, 1, 1),
        "head.deconv_layers.0.weight": (1024, 256, 4, 4),
    },
}


@pytest.mark.parametrize("name", MMPOSE)
def test_mmpose_calls_the_head_by_another_name_since_version_1(name):
    model = create_model(name)
    since, before = to_published(model, "mmpose-1"), to_published(model, "mmpose-0")
    assert {key: tuple(since[key].shape) for key in MMPOSE[name]} == MMPOSE[name]
    assert {key.partition(".")[0] for key in since} == {"backbone", "head"}
    assert list(before) == [f"keypoint_{k}" if k.startswith("head.") else k for k in since]


def test_errors_are_told_in_the_names_of_the_project_whose_file_it_is():
    model = create_model("simplebaseline-r50")
    state = to_published(model, "mmpose-0")
    del state["keypoint_head.final_layer.bias"]
    state["backbone.extra"] = torch.zeros(1)
    with pytest.raises(PoseError) as error:
        load_published(model, state)
    assert str(error.value) == (
        "the weights do not fit SimpleBaseline; missing: keypoint_head.final_layer.bias; "
        "unexpected: backbone.extra"
    )
    with pytest.raises(PoseError, match=r"unknown naming 'mmpose' \(did you mean 'mmpose-[01]'"):
        to_published(model, "mmpose")


def test_another_family_s_weights_placed_by_hand_are_one_line_that_names_the_file(place, tmp_path):
    name = "lpn-50@coco-256x192"
    place(name, to_published(create_model("hrnet-w16")))
    with pytest.raises(PoseError) as error:
        convert(name, tmp_path / "weights.safetensors")
    assert str(error.value).startswith(f"the weights in {tmp_path / name}.pth do not fit LPN; miss")
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 1500
    assert not (tmp_path / "weights.safetensors").exists()


def test_quantized_weights_are_not_taken_for_real_numbers():
    model = create_model("mobilenetv2")
    state = to_published(model)
    name = next(key for key in state if key.endswith("weight"))
    state[name] = state[name].to(torch.int8)
    with pytest.raises(PoseError, match=f"quantized: {name} torch.int8 for torch.float32$"):
        load_published(model, state)


def test_files_older_than_batch_normalisation_s_counters_load():
    source, target = create_model("hrnet-w16"), create_model("hrnet-w16")
    state = to_published(source)
    old = {key: t for key, t in state.items() if not key.endswith("num_batches_tracked")}
    assert len(old) < len(state)
    load_published(target, old)
    assert torch.equal(
        target.stage4[0].branches[3][1].conv2.weight, old["stage4.0.branches.3.1.conv2.weight"]
    )


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Put tensors into the cache as the published file of that name."""
    monkeypatch.setenv("POSE_CACHE", str(tmp_path))

    def place(name: str, state: dict) -> None:
        path = tmp_path / f"{name}.pth"
        torch.save(state, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entry = replace(catalogue()[name], checksum=f"sha256-prefix:{digest[:8]}")
        monkeypatch.setitem(catalogue(), name, entry)

    return place


def test_a_converted_mmpose_checkpoint_gives_the_reference_s_heatmaps(place, tmp_path, reference):
    entry = fixtures("baselines")["mobilenetv2"]
    published = state_dict(create_model("mobilenetv2"), entry["gain"])
    name = "mobilenetv2@coco-256x192-mmpose"
    place(name, {"meta": {"mmpose_version": "1.0.0"}, "state_dict": published})
    output = tmp_path / "weights.safetensors"
    convert(name, output)
    model = create_model("mobilenetv2").eval()
    load_weights(model, output)
    with torch.inference_mode():
        heatmaps = model(images(*entry["input_hw"]))
    assert relative_difference(heatmaps, entry, reference) < 5e-5


TORCHVISION = {
    "simplebaseline-r50": "resnet50",
    "mobilenetv2": "mobilenet_v2",
    "shufflenetv2": "shufflenet_v2_x1_0",
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_trunks_start_from_torchvision_s_imagenet_files_without_their_classifiers(name, place):
    file = TORCHVISION[name]
    state = getattr(torchvision.models, file)().state_dict()
    # resnet50-19c8e357 is older than the counters
    state = {k: t for k, t in state.items() if not k.endswith("num_batches_tracked")}
    place(file, state)
    model = create_model(name)
    initialise(model, "imagenet")
    ours = model.backbone.state_dict()
    loaded = sum(
        torch.equal(ours[key.removeprefix("features.")], t)
        for key, t in state.items()
        if not key.startswith(("fc.", "classifier."))
    )
    assert loaded == len(state) - 2
    assert model.head.final_layer.weight.std() < 0.002


def test_hrnet_starts_from_the_classification_net_s_trunk(place):
    classifier = timm.create_model("hrnet_w32").state_dict()  # in the names of HRNet's authors
    place("hrnet_w32", classifier)
    model = create_model("hrnet-w32")
    initialise(model, "imagenet")
    ours = model.state_dict()
    shared = {key for key in ours if key in classifier and not key.startswith("final_layer.")}
    assert len(shared) == len(ours) - len(["final_layer.weight", "final_layer.bias"])
    assert all(torch.equal(ours[key], classifier[key]) for key in shared)
    del classifier["stage3.2.branches.1.0.conv1.weight"]
    place("hrnet_w32", classifier)
    with pytest.raises(PoseError, match=r"missing: stage3\.2\.branches\.1\.0\.conv1\.weight$"):
        initialise(model, "imagenet")


@pytest.mark.parametrize("name", ["hrnet-w32", "simplebaseline-r50"])
def test_from_scratch_every_convolution_is_drawn_from_a_thousandth(name):
    torch.manual_seed(0)
    model = create_model(name)
    weights = [p.flatten() for p in model.parameters() if p.ndim == 4]
    assert torch.cat(weights).std().item() == pytest.approx(0.001, rel=0.01)
    rest = {v for p in model.parameters() if p.ndim == 1 for v in p.unique().tolist()}
    assert rest == {0.0, 1.0}


@pytest.mark.parametrize("name", ["hrnet-w16", "mobilenetv3"])
def test_without_published_imagenet_weights_asking_for_them_is_an_error(name):
    with pytest.raises(PoseError, match=f"{name}: no ImageNet weights .*; use init=scratch"):
        initialise(create_model(name), "imagenet")


@pytest.mark.parametrize("name", ["hrnet-w32", "simplebaseline-r50", "mobilenetv2", "mobilenetv3"])
def test_unfit_inputs_and_inits_are_one_line(name):
    model = create_model(name).eval()
    with pytest.raises(PoseError, match="multiples of 32, not 256x200"):
        model(torch.zeros(1, 3, 256, 200))
    with pytest.raises(PoseError, match=r"unknown init 'imagnet' \(did you mean 'imagenet'"):
        initialise(model, "imagnet")
