"""People on one's own photos: boxes, drawings, JSON, and what is said to wrong input."""

import hashlib
import json
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pose import predict
from pose.config import experiment
from pose.data.drawing import draw_skeleton
from pose.datasets.coco import COCO
from pose.datasets.mpii import MPII
from pose.models import create_model
from pose.predict import load_checkpoint, main, predict_photos, read_boxes, read_photo
from pose.support.errors import PoseError
from pose.weights import catalogue, to_published
from pose.weights.about import read_about
from pose.weights.file import write

SIZE = (64, 64)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two photos, of 120 x 80 and 64 x 64 pixels, and a checkpoint as trainings write it."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, shape in (("a.jpg", (80, 120, 3)), ("b.png", (64, 64, 3))):
        cv2.imwrite(str(folder / name), rng.integers(0, 255, shape, dtype=np.uint8))
    settings = experiment("shufflenetv2", "mpii", SIZE)
    torch.manual_seed(0)
    net = create_model("shufflenetv2", len(MPII))
    write(folder / "weights.safetensors", net, settings)
    return folder


def command(folder, *images, **options):
    arguments = [str(folder / image) for image in images]
    for name, value in ({"checkpoint": "weights.safetensors"} | options).items():
        arguments += [f"--{name.replace('_', '-')}", str(folder / value)]
    main([*arguments, "--device", "cpu"])


