"""Losses of nets with several outputs, against straightforward formulations."""

import re

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from pose.config import Target, experiment
from pose.datasets.coco import COCO
from pose.models import create_model
from pose.support.errors import PoseError
from pose.targets.losses import LOSSES, cpn, efficientpose, mse
from pose.training.step import batch_loss

SIZE = (16, 12)
BATCH, KEYPOINTS = 2, len(COCO)


@pytest.fixture
def people() -> tuple[Tensor, Tensor]:
    """Joints (2, 17, 2) of crops of 64x48, well inside, and which of them are visible."""
    rng = np.random.default_rng(0)
    joints = rng.uniform((12, 12), (36, 52), (BATCH, KEYPOINTS, 2))
    visible = rng.random((BATCH, KEYPOINTS)) < 0.7
    return torch.from_numpy(joints).float(), torch.from_numpy(visible).float()


def outputs(number: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return list(torch.rand(number, BATCH, KEYPOINTS, *SIZE, generator=generator))


def target(**changes: float) -> Target:
    return Target(**{"sigma": 1.0, "stride": 4, "offset": 0.0, "peak": 1.0} | changes)


def gaussian(joint: np.ndarray, size: tuple[int, int], sigma: float, stride: int) -> np.ndarray:
    """A whole Gaussian around the nearest pixel, cut to the square of 3 sigma."""
    x, y = np.floor(joint / stride + 0.5)
    rows, columns = np.mgrid[: size[0], : size[1]]
    near = (abs(rows - y) <= 3 * sigma) & (abs(columns - x) <= 3 * sigma)
    return np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2)) * near


def test_every_stack_of_an_hourglass_is_supervised_alike(people):
    joints, visible = people
    maps = outputs(3)
    expected = 0.0
    for prediction in maps:
        for b, k in np.ndindex(BATCH, KEYPOINTS):
            if visible[b, k]:
                wanted = gaussian(joints[b, k].numpy(), SIZE, 1.0, 4)
                error = (prediction[b, k].numpy() - wanted) ** 2
                expected += 0.5 * error.mean() / (BATCH * KEYPOINTS)
    assert mse(maps, joints, visible, target()).item() == pytest.approx(expected, rel=1e-5)
    assert mse(maps[:1], joints, visible, target()) < mse(maps, joints, visible, target())


def test_cpn_sharpens_from_level_to_level_and_mines_the_eight_hardest_keypoints(people):
    joints, visible = people
    *global_maps, refined = outputs(5)
    expected = 0.0
    for prediction, kernel in zip([*global_maps, refined], (15, 11, 9, 7, 7), strict=True):
        errors = np.zeros((BATCH, KEYPOINTS))
        for b, k in np.ndindex(BATCH, KEYPOINTS):
            wanted = np.zeros(SIZE, np.float32)
            if visible[b, k]:
                x, y = (joints[b, k] // 4).int().tolist()
                wanted = lone_pixel_blurred(x, y, kernel)
            errors[b, k] = ((prediction[b, k].numpy() - 255 * wanted) ** 2).mean()
        if prediction is refined:
            hardest = np.sort(errors * visible.numpy(), axis=1)[:, -8:]
            expected += hardest.mean()
        else:
            expected += 0.5 * errors.mean()
    settings = target(offset=0.5, peak=255.0)
    loss = cpn([*global_maps, refined], joints, visible, settings)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def lone_pixel_blurred(x: int, y: int, kernel: int) -> np.ndarray:
    """The target as CPN's code makes it, far from the edges, at which OpenCV would reflect."""
    room = kernel // 2
    lone = np.zeros((SIZE[0] + 2 * room, SIZE[1] + 2 * room), np.float32)
    lone[y + room, x + room] = 1
    blurred = cv2.GaussianBlur(lone, (kernel, kernel), 0)
    inside = blurred[room : room + SIZE[0], room : room + SIZE[1]]
    return inside / blurred.max()


def test_efficientpose_learns_fields_of_limbs_and_maps_at_both_resolutions(people):
    joints, visible = people
    coarse, size, generator = (8, 6), (64, 48), torch.Generator().manual_seed(2)
    limbs = COCO.skeleton
    fields = torch.rand(BATCH, 2 * len(limbs), *coarse, generator=generator)
    small = torch.rand(BATCH, KEYPOINTS, *coarse, generator=generator)
    large = torch.rand(BATCH, KEYPOINTS, *size, generator=generator)
    expected = 0.0
    for b, k in np.ndindex(BATCH, KEYPOINTS):
        for maps, shape, sigma, stride in ((small, coarse, 0.5, 8), (large, size, 4.0, 1)):
            if visible[b, k]:
                wanted = gaussian(joints[b, k].numpy(), shape, sigma, stride)
                error = (maps[b, k].numpy() - wanted) ** 2
                expected += 0.5 * error.mean() / (BATCH * KEYPOINTS)
    for b in range(BATCH):
        for number, (first, last) in enumerate(limbs):
            if not (visible[b, first] and visible[b, last]):
                continue
            wanted = limb_field(joints[b, first].numpy() / 8, joints[b, last].numpy() / 8, coarse)
            error = (fields[b, 2 * number : 2 * number + 2].numpy() - wanted) ** 2
            expected += 0.5 * error.sum() / fields.numel()
    loss = efficientpose([fields, small, large], joints, visible, target(stride=1, sigma=4.0))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def limb_field(start: np.ndarray, end: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(2, h, w): the limb's direction on the pixels beside it, at most one off its line."""
    length = np.linalg.norm(end - start)
    direction = (end - start) / length
    field = np.zeros((2, *size))
    for row, column in np.ndindex(*size):
        way = np.array([column, row]) - start
        beside = 0 <= way @ direction <= length
        if beside and abs(way[0] * direction[1] - way[1] * direction[0]) <= 1:
            field[:, row, column] = direction
    return field


@pytest.mark.parametrize("loss", ["cpn", "efficientpose"])
def test_a_loss_of_other_nets_is_named(people, loss):
    with pytest.raises(PoseError, match=f"train.loss {loss} is of nets with . outputs"):
        LOSSES[loss](outputs(1), *people, target())


def test_a_target_of_another_stride_than_the_nets_is_named(people):
    settings = experiment("lpn-50", "coco", (64, 64), overrides={"target": {"stride": 8}})
    batch = {"image": torch.zeros(BATCH, 64, 64, 3, dtype=torch.uint8)}
    batch |= dict(zip(("joints", "visible"), people, strict=True))
    message = "target.stride 8: lpn-50 gives heat maps of 16x16 for an input of 64x64; set 4"
    with pytest.raises(PoseError, match=re.escape(message)):
        batch_loss(create_model("lpn-50"), batch, settings, 0, torch.device("cpu"))
