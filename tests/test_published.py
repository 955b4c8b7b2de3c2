"""Published checkpoints, from a server to the table, by the workflow's own commands."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
import torch
import yaml
from reference_fill import state_dict
from scipy.io import loadmat, savemat
from snakemake_cli import ROOT, snakemake
from web_server import serving

from pose.models import create_model
from pose.support.errors import PoseError
from pose.weights import catalogue, checkpoints
from workflow.published import Published
from workflow.settings import read

FIRST = "eeffpose-p0-order1@coco"
NOWHERE = "http://127.0.0.1:9"


class Publisher:
    """A copy of the project that knows other checksums, and a server of the files they are of."""

    def __init__(self, folder: Path):
        self.project, self.site = folder / "project", folder / "site"
        self.project.mkdir()
        self.site.mkdir()
        self.asked: list[str] = []
        for part in ("Snakefile", "analysis", "config", "environment.yml", "profiles", "workflow"):
            (self.project / part).symlink_to(ROOT / part)
        shutil.copytree(ROOT / "pose", self.project / "pose")
        self._write([])

    def publish(
        self, name: str, content: bytes, served: bytes | None = None, fetchable: bool = False
    ) -> Path:
        """Add ``content`` to the catalogue; the server may have something else in its place."""
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        known = vars(catalogue()[name]) | {"checksum": f"git-blob-sha1:{blob}", "size": ""}
        if fetchable:  # from this server, although only a browser gets it from the real one
            known |= {"by_hand": "", "url": f"https://example.org/{name}.pth"}
        self._write([*self.rows, known])
        file = self.site / unquote(urlsplit(known["url"]).path[1:])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if served is None else served)
        return file

    def _write(self, rows: list[dict[str, str]]) -> None:
        self.rows = rows
        with (self.project / "pose/weights/published.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(vars(catalogue()[FIRST])))
            writer.writeheader()
            writer.writerows(rows)


@pytest.fixture
def publisher(tmp_path, monkeypatch):
    publisher = Publisher(tmp_path)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            publisher.asked.append(self.path)

    monkeypatch.setenv("POSE_CACHE", str(tmp_path / "cache"))
    with serving(partial(Handler, directory=publisher.site)) as address:
        monkeypatch.setenv("POSE_WEIGHTS_MIRROR", address)
        yield publisher


def checkpoint(folder: Path, name: str) -> bytes:
    """The published file of that name, with the parity fixtures' weights."""
    entry, file = catalogue()[name], folder / "checkpoint.pth"
    model = create_model(entry.model, 16 if entry.dataset == "mpii" else 17)
    torch.save(state_dict(model), file)
    return file.read_bytes()


@pytest.fixture
def one_photo(tmp_path, test_data) -> Path:
    """COCO with one val image: one annotated person, and three of the detector's boxes."""
    source, root = test_data / "coco_mini", tmp_path / "coco"
    annotations = "annotations/person_keypoints_val2017.json"
    content = json.loads((source / annotations).read_text())
    boxes = json.loads((source / "person_detections_4_val_images.json").read_text())
    people = [person for person in content["annotations"] if person["num_keypoints"]]
    shown = [person["image_id"] for person in people]
    number = next(box["image_id"] for box in boxes if shown.count(box["image_id"]) == 1)
    image = next(image for image in content["images"] if image["id"] == number)
    content["images"] = [image]
    content["annotations"] = [person for person in people if person["image_id"] == number]
    for folder in ("annotations", "val2017"):
        (root / folder).mkdir(parents=True)
    (root / annotations).write_text(json.dumps(content))
    shutil.copy(source / "val2017" / image["file_name"], root / "val2017")
    boxes = [box for box in boxes if box["image_id"] == number][:3]
    (root / "boxes.json").write_text(json.dumps(boxes))
    return root


@pytest.fixture
def two_athletes(tmp_path, test_data) -> Path:
    """MPII with two val persons."""
    source, root = test_data / "mpii_mini", tmp_path / "mpii"
    for folder in ("annot", "images"):
        (root / folder).mkdir(parents=True)
    persons = json.loads((source / "annot/valid.json").read_text())[:2]
    (root / "annot/valid.json").write_text(json.dumps(persons))
    for person in persons:
        shutil.copy(source / "images" / person["image"], root / "images")
    truth = loadmat(source / "annot/gt_valid.mat")
    cut = {name: truth[name][..., :2] for name in ("jnt_missing", "pos_gt_src", "headboxes_src")}
    savemat(root / "annot/gt_valid.mat", {"dataset_joints": truth["dataset_joints"]} | cut)
    return root


