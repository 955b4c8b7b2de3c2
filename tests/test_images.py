"""Images are read alike from folders and from zip archives, by any process, or named."""

import json
import multiprocessing
import os
import shutil
import socket
import zipfile
from contextlib import chdir

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pose.config import experiment
from pose.data import loader
from pose.data.dataset import PoseDataset
from pose.data.image_decode import READ_FLAGS
from pose.data.images import check_size, open_archive, read_bytes, read_image
from pose.data.samples import open_split
from pose.support.errors import PoseError

SIZE = (64, 48)
COMPRESSIONS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


def zipped(source, target, compression=zipfile.ZIP_STORED):
    """COCO with its images in an archive, as the original comes."""
    (target / "annotations").mkdir(parents=True)
    for file in source.glob("annotations/*train*"):
        shutil.copy(file, target / "annotations")
    with zipfile.ZipFile(target / "train2017.zip", "w", compression) as archive:
        archive.writestr("train2017/", b"")
        for image in sorted((source / "train2017").iterdir()):
            archive.write(image, f"train2017/{image.name}")
    return target


def layout_of_hrnet(root):
    (root / "images").mkdir()
    shutil.move(root / "train2017.zip", root / "images")
    return root


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_images_in_a_zip_are_the_files_in_the_folder(compression, test_data, tmp_path):
    source = test_data / "coco_mini"
    root = zipped(source, tmp_path / "coco", COMPRESSIONS[compression])
    in_folder, in_zip = (open_split("coco", path, "train", SIZE) for path in (source, root))
    assert len(in_zip) == len(in_folder)
    for ours, theirs in zip(in_zip.image_paths, in_folder.image_paths, strict=True):
        assert read_bytes(ours) == read_bytes(theirs)


def test_both_layouts_may_be_zipped(test_data, tmp_path):
    root = layout_of_hrnet(zipped(test_data / "coco_mini", tmp_path / "coco"))
    samples = open_split("coco", root, "train", SIZE)
    assert samples.image_paths[0].startswith(f"{root}/images/train2017.zip/train2017/")
    assert read_image(samples.image_paths[0]).ndim == 3


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_read_one_archive_side_by_side(start, test_data, tmp_path):
    root = zipped(test_data / "coco_mini", tmp_path / "coco")
    paths = open_split("coco", root, "train", SIZE).image_paths.tolist()
    alone = [read_bytes(path) for path in paths]  # and so it is open when the process forks
    with multiprocessing.get_context(start).Pool(2) as pool:
        assert pool.map(read_bytes, paths, chunksize=1) == alone


def test_crops_from_a_zip_are_those_from_the_folder(test_data, tmp_path):
    source = test_data / "coco_mini"
    augmentation = experiment("eeffpose-p0-order8", "coco", (256, 192)).augmentation
    roots = source, zipped(source, tmp_path / "coco")
    folder, archive = (
        PoseDataset(open_split("coco", root, "train", SIZE), SIZE, augmentation) for root in roots
    )
    pairs = zip(
        loader.testing_loader(folder, 8, 0), loader.testing_loader(archive, 8, 2), strict=True
    )
    assert all(torch.equal(a["image"], b["image"]) for a, b in pairs)


def test_what_is_wrong_with_an_archive_is_named(test_data, tmp_path):
    root = zipped(test_data / "coco_mini", tmp_path / "coco")
    archive = root / "train2017.zip"
    with pytest.raises(PoseError, match=rf"image {archive}/train2017/x\.jpg: no train2017/x\.jpg"):
        read_image(f"{archive}/train2017/x.jpg")
    with pytest.raises(PoseError, match=r"no train2017/a-name-longer-than-all\.jpg in"):
        read_image(f"{archive}/train2017/a-name-longer-than-all.jpg")
    content = bytearray(archive.read_bytes())
    content[5000] ^= 255  # a pixel of the first image
    damaged = root / "damaged.zip"
    damaged.write_bytes(content)
    first = open_archive(str(archive)).names[0].decode()
    with pytest.raises(PoseError, match=rf"damaged\.zip: {first} is damaged; fetch"):
        read_image(f"{damaged}/{first}")
    damaged = root / "short.zip"
    damaged.write_bytes(content[:-1000])
    with pytest.raises(PoseError, match=r"short\.zip: not a whole zip archive; fetch it again"):
        read_image(f"{damaged}/{first}")


