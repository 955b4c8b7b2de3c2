"""Published weights arrive whole or not at all, and load strictly under their own names."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from reference_fill import fixtures, images, model_of, relative_difference, state_dict
from web_server import Quiet, serving

from pose.config import experiment
from pose.models import create_model, list_models
from pose.models.eeffpose.backbone import EffNet
from pose.support.errors import PoseError
from pose.weights import (
    catalogue,
    checkpoints,
    convert,
    fetch,
    initialise,
    load_published,
    to_published,
)
from pose.weights.__main__ import main
from pose.weights.about import read_about
from pose.weights.file import load_weights

NAME = "eeffpose-p0-order1@coco"
CONTENT = np.random.RandomState(0).bytes(200_000)


@dataclass
class Host:
    """A web server on this machine that publishes files in place of the real one."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)
    resumes: bool = True
    breaks_after: int | None = None

    def publish(self, name: str, content: bytes) -> None:
        self.files[urlsplit(catalogue()[name].url).path] = content


@pytest.fixture
def host():
    host = Host()

    class Handler(Quiet):
        def do_GET(self):
            host.ranges.append(self.headers["Range"])
            if self.path not in host.files:
                self.send_error(404)
                return
            content = host.files[self.path]
            start = 0
            if host.resumes and self.headers["Range"]:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : host.breaks_after])

    with serving(Handler) as host.url:
        yield host


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("POSE_WEIGHTS_MIRROR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def publish(host, cache, monkeypatch):
    """Publish content under a known name, with its checksum in the catalogue."""
    monkeypatch.setenv("POSE_WEIGHTS_MIRROR", host.url)

    def publish(name: str, content: bytes) -> None:
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = replace(catalogue()[name], checksum=f"git-blob-sha1:{blob}")
        monkeypatch.setitem(catalogue(), name, entry)
        host.publish(name, content)

    return publish


def checkpoint(path, state) -> bytes:
    torch.save(state, path)
    return path.read_bytes()


def test_catalogue_holds_the_authors_eleven_checkpoints_and_every_initial_trunk():
    assert {file.name for file in checkpoints()} == {
        f"{f.model}@{f.dataset}" for f in checkpoints()
    }
    assert len(checkpoints()) == 11
    trunks = {file.name for file in catalogue().values() if not file.input}
    assert trunks == {
        *("tf_efficientdet_d0_ap", "tf_efficientdet_d2_ap"),
        *(f"tf_efficientnet_b{size}" for size in (0, 1, 2, 3, 4, 5, 7)),
        *("resnet50", "resnet152", "hrnet_w32", "hrnet_w48", "mobilenet_v2", "shufflenet_v2_x1_0"),
    }


def test_every_baselines_checkpoint_names_its_place_its_expected_score_and_how_it_is_evaluated():
    baselines = [file for file in catalogue().values() if file.input and file not in checkpoints()]
    assert {file.model for file in baselines} <= set(list_models())
    for file in baselines:
        name = f"{file.model}@{file.dataset}-{file.input}"
        assert file.name in (name, f"{name}-mmpose")
        assert file.boxes == ("det" if file.dataset == "coco" else "gt")
        # HRNet's table has no row for the net whose file it names
        assert file.expected or file.name == "hrnet-w48@mpii-256x256"
        assert file.experiment().model == file.model
    by_name = catalogue()
    assert by_name["hrnet-w32@coco-256x192"].expected == "74.4"
    simple, mmposes = (by_name[f"simplebaseline-r50@coco-256x192{v}"] for v in ("", "-mmpose"))
    channels = [file.experiment().image.channels for file in (simple, mmposes)]
    assert channels == ["bgr", "rgb"]  # each was trained on what its project's reader gives


def test_a_file_that_only_a_browser_can_fetch_is_asked_for_and_then_used(cache):
    name = "hrnet-w32@coco-256x192"
    where = f"{cache / name}.pth"
    with pytest.raises(PoseError) as error:
        fetch(name)
    for part in ("by hand", catalogue()[name].url, "pose_hrnet_w32_256x192.pth", where):
        assert part in str(error.value)
    cache.mkdir()
    (cache / f"{name}.pth").write_bytes(CONTENT)
    assert str(fetch(name)) == where
    (cache / f"{name}.pth").write_text("<!doctype html><title>Google Drive")
    with pytest.raises(PoseError, match=r"not the published .*: a web page came .* delete it"):
        fetch(name)


def test_git_blob_and_sha256_prefix_name_a_file_s_content(tmp_path):
    file = tmp_path / "hello"
    file.write_bytes(b"hello\n")  # the digests are git's and sha256sum's
    entry = catalogue()[NAME]
    blob = replace(entry, checksum="git-blob-sha1:ce013625030ba8dba906f756967f9e9ca394464a")
    prefix = replace(entry, checksum="sha256-prefix:5891b5b5")
    assert blob.mismatch(file) == prefix.mismatch(file) == ""
    assert replace(blob, size="6").mismatch(file) == ""
    assert replace(blob, size="7").mismatch(file) == "expected 7 bytes, got 6"
    file.write_bytes(b"hello")
    assert "expected sha256-prefix 5891b5b5, got 2cf24dba" in prefix.mismatch(file)


def test_a_fetched_file_is_used_offline_ever_after(publish, host, cache):
    publish(NAME, CONTENT)
    path = fetch(NAME)
    assert path.read_bytes() == CONTENT
    assert fetch(NAME, base_url="http://127.0.0.1:9") == path
    assert len(host.ranges) == 1
    assert not list(cache.glob("*.part"))


def test_an_interrupted_download_goes_on_where_it_stopped(publish, host, cache):
    publish(NAME, CONTENT)
    host.breaks_after = 150_000
    with pytest.raises(PoseError, match=r"broke off \(a retry resumes it\)"):
        fetch(NAME)
    assert not (cache / f"{NAME}.pth").exists()
    kept = (cache / f"{NAME}.pth.part").stat().st_size
    host.breaks_after = None
    assert fetch(NAME).read_bytes() == CONTENT
    assert 0 < kept <= 150_000
    assert host.ranges == [None, f"bytes={kept}-"]


@pytest.mark.parametrize(("present", "resumes"), [(500, False), (len(CONTENT), True)])
def test_a_partial_file_is_of_use_or_replaced(publish, host, cache, present, resumes):
    publish(NAME, CONTENT)
    host.resumes = resumes
    cache.mkdir()
    (cache / f"{NAME}.pth.part").write_bytes(CONTENT[:present])
    assert fetch(NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("served", [CONTENT[:-1], b"X" + CONTENT[1:]])
def test_a_wrong_file_never_stays(publish, host, cache, served):
    publish(NAME, CONTENT)
    host.publish(NAME, served)
    with pytest.raises(PoseError, match=r"expected git-blob-sha1 \w{40}, got \w{40}; retry, or "):
        fetch(NAME)
    assert not (cache / f"{NAME}.pth").exists()
    assert not (cache / f"{NAME}.pth.part").exists()
    host.publish(NAME, CONTENT)
    assert fetch(NAME).read_bytes() == CONTENT


def test_a_wrong_file_placed_by_hand_is_named_and_left(cache):
    cache.mkdir()
    placed = cache / f"{NAME}.pth"
    placed.write_bytes(CONTENT)
    with pytest.raises(PoseError, match=f"{placed} is not the published .* delete it"):
        fetch(NAME)
    assert placed.exists()


def test_what_cannot_be_fetched_says_where_to_place_it(host, cache):
    with pytest.raises(PoseError, match=f"HTTP 404 Not Found; .* at {cache}/{NAME}.pth"):
        fetch(NAME, base_url=host.url)
    with pytest.raises(PoseError, match=f"no connection to 127.0.0.1:9; .* at {cache}/{NAME}.pth"):
        fetch(NAME, base_url="http://127.0.0.1:9")
    with pytest.raises(PoseError, match="did you mean 'eeffpose-p0-order1@coco'"):
        fetch("eeffpose-p0-order1@cocco")
    with pytest.raises(PoseError, match="; of hrnet-w32 there are hrnet-w32@coco-256x192, "):
        fetch("hrnet-w32")  # and not timm's hrnet_w32, which is a trunk


@pytest.mark.parametrize(
    "fixture", ["P0_order1", "P0_order2", "P0_order3", "P0_order8", "P2_mpii_order8"]
)
def test_published_names_survive_the_round_trip(fixture):
    model = create_model(*model_of(fixtures("eeffpose")[fixture]))
    published = state_dict(model)
    load_published(model, published)
    returned = to_published(model)
    assert returned.keys() == published.keys()
    assert all(torch.equal(returned[key], tensor) for key, tensor in published.items())


def test_a_state_dict_that_does_not_fit_is_one_error_that_lists_all():
    model = create_model("eeffpose-p0-order8")
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    published = state_dict(model)
    missing, misshapen = "hr_backbone.0.weight", "final_layer.layers.0.0.weight"
    del published[missing]
    published[misshapen] = torch.zeros(16, 64, 1, 1)
    published["extra"] = torch.zeros(1)
    with pytest.raises(PoseError) as error:
        load_published(model, published)
    for difference in (
        f"missing: {missing}",
        "unexpected: extra",
        f"misshapen: {misshapen} (16, 64, 1, 1) for (17, 64, 1, 1)",
    ):
        assert difference in str(error.value)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    with pytest.raises(PoseError, match="Linear's weights are not known"):
        load_published(torch.nn.Linear(1, 1), {})


def backbone_file(trunk: dict, prefix: str, beyond: list[str]) -> dict:
    return {prefix + key: t for key, t in trunk.items()} | {key: torch.ones(1) for key in beyond}


IMAGENET_HEAD = ["conv_head.weight", "bn2.weight", "classifier.bias"]
DETECTOR = ["fpn.cell.0.x", "class_net.predict.x", "box_net.predict.x"]


def test_extended_convolutions_start_from_imagenet_and_the_trunk_from_detection(publish, tmp_path):
    imagenet, detection = (EffNet("tf_efficientnet_b0").state_dict() for _ in range(2))
    file = tmp_path / "file.pth"
    publish("tf_efficientnet_b0", checkpoint(file, backbone_file(imagenet, "", IMAGENET_HEAD)))
    state = backbone_file(detection, "backbone.", DETECTOR)
    publish("tf_efficientdet_d0_ap", checkpoint(file, state))
    last = "blocks.2.1.conv_pw.weight"  # of the block that closes S2
    for init, trunk in (("imagenet", imagenet), ("effdet_coco", detection)):
        model = create_model("eeffpose-p0-order8")
        initialise(model, init)
        backbone = model.backbone
        ours = backbone.state_dict()
        assert all(torch.equal(ours[key], tensor) for key, tensor in trunk.items())
        assert torch.equal(backbone.extended["6"][0][0].conv_pw.weight, imagenet[last])
    assert not torch.equal(imagenet[last], detection[last])


def test_what_a_training_starts_from_is_fetched_and_checked_before(publish, tmp_path, capsys):
    settings = experiment("eeffpose-p0-order1", "coco", (256, 192))
    file = tmp_path / "experiment.json"
    file.write_text(settings.model_dump_json())
    for name in ("tf_efficientnet_b0", "tf_efficientdet_d0_ap"):
        publish(name, checkpoint(tmp_path / "file.pth", {"x": torch.zeros(1)}))
    main(["initial", "--experiment", str(file)])
    paths = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert paths == ["tf_efficientnet_b0.pth", "tf_efficientdet_d0_ap.pth"]


def test_backbone_weights_fill_the_trunk_wholly(publish, tmp_path):
    model = create_model("eeffpose-p0-order1")
    trunk = {k: t for k, t in model.backbone.state_dict().items() if k != "bn1.weight"}
    state = backbone_file(trunk, "", [*IMAGENET_HEAD, "stranger"])
    publish("tf_efficientnet_b0", checkpoint(tmp_path / "file.pth", state))
    with pytest.raises(PoseError, match=r"missing: bn1\.weight; unexpected: stranger"):
        initialise(model, "imagenet")


def test_a_converted_checkpoint_gives_the_released_heatmaps(publish, tmp_path, reference):
    entry = fixtures("eeffpose")["P0_order8"]
    name = "eeffpose-p0-order8@coco"
    published = state_dict(create_model("eeffpose-p0-order8"))
    publish(name, checkpoint(tmp_path / "file.pth", published))
    output = tmp_path / "weights.safetensors"
    convert(name, output)
    experiment = read_about(output)["experiment"]
    assert (experiment.model, experiment.dataset) == ("eeffpose-p0-order8", "coco")
    model = create_model("eeffpose-p0-order8").eval()
    load_weights(model, output)
    with torch.inference_mode():
        heatmaps = model(images(*entry["input_hw"]))
    assert relative_difference(heatmaps, entry, reference) < 1e-4
    with pytest.raises(PoseError, match="holds a backbone only"):
        convert("tf_efficientnet_b0", output)


def test_command_line_prints_the_path_or_one_line_of_error(publish, cache, monkeypatch, capsys):
    publish(NAME, CONTENT)
    monkeypatch.setattr("sys.argv", ["pose.weights", "fetch", NAME])
    main()
    assert capsys.readouterr().out == f"{cache / NAME}.pth\n"
    monkeypatch.setattr("sys.argv", ["pose.weights", "list"])
    main()
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] == "cached" for line in listed] == [n == NAME for n in catalogue()]
    monkeypatch.setattr("sys.argv", ["pose.weights", "fetch", "eeffpose-p2@mpii"])
    with pytest.raises(SystemExit, match=r"^error: cannot fetch .*HTTP 404.*$"):
        main()
