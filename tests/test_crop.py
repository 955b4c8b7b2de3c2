"""Crops and joints agree with the reference pipeline, and geometry is its own inverse."""

import json

import cv2
import numpy as np
import pytest
import torch
from reference_fill import fixtures

from pose.data.crop import affine, apply, crop_person, inverse, mirror, mirror_joints
from pose.data.dataset import read_image
from pose.data.samples import open_split
from pose.targets.heatmap import gaussian_targets

PIPELINES = {
    "coco_256x192": ("coco", (256, 192), 2.0),
    "coco_384x288": ("coco", (384, 288), 3.0),
    "mpii_256x256": ("mpii", (256, 256), 2.0),
}


@pytest.mark.parametrize("name", fixtures("crops"))
def test_affine_maps_and_targets_match_the_reference(name):
    case = {key: np.array(value) for key, value in fixtures("crops")[name].items()}
    _, size, sigma = PIPELINES[name.split()[0]]
    matrix = affine(case["center"], case["scale"], case["rotation"], size)
    np.testing.assert_allclose(matrix, case["trans"], atol=1e-3)
    batch = (torch.tensor(case[key], dtype=torch.float32)[None] for key in ("joints", "vis"))
    targets, weights = gaussian_targets(*batch, (size[0] // 4, size[1] // 4), sigma)
    np.testing.assert_array_equal(weights[0], case["target_weight"])
    np.testing.assert_array_equal(targets[0].flatten(1).argmax(dim=1), case["target_argmax"])
    np.testing.assert_allclose(targets[0].sum(dim=(1, 2)), case["target_sum"], atol=1e-4)


@pytest.mark.parametrize("name", PIPELINES)
def test_crops_of_photographs_match_the_reference(name, photographs, reference):
    if reference is None:
        pytest.skip("needs POSE_TEST_REFERENCE, the full parity fixtures")
    dataset, size, sigma = PIPELINES[name]
    samples = open_split(dataset, photographs / f"{dataset}_mini", "val", size)
    cases = json.loads((reference / f"pipeline_{name}.json").read_text())
    with np.load(reference / f"pipeline_{name}.npz") as arrays:
        for number, case in enumerate(cases):
            expected = {k[: -len("_0")]: arrays[k] for k in arrays if k.endswith(f"_{number}")}
            check_crop(samples, case, photographs, expected, size, sigma)


def check_crop(samples, case, folder, expected, size, sigma):
    """One person's crop, joints and targets are those of the reference."""
    row = int(np.flatnonzero(samples.person_ids == case["annotation"])[0])
    assert samples.image_paths[samples.image_index[row]].endswith(case["file"])

    image = read_image(folder / case["file"])
    center, scale = samples.centers[row], samples.scales[row] * np.float32(case["scale_factor"])
    crop, matrix = crop_person(image, center, scale, size, case["rotation"], case["flip"])
    joints, visible = samples.joints[row], samples.visible[row]
    if case["flip"]:
        width = image.shape[1]
        center = mirror(center, width)
        joints, visible = mirror_joints(joints, visible, width, samples.keypoints.flip_index)
    joints = np.where(visible[:, None] > 0, apply(matrix, joints), joints)

    np.testing.assert_allclose(center, expected["center"], atol=1e-3)
    np.testing.assert_allclose(scale, expected["scale"], atol=1e-5)
    np.testing.assert_allclose(matrix, expected["trans"], atol=1e-3)
    np.testing.assert_allclose(joints, expected["joints"], atol=1e-3)
    np.testing.assert_array_equal(visible, expected["vis"])
    assert np.abs(crop[..., ::-1].astype(int) - expected["crop"]).max() <= 1

    shape = size[0] // 4, size[1] // 4
    batch = torch.from_numpy(joints)[None], torch.from_numpy(visible)[None]
    targets, weights = (x[0].numpy() for x in gaussian_targets(*batch, shape, sigma))
    np.testing.assert_array_equal(weights, expected["target_weight"])
    maps = targets.reshape(len(targets), -1)
    np.testing.assert_array_equal(maps.argmax(axis=1), expected["target_argmax"])
    np.testing.assert_allclose(maps.sum(axis=1), expected["target_sum"], atol=1e-4)
    if weights.any():
        first = targets[weights.argmax()]
        np.testing.assert_allclose(first, expected["target0"], atol=1e-6)


def test_an_upright_box_fills_the_crop():
    matrix = affine(np.float32([100, 50]), np.float32([0.48, 0.64]), 0.0, (256, 192))
    corners = np.array([[100 - 48, 50 - 64], [100 + 48, 50 + 64]])
    np.testing.assert_allclose(apply(matrix, corners), [[0, 0], [192, 256]], atol=1e-3)


def test_inverse_brings_points_back():
    matrix = affine(np.float32([310.5, 222.2]), np.float32([1.2, 1.6]), 37.0, (256, 192))
    points = np.random.default_rng(0).uniform(0, 500, (17, 2))
    np.testing.assert_allclose(apply(inverse(matrix), apply(matrix, points)), points, atol=1e-3)


def test_mirroring_twice_is_the_identity():
    rng = np.random.default_rng(0)
    joints, visible = rng.uniform(1, 99, (4, 2)).astype(np.float32), np.ones(4, np.float32)
    swap = np.array([1, 0, 2, 3])
    once = mirror_joints(joints, visible, 100, swap)
    np.testing.assert_allclose(mirror_joints(*once, 100, swap)[0], joints, atol=1e-4)


def test_a_mirrored_crop_is_the_crop_of_the_mirrored_image():
    image = np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)
    center, scale = np.float32([40, 60]), np.float32([0.3, 0.4])
    crop, _ = crop_person(image, center, scale, (64, 48), 20.0, flip=True)
    other = np.ascontiguousarray(image[:, ::-1])
    expected, _ = crop_person(other, np.float32([90 - 1 - 40, 60]), scale, (64, 48), 20.0)
    np.testing.assert_array_equal(crop, expected)


def crop_by_hand(image, center, scale, size, rotation, flip):
    """The protocol's crop, step by step, with the equations of the affine map solved directly."""
    height, width = size
    if flip:
        image = np.ascontiguousarray(image[:, ::-1])
        center = np.array([image.shape[1] - 1 - center[0], center[1]])
    angle, half = np.deg2rad(rotation), 200 * scale[0] / 2
    first = np.float32(center)  # HRNet keeps the three points in single precision
    second = np.float32(center + np.array([np.sin(angle), -np.cos(angle)]) * half)
    third = second + np.float32([second[1] - first[1], first[0] - second[0]])
    targets = np.array([[width, height], [width, height - width], [0, height - width]]) / 2
    corners = np.column_stack([[first, second, third], np.ones(3)])
    matrix = np.linalg.solve(corners, targets).T
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR), matrix


def test_crops_are_those_of_a_straightforward_formulation(test_data):
    samples = open_split("coco", test_data / "coco_mini", "train", (256, 192))
    rng = np.random.default_rng(0)
    for row in range(0, len(samples), 3):
        image = read_image(samples.image_paths[samples.image_index[row]])
        scale = samples.scales[row] * np.float32(rng.uniform(0.65, 1.35))
        rotation, flip = float(rng.uniform(-90, 90)), bool(rng.random() < 0.5)
        box = samples.centers[row], scale, (256, 192), rotation, flip
        crop, matrix = crop_person(image, *box)
        expected, by_hand = crop_by_hand(image, *box)
        np.testing.assert_allclose(matrix, by_hand, atol=1e-6)
        np.testing.assert_array_equal(crop, expected)


def test_a_joint_projected_into_a_crop_and_back_returns(test_data):
    samples = open_split("coco", test_data / "coco_mini", "val", (256, 192))
    rng = np.random.default_rng(0)
    for row in range(len(samples)):
        matrix = affine(samples.centers[row], samples.scales[row], rng.uniform(-90, 90), (256, 192))
        joints = samples.joints[row]
        np.testing.assert_allclose(apply(inverse(matrix), apply(matrix, joints)), joints, atol=1e-2)
