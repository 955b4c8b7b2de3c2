"""Data sets are fetched whole, checked and unpacked, from a server on this machine."""

import csv
import hashlib
import io
import json
import re
import shutil
import tarfile
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from snakemake_cli import ROOT, snakemake
from web_server import Quiet, serving

from pose.data.obtain.__main__ import main
from pose.data.obtain.archives import extract_files, extract_folder
from pose.data.obtain.fetch import is_there, obtain
from pose.data.obtain.sources import DEFAULT_PARTS, Source, parts_of, sources
from pose.support import download
from pose.support.download import Transfers
from pose.support.errors import PoseError

NOISE = hashlib.sha256(b"noise").digest() * 4000


def zip_of(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return content.getvalue()


def tar_of(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


@dataclass
class Host:
    """A server of files by path that keeps its requests, and may break off or wait for others."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, int]] = field(default_factory=list)
    sends: int | None = None  # bytes an answer has at most
    meeting: Barrier | None = None


@pytest.fixture
def host(monkeypatch):
    host = Host()

    class Handler(Quiet):
        def do_GET(self):
            start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            host.requests.append((Path(self.path).name, start))
            if host.meeting:
                host.meeting.wait(60)
            if self.path not in host.files:
                self.send_error(404)
                return
            content = host.files[self.path][start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: host.sends])

    monkeypatch.setattr(download, "PAUSE", 0.001)
    with serving(Handler) as host.url:
        monkeypatch.setenv("POSE_DATA_MIRROR", host.url)
        yield host


@pytest.fixture
def publish(host, monkeypatch):
    """Put files in place of the published ones: name -> content, in size and checksum alike."""

    def publish(**contents: bytes) -> list[Source]:
        known = []
        for source in sources():
            name = Path(source.path).name.partition(".")[0]
            if name in contents:
                md5 = hashlib.md5(contents[name]).hexdigest()
                size = str(len(contents[name]))
                source = replace(source, size=size, checksum=f"md5:{md5}")
                host.files[urlsplit(source.url).path] = contents[name]
            known.append(source)
        monkeypatch.setattr("pose.data.obtain.sources.sources", lambda: tuple(known))
        return known

    return publish


ANNOTATIONS = zip_of(
    annotations__captions=b"?",
    **{f"annotations__person_keypoints_{s}2017.json": s.encode() for s in ("train", "val")},
)


def test_the_catalogue_has_what_the_protocol_needs():
    assert parts_of("coco")[:4] == ["annotations", "train2017", "val2017", "test2017"]
    assert parts_of("mpii") == ["images", "annotations"]
    for source in sources():
        assert re.fullmatch(r"|md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", source.checksum)
        assert source.stated_by and (source.checksum or "nobody" in source.stated_by)
        assert source.kind in ("images", "folder", "files", "release", "keep", "by_hand")


def test_coco_arrives_with_its_images_left_in_the_archives(publish, host, tmp_path, capsys):
    publish(
        annotations_trainval2017=ANNOTATIONS,
        val2017=zip_of(val2017__a_jpg=b"a"),
        train2017=zip_of(train2017__b_jpg=NOISE),
    )
    obtain("coco", tmp_path, DEFAULT_PARTS["coco"])
    assert (tmp_path / "annotations/person_keypoints_val2017.json").read_text() == "val"
    assert sorted(p.name for p in (tmp_path / "annotations").iterdir()) == [
        f"person_keypoints_{split}2017.json" for split in ("train", "val")
    ]
    assert zipfile.is_zipfile(tmp_path / "train2017.zip")
    for line in (tmp_path / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    assert "fetching train2017.zip (0.1 MB)" in capsys.readouterr().err
    obtain("coco", tmp_path, DEFAULT_PARTS["coco"])
    assert len(host.requests) == 3  # all was there the second time


def test_what_lies_there_is_kept_when_what_is_missing_beside_it_is_unpacked(publish, tmp_path):
    publish(annotations_trainval2017=ANNOTATIONS)
    train, val = (
        tmp_path / f"annotations/person_keypoints_{split}2017.json" for split in ("train", "val")
    )
    train.parent.mkdir()
    val.write_text("edited")
    train.symlink_to("elsewhere")
    with pytest.raises(PoseError, match=f"{train} is there already; move it away"):
        obtain("coco", tmp_path, ["annotations"])
    train.unlink()
    obtain("coco", tmp_path, ["annotations"])
    assert (train.read_text(), val.read_text()) == ("train", "edited")


def test_archives_of_images_are_unpacked_on_demand(publish, host, tmp_path):
    publish(val2017=zip_of(val2017__a_jpg=b"a"))
    obtain("coco", tmp_path, ["val2017"])
    obtain("coco", tmp_path, ["val2017"], unpack=True)
    assert (tmp_path / "val2017/a_jpg").read_bytes() == b"a"
    (tmp_path / "val2017.zip").unlink()
    obtain("coco", tmp_path, ["val2017"])
    assert len(host.requests) == 1


@pytest.mark.parametrize("layout", ["val2017/a.jpg", "images/val2017/a.jpg"])
def test_images_that_lie_there_already_are_not_fetched(layout, host, tmp_path):
    (tmp_path / layout).parent.mkdir(parents=True)
    (tmp_path / layout).touch()
    obtain("coco", tmp_path, ["val2017"])
    assert not host.requests


def test_a_transfer_that_breaks_off_is_resumed_at_once(publish, host, tmp_path):
    publish(val2017=zip_of(val2017__a_jpg=2 * NOISE))
    host.sends = 100_000
    obtain("coco", tmp_path, ["val2017"])
    starts = [start for _, start in host.requests]
    assert starts == sorted(set(starts)) and len(starts) >= 3 and starts[0] == 0
    assert zipfile.ZipFile(tmp_path / "val2017.zip").read("val2017/a_jpg") == 2 * NOISE


def test_a_transfer_that_brings_nothing_more_ends_and_is_resumed_by_the_next_call(
    publish, host, tmp_path
):
    publish(val2017=zip_of(val2017__a_jpg=NOISE))
    partial = tmp_path / "val2017.zip.part"
    partial.write_bytes(host.files["/zips/val2017.zip"][:1000])
    host.sends = 0
    with pytest.raises(PoseError, match=r"cannot fetch val2017\.zip .* the transfer broke off"):
        obtain("coco", tmp_path, ["val2017"])
    assert partial.stat().st_size == 1000
    host.sends = None
    obtain("coco", tmp_path, ["val2017"])
    assert host.requests[-1] == ("val2017.zip", 1000)
    assert not partial.exists()


def test_several_files_come_at_a_time(publish, host, tmp_path):
    publish(val2017=zip_of(val2017__a=b"a"), train2017=zip_of(train2017__b=b"b"))
    host.meeting = Barrier(2)  # no answer before both are asked for
    obtain("coco", tmp_path, ["val2017", "train2017"], connections=2)
    assert {name for name, _ in host.requests} == {"val2017.zip", "train2017.zip"}


def test_a_wrong_file_never_stays(publish, host, tmp_path):
    content = zip_of(val2017__a_jpg=b"a")
    publish(val2017=content)
    host.files["/zips/val2017.zip"] = b"X" + content[1:]
    with pytest.raises(PoseError, match=r"is not the published val2017\.zip: expected md5 \w{32}"):
        obtain("coco", tmp_path, ["val2017"])
    assert not list(tmp_path.glob("*.part")) and not (tmp_path / "val2017.zip").exists()


def test_an_archive_placed_by_hand_is_checked_once(publish, host, tmp_path):
    content = zip_of(val2017__a_jpg=b"a")
    publish(val2017=content)
    placed = tmp_path / "val2017.zip"
    placed.write_bytes(content[:-1])
    with pytest.raises(PoseError, match=rf"{placed} is not the published file: expected \d+ bytes"):
        obtain("coco", tmp_path, ["val2017"])
    placed.write_bytes(content)
    obtain("coco", tmp_path, ["val2017"])
    assert not host.requests and "val2017.zip" in (tmp_path / "SHA256SUMS").read_text()


def test_the_list_of_checksums_keeps_lines_that_are_not_ours(publish, tmp_path):
    content = zip_of(val2017__a_jpg=b"a")
    publish(val2017=content)
    (tmp_path / "val2017.zip").write_bytes(content)
    foreign = b"# by hand, caf\xe9\n\nnonsense\n" + b"0" * 64 + b" *other.bin\n"
    (tmp_path / "SHA256SUMS").write_bytes(foreign)
    for _ in range(2):
        obtain("coco", tmp_path, ["val2017"])
    digest = hashlib.sha256(content).hexdigest().encode()
    assert (tmp_path / "SHA256SUMS").read_bytes() == foreign + digest + b"  val2017.zip\n"


@pytest.mark.parametrize("path", ["root", "root/SHA256SUMS", "root/val2017.zip"])
def test_what_is_in_the_way_is_one_line(path, publish, tmp_path):
    publish(val2017=zip_of(val2017__a_jpg=b"a"))
    root = tmp_path / "root"
    if path == "root":
        root.touch()
    else:
        (tmp_path / path).mkdir(parents=True)
        (root / "val2017").mkdir()
        (root / "val2017.zip").exists() or (root / "val2017.zip").write_bytes(
            zip_of(val2017__a_jpg=b"a")
        )
    with pytest.raises(PoseError, match=rf"{tmp_path / path}"):
        obtain("coco", root, ["val2017"])


def test_what_the_server_lacks_or_cannot_be_reached_is_named(host, tmp_path, monkeypatch):
    with pytest.raises(PoseError, match=r"HTTP 404 Not Found; retry, or place the file at"):
        obtain("coco", tmp_path, ["val2017"])
    assert len(host.requests) == 1
    monkeypatch.setenv("POSE_DATA_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(PoseError, match=r"no connection to 127\.0\.0\.1:9"):
        obtain("coco", tmp_path, ["val2017"])
    with pytest.raises(PoseError, match=r"no part 'val2071' \(did you mean 'val2017'\?\)"):
        obtain("coco", tmp_path, ["val2071"])


def test_a_disk_without_room_is_told_beforehand(publish, tmp_path, monkeypatch):
    publish(val2017=zip_of(val2017__a_jpg=NOISE))
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr("pose.support.download.shutil.disk_usage", lambda path: usage)
    with pytest.raises(PoseError, match=r"val2017\.zip needs .* GB more .* another --root"):
        obtain("coco", tmp_path, ["val2017"])
    assert not list(tmp_path.glob("val2017.zip*.part"))


def test_person_detections_are_asked_for_and_checked(publish, tmp_path, monkeypatch, capsys):
    (source,) = (s for s in sources() if s.part == "detections")
    with pytest.raises(PoseError) as error:
        obtain("coco", tmp_path, ["detections"])
    path = tmp_path / source.path
    for text in (str(path), source.url, path.name, "put it there and run this again"):
        assert text in str(error.value)
    path.parent.mkdir()
    path.write_text(json.dumps(103 * [{}]))
    with pytest.raises(PoseError, match="not HRNet's list of 104125 boxes; download it again"):
        obtain("coco", tmp_path, ["detections"])
    path.write_text(json.dumps(104_125 * [0]))
    obtain("coco", tmp_path, ["detections"])
    assert "104125 boxes, but another file than the known one" in capsys.readouterr().out


def test_mpii_images_are_unpacked(publish, tmp_path):
    publish(mpii_human_pose_v1=tar_of({"images/1.jpg": b"1", "images/2.jpg": b"2"}))
    obtain("mpii", tmp_path, ["images"])
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["1.jpg", "2.jpg"]
    assert all(is_there(source, tmp_path) for source in sources() if source.part == "images")


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


EVIL = {
    "above": tar_of({"images/../../evil": b"x"}),
    "absolute": tar_of({"/tmp/evil": b"x"}),
    "a symbolic link": tar_of({"images/a": link("images/a", "/etc/passwd", tarfile.SYMTYPE)}),
    "a hard link": tar_of({"images/a": link("images/a", "../evil", tarfile.LNKTYPE)}),
    "a device": tar_of({"images/a": link("images/a", "", tarfile.CHRTYPE)}),
    "above, zipped": zip_of(**{"../evil": b"x"}),
    "absolute, zipped": zip_of(**{"/tmp/evil": b"x"}),
    "another drive": zip_of(**{"C:\\evil": b"x"}),
}


@pytest.mark.parametrize("attack", EVIL)
def test_an_archive_cannot_write_elsewhere(attack, tmp_path):
    root, archive = tmp_path / "root", tmp_path / "archive"
    root.mkdir()
    archive.write_bytes(EVIL[attack])
    with pytest.raises(PoseError, match=r"its member '.*' (would be written|is not a plain)"):
        extract_folder(archive, "images", root, Transfers())
    assert {path.name for path in tmp_path.rglob("*")} == {"root", "archive"}


def test_a_zipped_link_is_no_plain_file(tmp_path):
    archive = tmp_path / "archive"
    with zipfile.ZipFile(archive, "w") as file:
        info = zipfile.ZipInfo("images/a")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")
    with pytest.raises(PoseError, match="its member 'images/a' is not a plain file"):
        extract_folder(archive, "images", tmp_path, Transfers())


def test_an_archive_that_is_cut_or_another_leaves_nothing(tmp_path):
    whole = tar_of({"images/1.jpg": NOISE * 3})
    root, archive = tmp_path / "root", tmp_path / "archive"
    root.mkdir()
    for content, message in (
        (whole[:-200], r"archive: damaged \("),
        (b"no archive at all", r"archive: damaged \("),
        (tar_of({"pictures/1.jpg": b"1"}), "no folder images in it; is it the right file"),
    ):
        archive.write_bytes(content)
        with pytest.raises(PoseError, match=message):
            extract_folder(archive, "images", root, Transfers())
        assert not list(root.iterdir())
    archive.write_bytes(zip_of(a=b"a"))
    with pytest.raises(PoseError, match=r"no b\.mat in it"):
        extract_files(archive, {"b.mat": "b.mat"}, root, Transfers())


def test_the_command_says_what_is_there_or_one_line_of_error(
    publish, tmp_path, monkeypatch, capsys
):
    publish(val2017=zip_of(val2017__a_jpg=b"a"))
    command = ["obtain", "coco", "--root", str(tmp_path), "--parts", "val2017"]
    monkeypatch.setattr("sys.argv", command)
    main()
    assert f"{tmp_path}: val2017 there" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*command[:-1], "train2017"])
    with pytest.raises(SystemExit, match=r"^error: cannot fetch train2017\.zip .*HTTP 404.*$"):
        main()


def test_the_workflow_obtains_coco_and_goes_on_after_a_failure(publish, host, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    for name in ("Snakefile", "analysis", "config", "environment.yml", "profiles", "workflow"):
        (project / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "pose", project / "pose")
    contents = {
        "annotations_trainval2017": ANNOTATIONS,
        "val2017": zip_of(val2017__a_jpg=b"a"),
        "train2017": zip_of(train2017__b_jpg=NOISE),
    }
    known = publish(**contents)
    with (project / "pose/data/obtain/sources.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(vars(known[0])))
        writer.writeheader()
        writer.writerows(map(vars, known))
    train = host.files.pop("/zips/train2017.zip")
    failed = snakemake(project, "--cores", "1", "--retries", "0", "coco_data")
    assert failed.returncode != 0
    assert "error: cannot fetch train2017.zip" in failed.stderr and "HTTP 404" in failed.stderr
    host.files["/zips/train2017.zip"] = train
    done = snakemake(project, "--cores", "1", "coco_data")
    assert done.returncode == 0, done.stderr
    assert (project / "data/coco/train2017.zip").read_bytes() == train
    assert "Nothing to be done" in snakemake(project, "-n", "coco_data").stdout
