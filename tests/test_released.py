"""The authors' checkpoints, from a server to the table, by the workflow's own commands."""

import csv
import hashlib
import json
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
import torch
from reference_fill import state_dict
from scipy.io import loadmat, savemat
from snakemake_cli import ROOT, plan, snakemake

from analysis import released
from analysis.results import read_metrics
from pose.config.model_sheet import read_sheet
from pose.models import create_model
from pose.support.errors import PoseError
from pose.weights import catalogue, checkpoints

FIRST = "eeffpose-p0-order1@coco"
NOWHERE = "http://127.0.0.1:9"


class Publisher:
    """A copy of the project that knows other checksums, and a server of the files they are of."""

    def __init__(self, folder: Path):
        self.project, self.site = folder / "project", folder / "site"
        self.project.mkdir()
        self.site.mkdir()
        for part in ("Snakefile", "analysis", "config", "environment.yml", "profiles", "workflow"):
            (self.project / part).symlink_to(ROOT / part)
        shutil.copytree(ROOT / "pose", self.project / "pose")
        self._write([])

    def publish(self, name: str, content: bytes, served: bytes | None = None) -> None:
        """Add ``content`` to the catalogue; the server may have something else in its place."""
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        known = vars(catalogue()[name]) | {"checksum": f"git-blob-sha1:{blob}"}
        self._write([*self.rows, known])
        file = self.site / unquote(urlsplit(known["url"]).path[1:])
        file.parent.mkdir(parents=True)
        file.write_bytes(content if served is None else served)

    def _write(self, rows: list[dict[str, str]]) -> None:
        self.rows = rows
        with (self.project / "pose/weights/published.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(vars(catalogue()[FIRST])))
            writer.writeheader()
            writer.writerows(rows)


@pytest.fixture
def publisher(tmp_path, monkeypatch):
    publisher = Publisher(tmp_path)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=publisher.site))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("POSE_WEIGHTS_MIRROR", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("POSE_CACHE", str(tmp_path / "cache"))
    yield publisher
    server.shutdown()
    server.server_close()


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


def test_the_target_plans_the_checkpoints_that_have_data_and_nothing_else(tmp_path):
    project = Publisher(tmp_path).project
    shutil.copy(ROOT / "pose/weights/published.csv", project / "pose/weights")
    coco, mpii = layouts(tmp_path)
    for settings, models, evaluations in (
        ((coco, mpii, "coco_detections=boxes.json"), 11, 20),
        ((coco, mpii), 11, 11),
        ((mpii,), 2, 2),
    ):
        assert plan(project, "released", "--config", *settings) == {
            "fetch_released": 1,
            "convert_released": models,
            "infer_released": evaluations,
            "evaluate_released": evaluations,
            "released_table": 1,
            "released": 1,
            "total": models + 2 * evaluations + 3,
        }
    done = snakemake(project, "--dry-run", "--printshellcmds", "released", "--config", coco, mpii)
    command = next(line for line in done.stdout.splitlines() if "pose.weights fetch" in line)
    assert all(file.name in command for file in checkpoints())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((), "released: no data; add --config coco_root=DIR, mpii_root=DIR or both"),
        (("mpii_root=/no/such",), "mpii_root /no/such: no such folder; set mpii_root to the mpii"),
    ],
)
def test_data_that_are_not_there_are_named(tmp_path, settings, message):
    done = snakemake(Publisher(tmp_path).project, "-n", "released", "--config", "name=x", *settings)
    assert done.returncode != 0
    assert (done.stdout + done.stderr).count(message) == 1


@pytest.mark.parametrize(
    ("served", "mirror", "message"),
    [
        (b"whol", None, "is not the published eeffpose-p0-order1@coco: expected git-blob-sha1"),
        (b"other", None, "is not the published eeffpose-p0-order1@coco: expected git-blob-sha1"),
        (b"whole", NOWHERE, "no connection to 127.0.0.1:9; retry, or place the file at"),
    ],
)
def test_what_cannot_be_fetched_stops_the_target_with_one_line(
    publisher, tmp_path, monkeypatch, served, mirror, message
):
    publisher.publish(FIRST, b"whole", served)
    publisher.publish("eeffpose-p0-order2@coco", b"whole", served)
    if mirror:
        monkeypatch.setenv("POSE_WEIGHTS_MIRROR", mirror)
    coco, _ = layouts(tmp_path)
    done = snakemake(publisher.project, "--cores", "1", "released", "--config", coco)
    assert done.returncode != 0
    log = (publisher.project / "results/demo/logs/released/fetch.log").read_text()
    errors = [line for line in log.splitlines() if not line.startswith("fetching")]
    assert len(errors) == 1 and errors[0].startswith("error: ") and message in errors[0]
    assert errors[0] in done.stderr
    assert not list((tmp_path / "cache").glob("*.pth"))


