"""Flip test and decoding agree with the reference and invert the targets."""

import numpy as np
import pytest
import torch

from pose.data.keypoints import COCO
from pose.evaluation.decode import decode, peak
from pose.evaluation.flip_test import flip_average, flip_back
from pose.heatmap import gaussian_targets


@pytest.fixture(scope="module")
def arrays(reference):
    with np.load(reference / "pipeline_decode.npz") as content:
        return {name: torch.from_numpy(content[name]) for name in content}


def test_flip_back_and_average_match_the_reference(arrays):
    back = flip_back(arrays["flipped"], COCO.flip_index, shift=1)
    torch.testing.assert_close(back, arrays["flipped_back_shifted"], rtol=0, atol=0)
    images = torch.zeros(4, 3, 1, 2)
    images[..., 1] = 1  # tells the crop (dark on the left) from its mirror image

    def model(images):
        return arrays["flipped"] if images[0, 0, 0, 0] else arrays["heatmaps"]

    average = flip_average(model, images, COCO, shift=1)
    torch.testing.assert_close(average, arrays["average"], rtol=0, atol=0)


@pytest.mark.parametrize("suffix", ["", "_average"])
def test_decoding_matches_the_reference(arrays, suffix):
    maps = arrays["average"] if suffix else arrays["heatmaps"]
    coords, scores = decode(maps, arrays["center"], arrays["scale"])
    torch.testing.assert_close(coords, arrays["coords" + suffix], rtol=0, atol=1e-3)
    torch.testing.assert_close(scores, arrays["maxvals" + suffix][..., 0], rtol=0, atol=0)


def test_flipping_back_twice_without_shift_is_the_identity():
    maps = torch.rand(2, 17, 8, 6)
    twice = flip_back(flip_back(maps, COCO.flip_index, 0), COCO.flip_index, 0)
    assert torch.equal(twice, maps)


def test_a_target_decodes_to_within_half_a_heatmap_pixel():
    joints = torch.rand(1, 17, 2) * torch.tensor([160.0, 220.0]) + 16
    targets, _ = gaussian_targets(joints, torch.ones(1, 17), (64, 48), sigma=2)
    peaks, scores = peak(targets)
    assert (peaks - joints / 4).abs().max() <= 0.5 + 1e-5
    assert torch.equal(scores, torch.ones(1, 17))


def test_the_quarter_offset_points_to_the_higher_neighbour_and_spares_the_border():
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, 0, 4, 3], maps[0, 0, 4, 4], maps[0, 0, 3, 3] = 1.0, 0.5, 0.5
    maps[0, 1, 4, 1], maps[0, 1, 4, 2] = 1.0, 0.5
    assert peak(maps)[0].tolist() == [[[3.25, 3.75], [1, 4]]]
