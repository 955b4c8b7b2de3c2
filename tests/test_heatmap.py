"""Targets, loss and input against straightforward formulations of the protocol."""

import cv2
import numpy as np
import pytest
import torch

from pose.config import Image
from pose.targets.heatmap import blurred_targets, gaussian_targets, mse_loss, normalise


def target_by_hand(x, y, height, width, sigma):
    """One joint's map and weight, pixel by pixel."""
    mu_x, mu_y = int(x / 4 + 0.5), int(y / 4 + 0.5)
    reach, target = 3 * sigma, np.zeros((height, width), np.float32)
    for row in range(max(0, mu_y - reach), min(height, mu_y + reach + 1)):
        for column in range(max(0, mu_x - reach), min(width, mu_x + reach + 1)):
            squared = (column - mu_x) ** 2 + (row - mu_y) ** 2
            target[row, column] = np.exp(-squared / (2 * sigma**2))
    outside = mu_x - reach >= width or mu_y - reach >= height
    outside |= mu_x + reach + 1 < 0 or mu_y + reach + 1 < 0
    return target, 0.0 if outside else 1.0


@pytest.mark.parametrize("sigma", [2, 3])
def test_targets_equal_the_pixelwise_definition(sigma):
    rng = np.random.default_rng(0)
    joints = rng.uniform(-60, 280, (2, 40, 2)).astype(np.float32)
    joints[0, :4] = [[-26.1, 9], [-28, 9], [-30, 9], [-34, 9]]  # about the edge of vanishing
    visible = np.ones((2, 40), np.float32)
    visible[1, 7] = 0
    batch = torch.from_numpy(joints), torch.from_numpy(visible)
    targets, weights = gaussian_targets(*batch, (64, 48), sigma)
    for b, k in np.ndindex(2, 40):
        target, weight = target_by_hand(*joints[b, k].tolist(), 64, 48, sigma)
        seen = visible[b, k]
        assert weights[b, k] == weight * seen
        np.testing.assert_allclose(targets[b, k], target * seen, atol=1e-6)


@pytest.mark.parametrize("kernel", [15, 11, 9, 7])
def test_blurred_targets_are_a_lone_pixel_under_opencvs_blur(kernel):
    joints = torch.tensor([[[100.0, 141.0], [90.6, 200.3], [90, 90]]])
    maps, weights = blurred_targets(
        joints, torch.tensor([[1.0, 1, 0]]), (64, 48), kernel, offset=0.5
    )
    for k, (x, y) in enumerate([(25, 35), (22, 50)]):  # the pixels that hold the joints
        lone = np.zeros((64, 48), np.float32)
        lone[y, x] = 1
        blurred = cv2.GaussianBlur(lone, (kernel, kernel), 0)
        np.testing.assert_allclose(maps[0, k], blurred / blurred.max(), atol=1e-6)
    assert weights.tolist() == [[1, 1, 0]] and not maps[0, 2].any()


def test_a_pixel_stands_for_its_corner_or_for_its_middle():
    joints, visible = torch.tensor([[[42.0, 42.0]]]), torch.ones(1, 1)
    for offset, pixel in ((0.0, 11), (0.5, 10)):  # 42 / 4 is 10.5
        maps, _ = gaussian_targets(joints, visible, (64, 48), 2, offset=offset)
        assert divmod(maps[0, 0].argmax().item(), 48) == (pixel, pixel)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_an_unbiased_target_is_centred_at_the_joint_itself(offset):
    joints = torch.rand(2, 17, 2, generator=torch.Generator().manual_seed(0)) * 300 - 40
    visible = (torch.arange(34) % 5 > 0).float().view(2, 17)
    exact, weights = gaussian_targets(joints, visible, (64, 48), 2, 4, offset, unbiased=True)
    rounded, expected = gaussian_targets(joints, visible, (64, 48), 2, 4, offset)
    assert torch.equal(weights, expected) and not torch.equal(exact, rounded)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(48), indexing="ij")
    for b, k in np.ndindex(2, 17):
        x, y = joints[b, k] / 4 - offset
        by_hand = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2**2))
        by_hand *= ((columns - x).abs() <= 6) & ((rows - y).abs() <= 6)
        torch.testing.assert_close(exact[b, k], by_hand * weights[b, k])


def test_targets_of_any_stride_have_the_inputs_size_over_it():
    maps, _ = gaussian_targets(torch.tensor([[[9.0, 5.0]]]), torch.ones(1, 1), (16, 12), 1, 1)
    assert maps[0, 0].argmax().item() == 5 * 12 + 9


def test_loss_is_the_mean_over_keypoints_of_half_the_weighted_error():
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.rand(2, 3, 5, 8, 6, generator=generator)
    weights = torch.tensor([[1, 0, 1, 1, 0], [1, 1, 0, 1, 0], [0, 1, 1, 1, 0.0]])
    each = []
    for k in range(5):
        w = weights[:, k, None, None]
        each.append(0.5 * ((prediction[:, k] * w - target[:, k] * w) ** 2).mean())
    torch.testing.assert_close(mse_loss(prediction, target, weights), sum(each) / 5)


def test_images_are_scaled_to_imagenets_statistics():
    images = torch.randint(0, 256, (2, 8, 6, 3), dtype=torch.uint8)
    result = normalise(images)
    assert result.shape == (2, 3, 8, 6)
    red = (images[1, 2, 3, 0].item() / 255 - 0.485) / 0.229
    assert result[1, 0, 2, 3].item() == pytest.approx(red, abs=1e-6)
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_other_projects_read_their_images_in_another_order_and_scale():
    images = torch.randint(0, 256, (2, 8, 6, 3), dtype=torch.uint8)
    statistics = Image(channels="bgr", mean=(0.1, 0.2, 0.3), std=(1, 2, 4))
    blue, green, _ = normalise(images, statistics)[1, :, 2, 3].tolist()
    assert blue == pytest.approx(images[1, 2, 3, 2].item() / 255 - 0.1, abs=1e-6)
    assert green == pytest.approx((images[1, 2, 3, 1].item() / 255 - 0.2) / 2, abs=1e-6)
