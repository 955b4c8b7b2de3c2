"""Flip test and decoding agree with the reference and invert the targets."""

import cv2
import numpy as np
import pytest
import torch
from reference_fill import difference, fixtures

from pose.datasets.coco import COCO
from pose.datasets.mpii import MPII
from pose.evaluation.dark import dark
from pose.evaluation.decode import decode
from pose.evaluation.flip_test import flip_average, flip_back
from pose.evaluation.locate import argmax, quarter, soft_argmax
from pose.targets.heatmap import gaussian_targets


@pytest.fixture(scope="module")
def arrays(reference):
    """The reference's heat maps and joints; without the full fixtures there are none."""
    if reference is None:
        return None
    with np.load(reference / "pipeline_decode.npz") as content:
        return {name: torch.from_numpy(content[name]) for name in content}


def flipped_back_and_averaged(heatmaps, flipped):
    images = torch.zeros(len(heatmaps), 3, 1, 2)
    images[..., 1] = 1  # tells the crop (dark on the left) from its mirror image

    def model(images):
        return flipped if images[0, 0, 0, 0] else heatmaps

    back = flip_back(flipped, COCO.flip_index, shift=1)
    return back, flip_average(model, images, COCO, shift=1)


def test_flip_back_and_average_match_the_reference(arrays):
    samples = fixtures("decoding")
    rows = (torch.tensor(samples[name])[None, :, None] for name in ("heatmaps", "flipped"))
    expected = samples["flipped_back_shifted"], samples["average"]
    for ours, sample in zip(flipped_back_and_averaged(*rows), expected, strict=True):
        assert difference(ours[0, :, 0].numpy(), sample) < 1e-7
    if arrays:
        back, average = flipped_back_and_averaged(arrays["heatmaps"], arrays["flipped"])
        assert torch.equal(back, arrays["flipped_back_shifted"])
        assert torch.equal(average, arrays["average"])


def test_decoding_matches_the_reference(arrays):
    for joint in fixtures("decoding")["joints"]:
        around, (left, top) = torch.tensor(joint["around"]), joint["corner"]
        heatmap = torch.full((1, 1, 64, 48), around.min().item())  # all that decoding looks at
        heatmap[0, 0, top : top + len(around), left : left + around.shape[1]] = around
        box = torch.tensor([joint["center"]]), torch.tensor([joint["scale"]])
        coords, scores = decode(heatmap, *box)
        torch.testing.assert_close(coords[0, 0], torch.tensor(joint["coords"]), rtol=0, atol=1e-3)
        assert scores.item() == torch.tensor(joint["maxval"]).item()
    for maps, suffix in (("heatmaps", ""), ("average", "_average")) if arrays else ():
        coords, scores = decode(arrays[maps], arrays["center"], arrays["scale"])
        torch.testing.assert_close(coords, arrays["coords" + suffix], rtol=0, atol=1e-3)
        assert torch.equal(scores, arrays["maxvals" + suffix][..., 0])


@pytest.mark.parametrize("keypoints", [COCO, MPII], ids=["coco", "mpii"])
def test_flipping_back_twice_without_shift_is_the_identity(keypoints):
    maps = torch.rand(2, len(keypoints), 8, 6)
    twice = flip_back(flip_back(maps, keypoints.flip_index, 0), keypoints.flip_index, 0)
    assert torch.equal(twice, maps)


@pytest.mark.parametrize("shift", [0, 1, 2])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_average_in_the_cache_is_the_mean_with_the_maps_flipped_back(shift, memory):
    images = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)  # mirrored, the first pixel is 1
    maps = torch.randn(2, 7, len(COCO), 16, 12)  # seven persons fill no second chunk
    straight, mirrored = (part.contiguous(memory_format=memory) for part in maps)
    outputs = {0: straight, 1: mirrored}
    average = flip_average(lambda x: outputs[int(x[0, 0, 0, 0])], images, COCO, shift)
    assert torch.equal(average, (straight + flip_back(mirrored, COCO.flip_index, shift)) / 2)
    assert average.is_contiguous()  # as numpy's argmax wants it


