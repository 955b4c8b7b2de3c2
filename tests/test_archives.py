"""Archives are unpacked whole and unharmed, or in one line and without a trace."""

import bz2
import gzip
import io
import lzma
import multiprocessing
import os
import resource
import struct
import tarfile
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pose.data.obtain.archives import LOCK, extract_files, extract_folder
from pose.support.download import Transfers
from pose.support.errors import PoseError


def tar_of(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


NOISE = np.random.default_rng(0).bytes(50_000)
IMAGES = {f"images/{number}.jpg": NOISE[number:] for number in range(3)}
TAR_GZ = tar_of(IMAGES)
TAR = gzip.decompress(TAR_GZ)
ZIP = zip_of(IMAGES)


def flipped(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def unpack(content: bytes, root, folder="images") -> dict[str, bytes]:
    """What is in ``root / folder`` afterwards; nothing else may be in ``root``."""
    archive = root.parent / f"{root.name}.archive"
    archive.write_bytes(content)
    root.mkdir(exist_ok=True)
    extract_folder(archive, folder, root, Transfers())
    assert [path.name for path in root.iterdir()] == [folder]
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


SOUND = {
    "tar": TAR,
    "tar.gz": TAR_GZ,
    "tar.bz2": bz2.compress(TAR),
    "tar.xz": lzma.compress(TAR),
    "tar.gz in two parts": gzip.compress(TAR[:30_000]) + gzip.compress(TAR[30_000:]),
    "tar.gz, padded": TAR_GZ + bytes(500),
    "zip": ZIP,
}


@pytest.mark.parametrize("kind", SOUND)
def test_each_kind_of_archive_is_unpacked(kind, tmp_path):
    assert unpack(SOUND[kind], tmp_path / "root") == IMAGES


TAR_BZ2, TAR_XZ = SOUND["tar.bz2"], SOUND["tar.xz"]
SECOND_HEADER = TAR.index(b"images/1.jpg")
HEADER_OF_MINUS = bytearray(tarfile.TarInfo("images/1.jpg").tobuf())
HEADER_OF_MINUS[124:136] = b"\xff" * 11 + b"\xf0"  # a negative size
HEADER_OF_MINUS[148:156] = b"%06o\0 " % (256 + sum(HEADER_OF_MINUS) - sum(HEADER_OF_MINUS[148:156]))
DAMAGED = {
    "a bit in the last block": flipped(TAR_GZ, -500),
    "a bit of the checksum": flipped(TAR_GZ, -6),
    "a bit of the length": flipped(TAR_GZ, -2),
    "no checksum": TAR_GZ[:-8],
    "cut": TAR_GZ[:-5000],
    "a bit of a bzip2": flipped(TAR_BZ2, -10),
    "a bit of an xz": flipped(TAR_XZ, -40),
    "a bit of a tar's header": flipped(TAR, SECOND_HEADER + 3),
    "a tar cut after a member": TAR[:SECOND_HEADER],
    "a tar cut in a header": TAR[: SECOND_HEADER + 100],
    "a tar cut in a member": TAR[: SECOND_HEADER + 1000],
    "a negative size": bytes(HEADER_OF_MINUS) + TAR,
    "a bit of a zip": flipped(ZIP, 60_000),
    "a zip that is cut": ZIP[:-100],
    "a text": b"<html>not found</html>",
    "empty": b"",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_of_a_damaged_archive_nothing_is_kept(kind, tmp_path):
    with pytest.raises(PoseError, match=r"^[^\n]*archive: damaged \([^\n]*; delete it[^\n]*$"):
        unpack(DAMAGED[kind], tmp_path / "root")
    assert not list((tmp_path / "root").iterdir())


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(
    st.sampled_from([tar_of({"images/a": b"a" * 3000}), zip_of({"images/a": b"a" * 3000})]),
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True, allow_subnormal=False), st.integers(0, 255)),
        max_size=3,
    ),
)
def test_any_damage_leaves_the_file_or_nothing(tmp_path_factory, content, changes):
    damaged = bytearray(content)
    for place, byte in changes:
        damaged[int(place * len(content))] = byte
    root = tmp_path_factory.mktemp("fuzz") / "root"
    try:
        assert set(unpack(bytes(damaged), root).values()) <= {b"a" * 3000, b""}
    except PoseError as error:
        assert not list(root.iterdir()) and "\n" not in str(error)