def test_a_fetched_checkpoint_is_evaluated_and_tabled_without_a_network(
    publisher, tmp_path, monkeypatch, one_photo
):
    publisher.publish(FIRST, checkpoint(tmp_path, FIRST))
    run = partial(
        snakemake, publisher.project, "--cores", "1", "--config", f"coco_root={one_photo}"
    )
    results = publisher.project / "results/demo"
    fetched = run("--", "results/demo/released/fetched.txt")
    assert fetched.returncode == 0, fetched.stderr
    shutil.rmtree(results)
    monkeypatch.setenv("POSE_WEIGHTS_MIRROR", NOWHERE)
    done = run("--", "released")
    assert done.returncode == 0, done.stderr
    assert "released.html" in done.stdout
    (row,) = pd.read_csv(results / "tables/released.csv").to_dict("records")
    metrics = json.loads((results / f"released/{FIRST}/metrics_gt.json").read_text())
    assert metrics["protocol"] == "released v2" and metrics["persons"] == 1
    assert row["recomputed AP, gt boxes"] == pytest.approx(100 * metrics["AP"], abs=1e-3)
    assert row["difference AP, gt boxes"] == pytest.approx(100 * metrics["AP"] - 67.8, abs=1e-3)
    assert row["recomputed AP, det boxes"] == "not run"
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


def write(folder: Path, name: str, boxes: str = "gt", **values) -> Path:
    """A metrics file of the checkpoint ``name``."""
    file = catalogue()[name]
    labels = {"checkpoint": name, "model": file.model, "seed": None, "boxes": boxes}
    labels |= {"protocol": "released", "input": file.input, "dataset": file.dataset}
    path = folder / f"{name}_{boxes}.json"
    path.write_text(json.dumps(labels | {"evaluator": "pycocotools 2.0.11"} | values))
    return path


def test_the_table_sets_the_papers_scores_beside_the_recomputed(tmp_path):
    whole = {"AP": 0.756, "AR": 0.809, "persons": 6352, "images": 5000}
    files = [
        write(tmp_path, "eeffpose-p0-order8@coco", **whole),
        write(tmp_path, "eeffpose-p2@coco", "det", **whole),
        write(tmp_path, "eeffpose-p2@mpii", **{"PCKh@0.5": 90.84, "persons": 2958}),
    ]
    released.main(["--metrics", *map(str, files), "--output-dir", str(tmp_path / "out")])
    table = pd.read_csv(tmp_path / "out/released.csv").set_index("checkpoint")
    assert len(table) == 11
    paper = table[["paper AP", "paper AR", "paper PCKh@0.5"]]
    assert list(paper.loc["eeffpose-p0-order1@coco"])[:2] == [67.8, 75.7]
    assert list(paper.loc["eeffpose-p2@coco"])[:2] == [76.7, 82.1]
    assert list(paper.loc["eeffpose-p0@mpii"])[2] == 90.4
    order8, p2, mpii = (
        table.loc[name]
        for name in ("eeffpose-p0-order8@coco", "eeffpose-p2@coco", "eeffpose-p2@mpii")
    )
    assert float(order8["difference AP, gt boxes"]) == pytest.approx(0.2)
    assert float(order8["difference AR, gt boxes"]) == pytest.approx(-0.2)
    assert order8["recomputed AP, det boxes"] == p2["recomputed AP, gt boxes"] == "not run"
    assert float(p2["difference AP, det boxes"]) == pytest.approx(-1.1)
    assert float(mpii["difference PCKh@0.5, gt boxes"]) == pytest.approx(-0.06)
    assert pd.isna(mpii["recomputed AP, gt boxes"])  # never applies, so it is not "not run"
    assert order8["val set"] == "COCO val2017" and mpii["val set"] == "MPII val"
    assert (table["val set"] == "not run").sum() == 8
    for name in ("released.md", "released.html"):
        text = (tmp_path / "out" / name).read_text()
        assert "-1.1" in text and "+0.2" in text
        assert "Not the paper's val set" not in text


def test_the_table_tells_which_val_sets_are_not_the_papers(tmp_path):
    files = [
        write(tmp_path, FIRST, AP=0.5, AR=0.5, persons=80, images=83),
        write(tmp_path, "eeffpose-p0@mpii", **{"PCKh@0.5": 95.0, "persons": 264}),
    ]
    table = released.released_table(read_metrics(files, "checkpoint"), read_sheet())
    text = released.caption(table)
    assert "Not the paper's val set: 264 of 2958 persons, 83 of 5000 images" in text


def test_metrics_that_are_no_published_checkpoints_or_stand_twice_are_refused(tmp_path):
    values = {"AP": 0.5, "AR": 0.5, "persons": 1, "images": 1}
    file = write(tmp_path, FIRST, **values)
    with pytest.raises(PoseError, match=f"two metrics files for {FIRST}, gt boxes"):
        released.released_table(read_metrics([file, file], "checkpoint"), read_sheet())
    other = write(tmp_path, FIRST, "det", checkpoint="mine@coco", **values)
    with pytest.raises(PoseError, match="no published weights are named 'mine@coco'"):
        released.released_table(read_metrics([other], "checkpoint"), read_sheet())
    content = json.loads(file.read_text())
    del content["checkpoint"]
    other.write_text(json.dumps(content))
    with pytest.raises(PoseError, match="lacks checkpoint"):
        read_metrics([other], "checkpoint")