def one_member(path, content=b"image" * 100, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.jpg", content)
    return path.read_bytes()


def in_directory(data, offset, new):
    """The archive with other bytes at an offset in the only entry of its central directory."""
    start = data.index(b"PK\1\2") + offset
    return data[:start] + new + data[start + len(new) :]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unsupported_compression_is_called_that(method, tmp_path):
    one_member(tmp_path / "a.zip", method=method)
    with pytest.raises(
        PoseError, match=r"a\.zip: a\.jpg: unsupported compression \((bzip2|lzma)\)"
    ):
        read_bytes(tmp_path / "a.zip/a.jpg")


REFUSED_MEMBERS = {  # offset in the central directory's entry, what is put there, what is said
    "encrypted": (8, b"\1\0", "encrypted"),
    "deflate64": (10, b"\x09\0", r"unsupported compression \(deflate64\)"),
    "more than it says": (24, b"\x64\0\0\0", "damaged"),
    "less than it says": (24, b"\0\x10\0\0", "damaged"),
    "gigabytes, it says": (24, b"\0\0\0\xf0", "too many for an image"),
    "nowhere": (42, b"\0\0\0\x70", "damaged|not a whole zip"),
}


@pytest.mark.parametrize("kind", REFUSED_MEMBERS)
def test_a_member_that_is_not_what_it_says_is_named(kind, tmp_path):
    offset, new, message = REFUSED_MEMBERS[kind]
    data = one_member(tmp_path / "a.zip", bytes(10_000_000), zipfile.ZIP_DEFLATED)
    (tmp_path / "b.zip").write_bytes(in_directory(data, offset, new))
    with pytest.raises(PoseError, match=rf"b\.zip.*({message})"):
        read_bytes(tmp_path / "b.zip/a.jpg")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused_unless_they_are_the_same(tmp_path):
    for name, second in (("same", b"one"), ("other", b"two")):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("a.jpg", b"one")
            archive.writestr("a.jpg", second)
    assert read_bytes(tmp_path / "same.zip/a.jpg") == b"one"
    with pytest.raises(PoseError, match=r"other\.zip: holds two different 'a\.jpg'"):
        read_bytes(tmp_path / "other.zip/a.jpg")


def small_coco(root, name="a.jpg"):
    """A data set of one person on one image, of the given name, in each split."""
    image = {"id": 1, "file_name": name, "width": 32, "height": 32}
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 400.0}
    person |= {"num_keypoints": 17, "bbox": [4, 4, 20, 20], "keypoints": [9, 9, 2] * 17}
    content = {"images": [image], "annotations": [person], "categories": [{"id": 1}]}
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (root / f"{split}2017").mkdir()
        cv2.imwrite(str(root / f"{split}2017/a.jpg"), np.zeros((32, 32, 3), np.uint8))
        annotations = root / f"annotations/person_keypoints_{split}2017.json"
        annotations.write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("name", ["../val2017/a.jpg", "b/../../val2017/a.jpg", "/etc/a.jpg", ".."])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_a_name_may_not_leave_the_folder_of_images(name, packed, tmp_path):
    root = small_coco(tmp_path / "coco", name)
    if packed:
        shutil.make_archive(root / "train2017", "zip", root, "train2017")
        shutil.rmtree(root / "train2017")
    with pytest.raises(PoseError, match=rf"train2017\.json: image '{name}' would lie outside"):
        open_split("coco", root, "train", SIZE)


def to_fifo(path):
    os.mkfifo(path)


def to_socket(path):
    with socket.socket(socket.AF_UNIX) as server, chdir(path.parent):
        server.bind(path.name)  # of a socket's path the system takes 107 bytes


@pytest.mark.parametrize("make", [to_fifo, to_socket, os.mkdir])
@pytest.mark.parametrize("linked", [False, True], ids=["itself", "linked"])
def test_a_pipe_socket_or_folder_is_no_image_and_never_waited_for(make, linked, tmp_path):
    root = small_coco(tmp_path / "coco")
    image = root / "train2017/a.jpg"
    image.unlink()
    make(root / "train2017/b" if linked else image)
    if linked:
        image.symlink_to("b")
    with pytest.raises(PoseError, match=r"train2017/a\.jpg: a folder, device, pipe or socket"):
        PoseDataset(open_split("coco", root, "train", SIZE), SIZE)[0]