def zip_with(offset: int, new: bytes, method=zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of a megabyte of zeros with other bytes in its directory's entry."""
    data = zip_of({"images/a": bytes(1 << 20)}, method)
    start = data.index(b"PK\1\2") + offset
    return data[:start] + new + data[start + len(new) :]


def sparse(size: int) -> bytes:
    info = tarfile.TarInfo("images/a")
    info.size = size
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))


def tar_of_two(*names: str) -> bytes:
    return b"".join(gzip.decompress(tar_of({name: b"abc"}))[:1024] for name in names) + bytes(1024)


REFUSED = {
    r"compression \(bzip2\)": zip_with(0, b"", zipfile.ZIP_BZIP2),
    r"compression \(lzma\)": zip_with(0, b"", zipfile.ZIP_LZMA),
    r"compression \(deflate64\)": zip_with(10, b"\x09\0"),
    "encrypted": zip_with(8, b"\1\0"),
    "archive needs .* GB more": zip_with(24, struct.pack("<I", 0xFFFFFFF0)),
    "images/a needs .* GB more": sparse(1 << 50),
    "damaged": zip_with(24, struct.pack("<I", 1000)),
    "it has 'images/a' twice": tar_of_two("images/a", "images/a"),
    "or as a file and a folder": tar_of_two("images", "images/a"),
    "or as a file and a folder;": tar_of_two("images/a", "images/a/b/c"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_an_archive_must_not_hold_is_one_line_and_leaves_nothing(words, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=1 << 30)
    monkeypatch.setattr("pose.support.download.shutil.disk_usage", lambda path: usage)
    with pytest.raises(PoseError, match=words):
        unpack(REFUSED[words], tmp_path / "root")
    assert not list((tmp_path / "root").iterdir())


def test_names_that_are_not_utf_8_or_collide_by_case_only_are_kept_apart(tmp_path):
    members = {"images/A.jpg": b"A", "images/a.jpg": b"a", "images/caf\udce9.jpg": b"e"}
    assert unpack(tar_of(members), tmp_path / "root") == members


@pytest.mark.parametrize("make", [os.mkdir, lambda path: os.symlink("nowhere", path)])
def test_nothing_is_renamed_over(make, tmp_path):
    (tmp_path / "root").mkdir()
    make(tmp_path / "root/images")
    with pytest.raises(PoseError, match=r"root/images is there already; move it away"):
        unpack(ZIP, tmp_path / "root")


def test_single_files_appear_when_the_whole_archive_is_read(tmp_path):
    archive = tmp_path / "archive"
    names = {"1.jpg": "annot/first.jpg", "2.jpg": "second.jpg"}
    archive.write_bytes(flipped(TAR_GZ, -6))
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(PoseError, match="damaged"):
        extract_files(archive, names, root, Transfers())
    assert not list(root.iterdir())
    archive.write_bytes(TAR_GZ)
    extract_files(archive, names, root, Transfers())
    assert (root / "annot/first.jpg").read_bytes() == IMAGES["images/1.jpg"]
    assert (root / "second.jpg").read_bytes() == IMAGES["images/2.jpg"]


def test_a_full_disk_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    content = zip_of({"images/a": bytes(3 << 20)})
    (tmp_path / "root").mkdir()
    (tmp_path / "archive").write_bytes(content)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(PoseError, match=r"cannot unpack .* File too large; free some space"):
            extract_folder(tmp_path / "archive", "images", tmp_path / "root", Transfers())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "root").iterdir())


class Waiting(Transfers):
    def begin(self, *about):
        time.sleep(60)


def test_what_a_killed_run_left_is_removed_by_the_next_and_nothing_else(tmp_path):
    root, archive = tmp_path / "root", tmp_path / "archive"
    archive.write_bytes(ZIP)
    foreign = [root / ".unpack.mine", root / ".unpack.12345678", root / ".unpack.abcdefgh"]
    for folder in foreign:
        folder.mkdir(parents=True)
        (folder / "thesis.tex").touch()
    (foreign[2] / LOCK).touch()  # but there is more in it

    def scratch():
        return {path for path in root.glob(".unpack.*") if (path / "content").exists()}

    def start():
        before = scratch()
        job = multiprocessing.get_context("fork").Process(
            target=extract_folder, args=(archive, "images", root, Waiting())
        )
        job.start()
        while not (new := scratch() - before):
            time.sleep(0.005)
        return job, new

    (killed, left), (alive, used) = start(), start()
    assert scratch() == left | used
    killed.kill()
    killed.join()
    extract_folder(archive, "images", root, Transfers())
    assert scratch() == used and {path.parent for path in root.rglob("thesis.tex")} == {*foreign}
    alive.kill()
    alive.join()
