"""Random crops follow the protocol's distributions and depend on (seed, epoch, sample) alone."""

import numpy as np
import pytest

from pose.config import experiment
from pose.data.augment import generator, half_body, random_crop
from pose.datasets.coco import COCO

ASPECT = 192 / 256
BOX = np.float32([50, 60]), np.float32([0.75, 1.0])
JOINTS = np.random.default_rng(0).uniform(0, 100, (17, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def augmentation():
    return experiment("eeffpose-p0-order8", "coco", (256, 192)).augmentation


def crops(augmentation, visible, count=4000):
    person = *BOX, JOINTS, visible, COCO, ASPECT
    return [random_crop(generator(0, 0, index), augmentation, *person) for index in range(count)]


def test_streams_differ_by_seed_epoch_and_sample_and_repeat():
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1)]
    draws = [generator(*key).random(4).tolist() for key in keys]
    assert len({tuple(numbers) for numbers in draws}) == len(keys)
    assert draws == [generator(*key).random(4).tolist() for key in keys]


def test_frequencies_and_ranges_are_the_protocols(augmentation):
    few = np.zeros(17, np.float32)
    few[:8] = 1  # too few joints for half bodies
    drawn = crops(augmentation, few)
    factors = np.array([crop.scale[0] / BOX[1][0] for crop in drawn])
    rotations = np.array([crop.rotation for crop in drawn])
    assert all((crop.center == BOX[0]).all() for crop in drawn)
    assert np.mean([crop.flip for crop in drawn]) == pytest.approx(0.5, abs=0.03)
    assert np.mean(rotations != 0) == pytest.approx(0.6, abs=0.03)
    assert rotations[rotations != 0].std() == pytest.approx(43, abs=2)  # 45, clipped at 90
    assert np.abs(rotations).max() == pytest.approx(90)
    # a normal of mean 1 and deviation 0.35 lies beyond 1 -+ 0.35 with probability 0.317
    assert (factors.min(), factors.max()) == pytest.approx((0.65, 1.35))
    assert np.mean((factors > 0.6501) & (factors < 1.3499)) == pytest.approx(0.683, abs=0.03)


def test_half_bodies_are_taken_from_well_visible_persons_only(augmentation):
    drawn = crops(augmentation, np.ones(17, np.float32))
    upper = [np.allclose(crop.center, JOINTS[:11].mean(axis=0)) for crop in drawn]
    lower = [np.allclose(crop.center, JOINTS[11:].mean(axis=0)) for crop in drawn]
    assert np.mean(upper) + np.mean(lower) == pytest.approx(0.3, abs=0.03)
    assert np.sum(upper) / (np.sum(upper) + np.sum(lower)) == pytest.approx(0.69, abs=0.04)


def test_a_half_with_two_joints_or_fewer_gives_way_to_the_other():
    visible = np.zeros(17, np.float32)
    visible[:9] = visible[15:] = 1  # nine upper joints, two lower ones
    center, scale = half_body(JOINTS, visible, COCO, upper=False, aspect=ASPECT)
    np.testing.assert_allclose(center, JOINTS[:9].mean(axis=0), rtol=1e-6)
    width, height = np.ptp(JOINTS[:9], axis=0) * 1.5 / 200
    np.testing.assert_allclose(scale[0], max(width, height * ASPECT), rtol=1e-5)
    np.testing.assert_allclose(scale[0] / scale[1], ASPECT, rtol=1e-6)