def test_a_link_may_not_lead_out_of_the_data_folder(tmp_path):
    root = small_coco(tmp_path / "coco")
    image = root / "train2017/a.jpg"
    outside = shutil.move(image, tmp_path / "outside.jpg")
    samples = open_split("coco", root, "train", SIZE)
    image.symlink_to(outside)
    with pytest.raises(PoseError, match=rf"{image}: leads out of the data folder, to {outside}"):
        PoseDataset(samples, SIZE)[0]
    image.unlink()
    image.symlink_to("../val2017/a.jpg")
    assert PoseDataset(samples, SIZE)[0]["image"].shape == (*SIZE, 3)


@pytest.mark.parametrize("link", ["coco", "coco/train2017", "coco/train2017.zip"])
def test_folders_and_archives_that_are_links_themselves_are_followed(link, tmp_path):
    root = small_coco(tmp_path / "coco")
    if link.endswith("zip"):
        shutil.make_archive(root / "train2017", "zip", root, "train2017")
        shutil.rmtree(root / "train2017")
    place = shutil.move(tmp_path / link, tmp_path / f"elsewhere{os.path.splitext(link)[1]}")
    (tmp_path / link).symlink_to(place)
    samples = open_split("coco", root, "train", SIZE)
    assert PoseDataset(samples, SIZE)[0]["image"].shape == (*SIZE, 3)


def test_names_that_no_file_can_have_and_huge_files_are_one_line(tmp_path):
    for name, message in (
        ("x" * 300, "File name too long"),
        ("a\0b", "null"),
        ("\ud800", "surrogate"),
    ):
        with pytest.raises(PoseError, match=message):
            read_bytes(tmp_path / name)
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(PoseError, match=r"huge\.jpg: 1099511627776 bytes are too many"):
        read_bytes(tmp_path / "huge.jpg")


KINDS = {
    "halved colour": ("RGB", {"subsampling": "4:2:0"}),
    "full colour": ("RGB", {"subsampling": "4:4:4"}),
    "progressive": ("RGB", {"progressive": True}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
    "turned by EXIF": (
        "RGB",
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_jpeg_has_the_pixels_that_opencv_finds(kind, tmp_path):
    mode, options = KINDS[kind]
    smooth = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    pixels = cv2.resize(smooth, (67, 45), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(pixels).convert(mode).save(tmp_path / "image.jpg", quality=80, **options)
    expected = cv2.imread(str(tmp_path / "image.jpg"), READ_FLAGS)
    np.testing.assert_array_equal(read_image(tmp_path / "image.jpg"), expected)


def test_a_missing_or_broken_image_is_named(test_data, tmp_path):
    path = tmp_path / "person.jpg"
    with pytest.raises(PoseError, match=r"person\.jpg: No such file"):
        read_image(path)
    shutil.copyfile(next((test_data / "coco_mini/train2017").iterdir()), path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(PoseError, match=r"person\.jpg: truncated JPEG"):
        read_image(path)
    for content in (b"not an image", b""):
        path.write_bytes(content)
        with pytest.raises(PoseError, match=r"person\.jpg: cannot be decoded"):
            read_image(path)


def test_an_image_of_another_size_than_annotated_is_named(test_data, tmp_path):
    image = np.zeros((48, 64, 3), np.uint8)
    check_size(image, [64, 48], "a.jpg")
    with pytest.raises(PoseError, match=r"image a\.jpg: 64x48 pixels, annotated as 48x64"):
        check_size(image, [48, 64], "a.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48)).save(tmp_path / "turned.jpg", exif=exif)
    with pytest.raises(PoseError, match=r"annotated as 48x64; .* EXIF orientation 6,"):
        check_size(image, [48, 64], tmp_path / "turned.jpg")
    source, root = test_data / "coco_mini", tmp_path / "coco"
    shutil.copytree(source, root)
    samples = open_split("coco", root, "train", SIZE)
    first, *others = samples.image_paths[samples.image_index]
    size = read_image(first).shape
    shutil.copy(next(other for other in others if read_image(other).shape != size), first)
    with pytest.raises(PoseError, match=rf"image {first}: \d+x\d+ pixels, annotated as"):
        PoseDataset(samples, SIZE)[0]
