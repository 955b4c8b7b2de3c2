"""The verify command finds everything that is missing, damaged or not as published."""

import io
import json
import shutil
from contextlib import redirect_stdout
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from pose.config import experiment
from pose.data import verify
from pose.data.samples import open_split
from pose.data.verify import main
from pose.datasets import coco as coco_dataset
from pose.evaluation.score import check_truth
from pose.support.errors import PoseError


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command: its exit status and the report."""

    def run(dataset, root):
        command = ["verify", dataset, "--root", str(root), "--workers", "2", "--json"]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code), json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def coco(test_data, tmp_path):
    return shutil.copytree(test_data / "coco_mini", tmp_path / "coco")


@pytest.fixture
def mpii(test_data, tmp_path):
    """The sample of MPII with blank images in place of the photographs."""
    root = tmp_path / "mpii"
    shutil.copytree(test_data / "mpii_mini/annot", root / "annot")
    (root / "images").mkdir()
    for split in ("train", "valid"):
        for person in json.loads((root / f"annot/{split}.json").read_text()):
            cv2.imwrite(str(root / "images" / person["image"]), np.zeros((8, 8), np.uint8))
    return root


def listed(root, split):
    """The numbers of images and of persons with joints in COCO's annotations."""
    content = json.loads((root / f"annotations/person_keypoints_{split}2017.json").read_text())
    persons = [p for p in content["annotations"] if p["num_keypoints"] and not p["iscrowd"]]
    return len(content["images"]), len(persons)


def test_a_sample_of_coco_is_sound_and_said_to_be_a_sample(run, coco):
    status, report = run("coco", coco)
    assert (status, report["ok"], report["problems"]) == (0, True, [])
    train = report["splits"]["train"]
    assert (train["images"], train["persons"]) == listed(coco, "train")
    assert not train["complete"]
    assert train["persons_published"] == 149_813


def test_every_fault_of_an_image_is_listed(run, coco):
    files = sorted((coco / "train2017").iterdir())
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-100])
    shutil.copy(files[3], files[2])
    files[4].write_text("no image")
    content = files[5].read_bytes()
    half = len(content) // 2
    files[5].write_bytes(content[:half] + bytes(400) + content[half + 400 :])
    status, report = run("coco", coco)
    assert status == 1 and report["splits"]["train"]["images_damaged"] == 5
    problems = {
        problem.split(": ")[0].removeprefix("image "): problem for problem in report["problems"]
    }
    for file, fault in zip(
        (files[0], files[1], files[2], files[4], files[5]),
        ("No such file", "truncated JPEG", "annotated as", "cannot be decoded", "damaged JPEG"),
        strict=True,
    ):
        assert fault in problems[str(file)]


def test_images_that_exif_would_turn_are_counted_and_no_fault(run, coco):
    for orientation, file in enumerate(sorted((coco / "val2017").iterdir())[:3], 1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.open(file).save(file, exif=exif)
    status, report = run("coco", coco)
    assert status == 0 and report["splits"]["val"]["images_turned_by_exif"] == 2
    assert report["splits"]["train"]["images_turned_by_exif"] == 0


def test_a_whole_set_must_have_the_published_number_of_persons(run, coco, monkeypatch):
    images, persons = listed(coco, "val")
    sizes = {"train": listed(coco, "train"), "val": (images, persons + 1)}
    whole = replace(coco_dataset.DATASET, sizes=sizes)
    monkeypatch.setattr(coco_dataset, "DATASET", whole)
    status, report = run("coco", coco)
    assert report["splits"]["train"]["complete"]
    assert (status, report["problems"]) == (1, [f"coco val: {persons} persons, not {persons + 1}"])


@pytest.mark.parametrize("lacking", ["num_keypoints", "categories"])
def test_what_only_the_score_needs_is_asked_for_before_a_training(run, coco, lacking):
    path = coco / "annotations/person_keypoints_val2017.json"
    content = json.loads(path.read_text())
    if lacking == "categories":
        del content[lacking]
    for person in content["annotations"]:
        person.pop(lacking, None)
    path.write_text(json.dumps(content))
    status, report = run("coco", coco)
    (problem,) = report["problems"]
    assert status == 1 and str(path) in problem and f"'{lacking}'" in problem
    with pytest.raises(PoseError, match=f"'{lacking}'"):
        chosen = experiment("eeffpose-p0-order8", "coco", (256, 192))
        check_truth(chosen, coco, open_split("coco", coco, "val", (256, 192)))


def test_detections_are_counted(run, coco, monkeypatch):
    path = coco / "person_detection_results/COCO_val2017_detections_AP_H_56_person.json"
    path.parent.mkdir()
    shutil.copy(coco / "person_detections_4_val_images.json", path)
    count = len(json.loads(path.read_text()))
    status, report = run("coco", coco)
    assert (status, report["problems"]) == (1, [f"{path}: {count} boxes, not 104125"])
    monkeypatch.setitem(verify.DETECTED, "val", count)
    status, report = run("coco", coco)
    assert (status, report["detections"]["val"]["images"]) == (0, 4)


def test_mpii_is_compared_with_its_ground_truth(run, mpii, photographs):
    status, report = run("mpii", mpii)
    assert (status, report["problems"]) == (0, [])
    assert report["splits"]["val"]["persons"] == 264
    # A few of the official file's persons have a joint that the JSON has elsewhere.
    assert report["ground_truth"] == {"persons": 264, "persons_that_differ": 2}
    path = mpii / "annot/gt_valid.mat"
    truth = loadmat(path)
    cut = {name: truth[name] for name in ("pos_gt_src", "jnt_missing", "headboxes_src")}
    savemat(path, cut | {"pos_gt_src": np.roll(cut["pos_gt_src"], 1, axis=2)})
    status, report = run("mpii", mpii)
    assert status == 1 and "persons are others than in valid.json" in report["problems"][0]
    savemat(path, {name: array[..., 1:] for name, array in cut.items()})
    _, report = run("mpii", mpii)
    assert report["problems"] == [f"{path}: 263 persons, but valid.json has 264"]


def test_a_folder_that_is_not_there_is_one_problem(run, tmp_path):
    status, report = run("coco", tmp_path / "nowhere")
    assert status == 1 and len(report["problems"]) == 1
    assert "nowhere: no such folder" in report["problems"][0]


def test_people_read_the_same_in_sentences(coco, monkeypatch, capsys):
    (next((coco / "val2017").iterdir())).unlink()
    monkeypatch.setattr("sys.argv", ["verify", "coco", "--root", str(coco)])
    with pytest.raises(SystemExit):
        main()
    lines = capsys.readouterr().out.splitlines()
    (images, persons), (val_images, val_persons) = listed(coco, "train"), listed(coco, "val")
    assert lines[0] == f"train: {images} images, {persons} persons (of 149813)"
    val = f"val: {val_images} images, 1 damaged or missing, {val_persons} persons (of 6352)"
    assert lines[1] == val
    assert lines[2].startswith("wrong: image ") and len(lines) == 3


def test_a_name_that_is_no_text_can_be_told():
    report = {"splits": {}, "problems": ["image caf\udce9.jpg: no such file"]}
    with io.TextIOWrapper(io.BytesIO(), "utf-8") as output, redirect_stdout(output):
        verify.show(report)
        output.flush()
        assert output.buffer.getvalue() == rb"wrong: image caf\udce9.jpg: no such file" + b"\n"