def layouts(folder: Path) -> tuple[str, str]:
    """Settings of data sets that have all files in place, though empty."""
    coco, mpii = folder / "coco", folder / "mpii"
    for part in (coco / "annotations", coco / "val2017", mpii / "annot", mpii / "images"):
        part.mkdir(parents=True)
    for file in ("annotations/person_keypoints_val2017.json", "boxes.json"):
        (coco / file).touch()
    for file in ("valid.json", "gt_valid.mat"):
        (mpii / "annot" / file).touch()
    return f"coco_root={coco}", f"mpii_root={mpii}"


def test_a_target_fetches_the_checkpoints_that_have_data_and_were_asked_for(tmp_path):
    coco, mpii = layouts(tmp_path)
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    whole = sum(bool(file.input) for file in catalogue().values())
    for table, settings, count in (
        ("released", (coco, mpii), 11),
        ("released", (mpii,), 2),
        ("published", (coco, mpii), whole),
        ("published", (coco, mpii, "only=[hrnet-w32]"), 6),
        ("published", (mpii, "only=[hrnet-w32, efficientpose-2@mpii-368x368]"), 3),
    ):
        planned = Published(read(config, settings)[0], "results")
        assert len(planned.fetched(SimpleNamespace(table=table))) == count


def test_data_and_checkpoints_that_are_not_there_are_named(tmp_path):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    with pytest.raises(SystemExit, match=r"no data; add --config coco_root=DIR mpii_root=DIR"):
        Published(read(config)[0], "results").fetched(SimpleNamespace(table="released"))
    settings = [*layouts(tmp_path), "coco_detections=none.json"]
    with pytest.raises(SystemExit, match=r"coco_detections .*/coco/none.json: no such file; put"):
        Published(read(config, settings)[0], "results").fetched(SimpleNamespace(table="released"))
    with pytest.raises(SystemExit, match="released: none of its checkpoints is in config: only"):
        planned = Published(read(config, ["only=[hrnet-w32]"])[0], "results")
        planned.fetched(SimpleNamespace(table="released"))
    wrong = "only: no published checkpoint is of 'hrnet-w23' .did you mean 'hrnet-w"
    with pytest.raises(PoseError, match=wrong):
        Published(read(config, ["only=[hrnet-w23]"])[0], "results")
    settings = ("name=x", "mpii_root=/no/such")
    done = snakemake(Publisher(tmp_path).project, "-n", "released", "--config", *settings)
    assert done.returncode != 0
    message = "mpii_root /no/such: no such folder; set mpii_root to the mpii"
    assert (done.stdout + done.stderr).count(message) == 1


@pytest.mark.slow
def test_a_file_that_cannot_be_had_is_a_row_the_others_go_on_and_the_next_call_asks_again(
    publisher, tmp_path, two_athletes
):
    good, bad = "litehrnet-18@mpii-256x256-mmpose", "shufflenetv2@mpii-256x256-mmpose"
    by_hand = "hrnet-w32@mpii-256x256"
    publisher.publish(good, checkpoint(tmp_path, good))
    content = checkpoint(tmp_path, bad)
    file = publisher.publish(bad, content, b"a proxy's page")
    publisher.publish(by_hand, b"whatever")
    run = partial(snakemake, publisher.project, "--cores", "1", "published", "--config")
    run = partial(run, f"mpii_root={two_athletes}")

    def rows() -> dict[str, dict]:
        table = pd.read_csv(publisher.project / "results/demo/tables/published.csv")
        return {row["checkpoint"]: row for row in table.to_dict("records")}

    done = run()
    assert done.returncode == 0, done.stderr
    assert float(rows()[good]["recomputed PCKh@0.5"]) >= 0
    assert pd.isna(rows()[bad]["recomputed PCKh@0.5"])
    assert "expected git-blob-sha1" in rows()[bad]["reason"]
    assert rows()[by_hand]["reason"].startswith("not run: hrnet-w32@mpii-256x256 has to be fetched")
    asked = len(publisher.asked)
    file.write_bytes(content)
    done = run()
    assert done.returncode == 0, done.stderr
    assert float(rows()[bad]["recomputed PCKh@0.5"]) >= 0
    assert len(publisher.asked) == asked + 1
    weights = publisher.project / f"results/demo/published/{good}/weights.safetensors"
    before = weights.stat().st_mtime_ns
    assert run().returncode == 0
    assert weights.stat().st_mtime_ns == before