@pytest.mark.parametrize("keypoints", [COCO, MPII], ids=["coco", "mpii"])
def test_a_net_of_stride_1_that_sees_no_sides_gives_the_same_maps_for_crop_and_mirror(keypoints):
    """Each joint's map is a colour of the image; left and right joints have the same colour."""
    index = torch.arange(len(keypoints))
    colour = torch.minimum(index, torch.as_tensor(keypoints.flip_index)) % 3
    images = torch.rand(2, 3, 32, 24)
    average = flip_average(lambda images: images[:, colour], images, keypoints, shift=0)
    assert torch.equal(average, images[:, colour])


def joint_by_joint(heatmaps, locate):
    """Joints and scores of each map on its own, by a function of one NumPy map."""
    maps = heatmaps.numpy()
    found = [[locate(channel) for channel in sample] for sample in maps]
    joints = np.array([[joint for joint, _ in sample] for sample in found])
    return joints, np.array([[score for _, score in sample] for sample in found])


def highest(heatmap):
    y, x = divmod(int(heatmap.argmax()), heatmap.shape[1])
    return np.array([x, y] if heatmap.max() > 0 else [0, 0], dtype=float), heatmap.max()


def shifted(heatmap, x, y):
    """The quarter pixel towards the higher neighbours of (x, y)."""
    height, width = heatmap.shape
    if not (1 < x < width - 1 and 1 < y < height - 1):
        return np.zeros(2)
    dx = heatmap[y, x + 1] - heatmap[y, x - 1]
    dy = heatmap[y + 1, x] - heatmap[y - 1, x]
    return 0.25 * np.sign([dx, dy])


def quarter_of_one(heatmap):
    joint, score = highest(heatmap)
    return joint + shifted(heatmap, *joint.astype(int)), score


def soft_argmax_of_one(heatmap):
    weights = np.exp(160.0 * (heatmap.astype(float) - heatmap.max()))
    y, x = np.indices(heatmap.shape)
    mean = np.array([(weights * axis).sum() for axis in (x, y)]) / weights.sum()
    column, row = np.round(mean).astype(int)
    return mean + shifted(heatmap, column, row), heatmap[row, column]


def dark_of_one(heatmap, taps=11):
    joint, score = highest(heatmap)
    x, y = joint.astype(int)
    height, width = heatmap.shape
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return joint, score
    padded = np.pad(heatmap.astype(float), taps)
    smooth = cv2.GaussianBlur(padded, (taps, taps), 0)[taps:-taps, taps:-taps]
    log = np.log(np.maximum(smooth * score / smooth.max(), 1e-10))
    gradient = np.array([log[y, x + 1] - log[y, x - 1], log[y + 1, x] - log[y - 1, x]]) / 2
    xx = (log[y, x + 2] - 2 * log[y, x] + log[y, x - 2]) / 4
    yy = (log[y + 2, x] - 2 * log[y, x] + log[y - 2, x]) / 4
    xy = (log[y + 1, x + 1] - log[y - 1, x + 1] - log[y + 1, x - 1] + log[y - 1, x - 1]) / 4
    return joint - np.linalg.solve([[xx, xy], [xy, yy]], gradient), score


def blobs(joints_per_sample=17, size=(64, 48), sigma=2.0, seed=0):
    """Smooth maps with noise as nets give them, a third of the peaks at or beyond the border."""
    rng = np.random.default_rng(seed)
    height, width = size
    y, x = np.indices(size)
    shape = (3, joints_per_sample, 1, 1)
    at_x, at_y = rng.uniform(-4, width + 4, shape), rng.uniform(-4, height + 4, shape)
    peaks = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * sigma**2))
    maps = rng.uniform(0.2, 1, shape) * peaks + rng.normal(0, 1e-3, (*shape[:2], *size))
    maps[0, 0] = -1 - rng.random(size)  # no positive value
    return torch.from_numpy(maps.astype(np.float32))