def test_each_photo_is_drawn_and_listed(folder, tmp_path):
    boxes = {"a.jpg": [[10, 5, 40, 60], [60.5, 5, 40, 60]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    command(folder, "a.jpg", "b.png", boxes=tmp_path / "boxes.json", output_dir=tmp_path / "out")
    results = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [(result["image"], result["bbox"]) for result in results] == [
        ("a.jpg", [10, 5, 40, 60]),
        ("a.jpg", [60.5, 5, 40, 60]),
        ("b.png", [0, 0, 64, 64]),  # no box: the whole image
    ]
    assert all(len(result["keypoints"]) == 3 * len(MPII) for result in results)
    for name, shape in (("a_pose.jpg", (80, 120, 3)), ("b_pose.jpg", (64, 64, 3))):
        assert cv2.imread(str(tmp_path / "out" / name)).shape == shape


class Marker(torch.nn.Module):
    """Heat maps of stride 4 that are the brightness of the image."""

    def forward(self, images):
        brightness = torch.nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 4)
        return brightness.expand(-1, len(COCO), -1, -1)


@pytest.mark.parametrize("boxes", [{}, {"photo": [(80, 20, 200, 260), (120, 60, 150, 150)]}])
def test_a_bright_spot_is_found_where_it_is_whatever_the_box(boxes):
    photo = np.zeros((300, 400, 3), np.uint8)
    cv2.circle(photo, (200, 110), 12, (255, 255, 255), cv2.FILLED)
    settings = experiment(
        "eeffpose-p0-order8", "coco", (256, 192), overrides={"test": {"flip": False}}
    )
    results = predict_photos(Marker(), settings, {"photo": photo}, boxes, CPU)
    assert len(results) == len(boxes.get("photo", [1]))
    for result in results:
        x, y, _ = np.reshape(result["keypoints"], (-1, 3)).T
        assert np.abs(x - 200).max() < 14 and np.abs(y - 110).max() < 14


def test_a_photo_is_turned_upright_by_its_exif(tmp_path):
    pytest.importorskip("PIL")
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.new("RGB", (40, 20)).save(tmp_path / "upright.jpg", exif=exif)
    assert read_photo(tmp_path / "upright.jpg").shape == (40, 20, 3)


def test_a_skeleton_is_drawn_where_the_joints_are_and_faint_where_they_are_unsure():
    joints = np.column_stack([np.linspace(20, 80, 17), np.linspace(10, 90, 17), np.ones(17)])
    sure, unsure = (np.full((100, 100, 3), 128, np.uint8) for _ in range(2))
    draw_skeleton(sure, joints, COCO)
    draw_skeleton(unsure, joints * [1, 1, 0.1], COCO)
    change = [np.abs(image.astype(int) - 128).sum(axis=-1) for image in (sure, unsure)]
    assert all(change[0][round(y), round(x)] > 50 for x, y, _ in joints)
    assert 0 < change[1].sum() < change[0].sum() / 2
    assert change[0][:5].sum() == change[0][:, 90:].sum() == 0
    outside = np.full((100, 100, 3), 128, np.uint8)
    draw_skeleton(outside, joints + np.array([200, -300, 0]), COCO)
    assert (outside == 128).all()


WRONG_BOXES = {
    "not an object": 5,
    "no detection of any of the images": [{"image_id": 7}],
    "category_id": [{"image_id": 5, "bbox": [0, 0, 5, 5]}],
    "zero or negative": [{"image_id": 5, "category_id": 1, "bbox": [0, 0, 0, 5], "score": 1.0}],
    "'c.jpg' is none of the images": {"c.jpg": [[0, 0, 5, 5]]},
    "not a list of boxes": {"a.jpg": 5},
    "not four numbers": {"a.jpg": [[0, 0, 5]]},
    "box .* not four": {"a.jpg": [[0, 0, 5, 10**400]]},
    "zero or negative size": {"a.jpg": [[0, 0, 0, 5]]},
    "outside the image of 120 x 80 pixels": {"a.jpg": [[0, 90, 5, 5]]},
}


@pytest.mark.parametrize("message", WRONG_BOXES)
def test_wrong_boxes_are_named(message, tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(WRONG_BOXES[message]))
    with pytest.raises(PoseError, match=message):
        read_boxes(path, {"a.jpg": (80, 120), "b_5.jpg": (80, 120)})


def test_boxes_may_be_a_detector_s_list_of_which_other_images_are_passed_over(folder, tmp_path):
    for name in ("000000000785.jpg", "other.jpg"):
        (tmp_path / name).write_bytes((folder / "a.jpg").read_bytes())
    box = {"category_id": 1, "bbox": [10, 5, 40, 60]}
    content = [box | {"image_id": 785, "score": 0.9}, box | {"image_id": 785, "score": 0.3}]
    content += [box | {"image_id": 4, "score": 1.0}]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    images, weights = ("000000000785.jpg", "other.jpg"), folder / "weights.safetensors"
    command(tmp_path, *images, checkpoint=weights, boxes="boxes.json", output_dir="out")
    first, second, whole = json.loads((tmp_path / "out/predictions.json").read_text())
    assert first["bbox"] == [10, 5, 40, 60] and whole["bbox"] == [0, 0, 120, 80]
    assert second["score"] == pytest.approx(first["score"] / 3)  # as the detector's own score
    two = {"a_1.jpg": (80, 120), "b_01.jpg": (80, 120)}
    with pytest.raises(PoseError, match=r"both b_01.jpg and a_1.jpg are image 1"):
        read_boxes(tmp_path / "boxes.json", two)


def test_a_photo_taken_for_one_person_is_said_aloud(folder, tmp_path, capsys):
    command(folder, "a.jpg", "b.png", output_dir=tmp_path / "out")
    assert "a.jpg, b.png: without boxes, the whole photo is taken" in capsys.readouterr().err


def test_more_photos_than_are_in_memory_at_once_give_what_each_gives(folder, tmp_path, monkeypatch):
    names = [f"{number}.jpg" for number in range(5)]
    for name in names:
        (tmp_path / name).write_bytes((folder / "a.jpg").read_bytes())
    monkeypatch.setattr(predict, "PHOTOS_AT_ONCE", 2)
    weights = folder / "weights.safetensors"
    command(tmp_path, *names, checkpoint=weights, output_dir="out")
    results = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [result["image"] for result in results] == names
    first = np.array(results[0]["keypoints"])
    assert all(np.allclose(result["keypoints"], first, atol=1e-3) for result in results)
    assert len(list((tmp_path / "out").glob("*_pose.jpg"))) == 5


def test_three_lines_of_python_lead_from_image_and_weights_to_joints(folder):
    model, settings = load_checkpoint(folder / "weights.safetensors")
    (person,) = predict_photos(model, settings, {"a": read_photo(folder / "a.jpg")})
    assert np.shape(np.reshape(person["keypoints"], (-1, 3))) == (len(MPII), 3)


def test_wrong_images_and_checkpoints_end_in_one_line(folder, tmp_path):
    (tmp_path / "torn.jpg").write_bytes((folder / "a.jpg").read_bytes()[:500])
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "checkpoint-000000001.pt")
    torch.save({"x": torch.zeros(1)}, tmp_path / "mine.pth")
    does_not_tell = "does not tell its model and input, and is no file .*: use the best.safetensors"
    cases = [
        ([tmp_path / "none.jpg"], {}, "none.jpg: No such file"),
        ([tmp_path / "torn.jpg"], {}, "torn.jpg: truncated"),
        ([folder / "weights.safetensors"], {}, "cannot be decoded"),
        ([folder / "a.jpg", tmp_path / "a.png"], {}, "several images are called 'a'"),
        ([folder / "a.jpg"], {"checkpoint": "eeffpose-p9@coco"}, "no such file, and no published"),
        ([folder / "a.jpg"], {"checkpoint": tmp_path / "foreign.safetensors"}, does_not_tell),
        (
            [folder / "a.jpg"],
            {"checkpoint": tmp_path / "checkpoint-000000001.pt"},
            "is a training's, to go on from; use .*/best.safetensors instead",
        ),
        ([folder / "a.jpg"], {"checkpoint": tmp_path / "mine.pth"}, does_not_tell),
        ([folder / "a.jpg"], {"checkpoint": tmp_path}, "is no file; use the best.safetensors"),
        ([folder / "a.jpg"], {"checkpoint": tmp_path / "text.safetensors"}, "not a safetensors"),
    ]
    for images, options, message in cases:
        with pytest.raises(SystemExit, match=rf"^error: [^\n]*{message}[^\n]*$"):
            command(folder, *images, **options)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A published file of a small net, of which the catalogue knows the content."""
    name = "shufflenetv2@mpii-256x256-mmpose"
    monkeypatch.setenv("POSE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "cache" / f"{name}.pth"
    path.parent.mkdir()
    torch.save({"state_dict": to_published(create_model("shufflenetv2", len(MPII)))}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = replace(catalogue()[name], checksum=f"sha256-prefix:{digest[:8]}")
    monkeypatch.setitem(catalogue(), name, known)
    return path


def test_a_published_name_its_file_and_a_renamed_copy_are_the_same_checkpoint(published, tmp_path):
    renamed = tmp_path / "anything"
    renamed.write_bytes(published.read_bytes())
    nets = [load_checkpoint(which) for which in (published.stem, published, renamed)]
    for net, settings in nets:
        assert (settings.model, settings.dataset, settings.input_size) == (
            *("shufflenetv2", "mpii"),
            (256, 256),
        )
        assert torch.equal(net.head.final_layer.weight, nets[0][0].head.final_layer.weight)
    published.write_bytes(published.read_bytes() + b"x")
    with pytest.raises(PoseError, match="is not the published shufflenetv2@mpii-256x256-mmpose"):
        load_checkpoint(published)
    with pytest.raises(PoseError, match="; of lpn-50 there are lpn-50@coco-256x192"):
        load_checkpoint("lpn-50")
    with pytest.raises(PoseError, match="tf_efficientnet_b0 holds a backbone only; choose"):
        load_checkpoint("tf_efficientnet_b0")


def test_a_file_without_a_checksum_is_known_by_its_own_name(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "lpn_50_256x192.pth")
    with pytest.raises(PoseError, match=r"the weights in .*lpn_50_256x192.pth do not fit LPN"):
        load_checkpoint(tmp_path / "lpn_50_256x192.pth")


def test_what_is_no_weights_of_ours_is_told_with_the_file_to_use(tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "checkpoint-000000001.pt")
    told = (
        r"are a file of torch.save, .*: use the weights.safetensors of pose.train or of pose.weig"
    )
    with pytest.raises(PoseError, match=told):
        read_about(tmp_path / "checkpoint-000000001.pt")  # as pose.infer --weights


def test_photos_have_any_name_that_the_system_allows(folder, tmp_path):
    photo = (folder / "a.jpg").read_bytes()
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / f"{name}.jpg").write_bytes(photo)
    weights = folder / "weights.safetensors"
    command(tmp_path, f"{name}.jpg", checkpoint=weights, output_dir="out")
    assert sorted(os.listdir(tmp_path / "out")) == [f"{name}_pose.jpg", "predictions.json"]
    (result,) = json.loads((tmp_path / "out/predictions.json").read_text())
    assert result["image"] == f"{name}.jpg"
    (tmp_path / f"{'n' * 251}.jpg").write_bytes(photo)  # its drawing's name would be too long
    with pytest.raises(SystemExit, match=r"^error: cannot write .*n_pose.jpg: File name too long"):
        command(tmp_path, f"{name}.jpg", f"{'n' * 251}.jpg", checkpoint=weights, output_dir="none")
    assert not os.listdir(tmp_path / "none")


def test_no_drawing_or_list_replaces_what_was_given(folder, tmp_path):
    for name in ("a.jpg", "a_pose.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "predictions.json").write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit, match=r"a_pose.jpg would be replaced by an output"):
        command(folder, tmp_path / "a.jpg", tmp_path / "a_pose.jpg", output_dir=tmp_path)
    with pytest.raises(SystemExit, match=r"predictions.json would be replaced by an output"):
        boxes = tmp_path / "predictions.json"
        command(folder, tmp_path / "a.jpg", boxes=boxes, output_dir=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_weights_that_give_no_numbers_are_told_and_nothing_is_written(folder, tmp_path):
    net, settings = load_checkpoint(str(folder / "weights.safetensors"))
    state = {name: t * 1e30 if t.is_floating_point() else t for name, t in net.state_dict().items()}
    about = json.dumps({"experiment": settings.model_dump(mode="json")})  # without a checksum
    save_file(state, tmp_path / "huge.safetensors", {"about": about})
    with pytest.raises(SystemExit, match="the model gives values that are not finite numbers"):
        command(
            folder, "a.jpg", checkpoint=tmp_path / "huge.safetensors", output_dir=tmp_path / "out"
        )
    assert os.listdir(tmp_path / "out") == []


def test_a_full_memory_of_a_gpu_leads_to_the_cpu(folder, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(SystemExit, match=r"^error: out of memory .*2.00 GiB\); use --device cpu$"):
        command(folder, "a.jpg", output_dir=tmp_path)


def test_weights_whose_facts_are_nested_too_deeply_tell_nothing(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "deep.safetensors", {"about": "[" * 100_000})
    with pytest.raises(PoseError, match=r"deep.safetensors does not tell its model and input"):
        load_checkpoint(str(tmp_path / "deep.safetensors"))


def test_joints_far_outside_the_image_are_drawn_as_far_as_it_goes():
    image = np.full((100, 100, 3), 128, np.uint8)
    joints = np.column_stack([*np.linspace([-1e11] * 2, [1e11] * 2, 17).T, np.ones(17)])
    draw_skeleton(image, joints, COCO)
    assert (image != 128).any()


def test_a_photo_longer_than_a_jpeg_can_be_is_one_line(tmp_path):
    cv2.imwrite(str(tmp_path / "long.png"), np.zeros((1, 65_501), np.uint8))
    with pytest.raises(PoseError, match=r"long\.png: 65501 x 1 pixels, more than the 65500"):
        read_photo(tmp_path / "long.png")
