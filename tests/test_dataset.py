"""Samples depend on (seed, epoch, index) alone, whichever process draws them."""

import gc

import psutil
import pytest
import torch
from torch.utils.data import DataLoader

from pose.config import experiment
from pose.data.dataset import PoseDataset
from pose.data.loader import EpochBatches, training_loader
from pose.data.loader import testing_loader as loader_in_order  # pytest collects test*
from pose.data.samples import open_split

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


def crops_by_sample(loaders):
    """index -> its crop, joints and flags, from the batches of several processes' loaders."""
    found = {}
    for loader in loaders:
        for batch in loader:
            for number, index in enumerate(batch["index"].tolist()):
                assert index not in found
                found[index] = [batch[key][number] for key in ("image", "joints", "visible")]
    return found


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_that_share_an_epoch_draw_what_one_draws_alone(samples, augmentation, processes):
    def draw(rank, number, workers):
        dataset = PoseDataset(samples, SIZE, augmentation, seed=1)
        dataset.set_epoch(5)
        batches = EpochBatches(len(samples), 12, 1, rank, number)
        batches.epoch = 5
        return training_loader(dataset, batches, workers)

    alone = crops_by_sample([draw(0, 1, 0)])
    shared = crops_by_sample([draw(rank, processes, 2) for rank in range(processes)])
    assert shared.keys() == alone.keys() and len(alone) == len(samples) // 12 * 12
    for index, item in alone.items():
        assert all(torch.equal(*pair) for pair in zip(item, shared[index], strict=True))


def test_a_resumed_epoch_goes_on_with_the_samples_it_would_have_drawn(samples, augmentation):
    dataset = PoseDataset(samples, SIZE, augmentation, seed=1)
    dataset.set_epoch(2)
    whole, rest = (EpochBatches(len(samples), 10, 1) for _ in range(2))
    whole.epoch = rest.epoch = 2
    rest.start = len(whole) - 3
    expected = list(training_loader(dataset, whole, 0))[-3:]
    resumed = list(training_loader(dataset, rest, 2))
    assert len(resumed) == len(expected) == 3
    for ours, theirs in zip(resumed, expected, strict=True):
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def private_memory() -> int:
    """Bytes that this process and its children have for themselves alone."""
    me = psutil.Process()
    return sum(p.memory_full_info().uss for p in [me, *me.children(recursive=True)])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_memory_stays_flat_over_twenty_epochs_with_four_workers(samples, augmentation):
    dataset = PoseDataset(samples, SIZE, augmentation)
    batches = EpochBatches(32, 4, 0)
    loader = training_loader(dataset, batches, 4)
    used = {}
    for epoch in range(20):
        dataset.set_epoch(epoch)
        batches.epoch = epoch
        for _ in loader:
            pass
        if 5 <= epoch < 9 or epoch >= 16:  # by then every worker has met large images
            gc.collect()
            used[epoch] = private_memory()
    assert len(psutil.Process().children()) >= 4
    growth = max(used[e] for e in range(16, 20)) - max(used[e] for e in range(5, 9))
    assert growth < 20e6  # bytes; one image kept for each worker and epoch would be 40e6


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_gpu_is_loaded_from_page_locked_memory(samples, device):
    dataset, there = PoseDataset(samples, SIZE), torch.device(device)
    training = training_loader(dataset, EpochBatches(len(samples), 4, seed=0), 1, there)
    testing = loader_in_order(dataset, 4, 1, there)
    assert training.pin_memory == testing.pin_memory == (device == "cuda")
