"""Images are read alike from folders and from zip archives, by any process, or named."""

import multiprocessing
import shutil
import zipfile

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pose.config import experiment
from pose.data import loader
from pose.data.dataset import PoseDataset
from pose.data.images import READ_FLAGS, check_size, open_archive, read_bytes, read_image
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
    source, root = test_data / "coco_mini", tmp_path / "coco"
    shutil.copytree(source, root)
    samples = open_split("coco", root, "train", SIZE)
    first, second = (samples.image_paths[samples.image_index[row]] for row in (0, -1))
    shutil.copy(second, first)
    with pytest.raises(PoseError, match=rf"image {first}: \d+x\d+ pixels, annotated as"):
        PoseDataset(samples, SIZE)[0]