@pytest.mark.parametrize("maps", ["blobs", "noise"])
@pytest.mark.parametrize(
    ("batched", "one"), [(argmax, highest), (quarter, quarter_of_one)], ids=["argmax", "quarter"]
)
def test_batched_decoding_equals_joint_by_joint(maps, batched, one):
    maps = blobs() if maps == "blobs" else torch.rand(4, 17, 64, 48)
    for found, expected in zip(batched(maps), joint_by_joint(maps, one), strict=True):
        np.testing.assert_array_equal(found.numpy(), expected)


def test_batched_soft_argmax_equals_joint_by_joint():
    joints, scores = soft_argmax(blobs(), beta=160.0)
    expected, values = joint_by_joint(blobs(), soft_argmax_of_one)
    np.testing.assert_allclose(joints, expected, atol=1e-3)
    np.testing.assert_array_equal(scores, values)


@pytest.mark.parametrize(("sigma", "taps"), [(2.0, 11), (3.0, 17)])
def test_batched_dark_equals_joint_by_joint(sigma, taps):
    maps = blobs(sigma=sigma)
    joints, scores = dark(maps, sigma)
    expected, values = joint_by_joint(maps, lambda heatmap: dark_of_one(heatmap, taps))
    np.testing.assert_allclose(joints, expected, atol=2e-3)
    np.testing.assert_array_equal(scores, values)


def test_a_gaussian_around_any_point_decodes_to_within_a_quarter_pixel_and_by_dark_exactly():
    y, x = torch.meshgrid(torch.arange(64), torch.arange(48), indexing="ij")
    summits = torch.rand(4, 17, 2) * torch.tensor([36.0, 52.0]) + 6
    distance = torch.stack([x, y], dim=-1) - summits[:, :, None, None]
    maps = torch.exp(-distance.square().sum(dim=-1) / 8)
    assert (quarter(maps)[0] - summits).abs().max() <= 0.25 + 1e-4
    assert (dark(maps, 2.0)[0] - summits).abs().max() < 0.01


@pytest.mark.parametrize("method", ["quarter", "argmax", "dark", "soft_argmax"])
@pytest.mark.parametrize(("stride", "size"), [(4, (64, 48)), (1, (256, 192))])
def test_a_target_decodes_to_its_centre_half_a_pixel_from_the_joint_at_most(method, stride, size):
    joints = torch.rand(1, 17, 2) * torch.tensor([150.0, 214.0]) + 21  # whole Gaussians
    targets, _ = gaussian_targets(joints, torch.ones(1, 17), size, sigma=2, stride=stride)
    center, scale = torch.tensor([[96.0, 128.0]]), torch.tensor([[192.0, 256.0]]) / 200
    decoded, scores = decode(targets, center, scale, method)  # the box is the crop itself
    centres = (joints / stride + 0.5).floor()  # of the Gaussians, as the protocol rounds them
    assert (decoded / stride - centres).abs().max() < 0.01
    assert (decoded - joints).abs().max() <= stride * (0.5 + 0.01)
    assert torch.equal(scores, torch.ones(1, 17))


def test_an_unbiased_target_decodes_to_the_joint_a_quarter_pixel_off_at_most():
    joints = torch.rand(1, 17, 2) * torch.tensor([150.0, 214.0]) + 21
    targets, _ = gaussian_targets(joints, torch.ones(1, 17), (64, 48), sigma=2, unbiased=True)
    assert (4 * quarter(targets)[0] - joints).abs().max() <= 4 * 0.25 + 1e-3
    assert (4 * dark(targets, 2.0)[0] - joints).abs().max() < 0.1


def test_the_quarter_offset_points_to_the_higher_neighbour_and_spares_the_border():
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, 0, 4, 3], maps[0, 0, 4, 4], maps[0, 0, 3, 3] = 1.0, 0.5, 0.5
    maps[0, 1, 4, 1], maps[0, 1, 4, 2] = 1.0, 0.5
    assert quarter(maps)[0].tolist() == [[[3.25, 3.75], [1, 4]]]
