"""Samples depend on (seed, epoch, index) alone, whichever process draws them."""

import shutil

import pytest
import torch
from torch.utils.data import DataLoader

from pose.config import experiment
from pose.data.dataset import PoseDataset, read_image
from pose.data.samples import open_split
from pose.errors import PoseError

SIZE = (64, 48)


@pytest.fixture(scope="module")
def samples(test_data):
    return open_split("coco", test_data / "coco_mini", "train", SIZE)


@pytest.fixture(scope="module")
def augmentation():
    return experiment("eeffpose-p0-order8", "coco", (256, 192)).augmentation


def batches(loader):
    return [batch["image"].clone() for batch in loader]


def test_an_item_is_a_uint8_crop_with_joints_in_its_pixels(samples):
    item = PoseDataset(samples, SIZE)[3]
    assert item["image"].shape == (*SIZE, 3)
    assert item["image"].dtype == torch.uint8
    assert item["joints"].dtype == item["visible"].dtype == torch.float32
    inside = (item["joints"] >= 0) & (item["joints"] < torch.tensor(SIZE[::-1]))
    assert inside.all(dim=1)[item["visible"] > 0].all()
    assert item["index"] == 3


def test_persistent_workers_draw_what_the_main_process_draws(samples, augmentation):
    dataset = PoseDataset(samples, SIZE, augmentation, seed=1)
    loader = DataLoader(dataset, batch_size=20, num_workers=2, persistent_workers=True)
    epochs = {}
    for epoch in (-1, 0):
        dataset.set_epoch(epoch)
        epochs[epoch] = batches(loader)
    assert not torch.equal(epochs[-1][0], epochs[0][0])
    for epoch, drawn in epochs.items():
        alone = PoseDataset(samples, SIZE, augmentation, seed=1)
        alone.set_epoch(epoch)
        pairs = zip(drawn, batches(DataLoader(alone, batch_size=20)), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)


def test_a_missing_or_broken_image_is_named(samples, tmp_path):
    path = tmp_path / "person.jpg"
    with pytest.raises(PoseError, match=r"person\.jpg: No such file"):
        read_image(path)
    shutil.copyfile(samples.image_paths[0], path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(PoseError, match=r"person\.jpg: truncated JPEG"):
        read_image(path)
    path.write_bytes(b"not an image")
    with pytest.raises(PoseError, match=r"person\.jpg: cannot be decoded"):
        read_image(path)