def test_a_fetched_checkpoint_is_evaluated_and_tabled_without_a_network(
    publisher, tmp_path, monkeypatch, one_photo
):
    publisher.publish(FIRST, checkpoint(tmp_path, FIRST))
    run = partial(
        snakemake, publisher.project, "--cores", "1", "--config", f"coco_root={one_photo}"
    )
    results = publisher.project / "results/demo"
    fetch = [sys.executable, "-m", "pose.weights", "fetch", FIRST]
    subprocess.run(fetch, cwd=publisher.project, check=True)
    monkeypatch.setenv("POSE_WEIGHTS_MIRROR", NOWHERE)
    done = run("--", "released")
    assert done.returncode == 0, done.stderr
    assert "released.html" in done.stdout
    (row,) = pd.read_csv(results / "tables/released.csv").to_dict("records")
    metrics = json.loads((results / f"published/{FIRST}/metrics_gt.json").read_text())
    assert metrics["protocol"] == "released v2" and metrics["persons"] == 1
    assert row["recomputed AP, gt boxes"] == pytest.approx(100 * metrics["AP"], abs=1e-3)
    assert row["difference AP, gt boxes"] == pytest.approx(100 * metrics["AP"] - 67.8, abs=1e-3)
    assert pd.isna(row["recomputed AP, det boxes"])
    assert row["val set"] == "1 of 5000 images"


@pytest.mark.slow
def test_all_eleven_run_through(publisher, tmp_path, one_photo, two_athletes):
    for file in checkpoints():
        publisher.publish(file.name, checkpoint(tmp_path, file.name))
    settings = (f"coco_root={one_photo}", "coco_detections=boxes.json", f"mpii_root={two_athletes}")
    done = snakemake(publisher.project, "--cores", "2", "released", "--config", *settings)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(publisher.project / "results/demo/tables/released.csv")
    assert list(table["checkpoint"]) == [file.name for file in checkpoints()]
    assert not (table == "not run").any(axis=None)
    assert set(table["val set"]) == {"1 of 5000 images", "2 of 2958 persons"}


EFFICIENTPOSE = "efficientpose-1@mpii-256x256"


def killed_when(folder: Path, is_time: Callable[[], bool], *arguments: str) -> None:
    """Run Snakemake in ``folder`` and kill it with all its jobs as soon as ``is_time``."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not is_time():
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_the_real_efficientpose_meets_its_known_answer_although_killed_in_the_middle(
    publisher, photographs
):
    content = (photographs / "published" / "EfficientPoseI").read_bytes()
    publisher.publish(EFFICIENTPOSE, content)
    settings = (f"mpii_root={photographs / 'mpii_mini'}", "only=[efficientpose-1]")
    arguments = ("--cores", "1", "published", "--config", *settings)
    results = publisher.project / "results/demo"
    infers = results / f"logs/published/{EFFICIENTPOSE}-infer.log"
    killed_when(publisher.project, infers.exists, *arguments)
    done = snakemake(publisher.project, *arguments)
    assert done.returncode == 0, done.stderr
    assert len(publisher.asked) == 1
    (row,) = pd.read_csv(results / "tables/published.csv").to_dict("records")
    assert row["recomputed PCKh@0.5"] == pytest.approx(87.871, abs=0.01)
    assert row["recomputed PCKh@0.1"] == pytest.approx(27.905, abs=0.01)
    assert row["val set"] == "264 of 2958 persons"
    assert (row["published PCKh@0.5"], row["published PCKh@0.1"]) == (85.2, 26.5)


FAMILIES = (
    "eeffpose-p0-order1@coco",
    "simplebaseline-r50@coco-256x192",
    "lpn-50@coco-256x192",
    "cpn-r50-projection@coco-256x192",
    "mobilenetv2@coco-256x192-mmpose",
    "hrnet-w32@mpii-256x256-mmpose",
    "litehrnet-18@mpii-256x256",
    "hourglass-2@mpii-256x256",
)


@pytest.mark.slow
def test_a_checkpoint_of_each_family_runs_through(publisher, tmp_path, one_photo, two_athletes):
    for name in FAMILIES:
        publisher.publish(name, checkpoint(tmp_path, name), fetchable=True)
    settings = (f"coco_root={one_photo}", "coco_detections=boxes.json", f"mpii_root={two_athletes}")
    done = snakemake(publisher.project, "--cores", "2", "published", "--config", *settings)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(publisher.project / "results/demo/tables/published.csv")
    assert list(table["checkpoint"]) == list(FAMILIES)
    assert not (table.filter(like="recomputed") == "not run").any(axis=None)
    assert table["recomputed AP, det boxes"].notna().sum() == 5
    assert set(table["val set"]) == {"1 of 5000 images", "2 of 2958 persons"}
