"""Part affinity fields point along the limbs, as a pixel-by-pixel formulation says."""

import numpy as np
import pytest
import torch

from pose.datasets.coco import COCO
from pose.datasets.mpii import MPII
from pose.support.errors import PoseError
from pose.targets.paf import limbs_of, part_affinity_fields


def field_of(start, end, size, width):
    """One limb's field (2, h, w), pixel by pixel; joints are in field pixels."""
    field = np.zeros((2, *size))
    length = np.linalg.norm(end - start)
    direction = (end - start) / length
    for y in range(size[0]):
        for x in range(size[1]):
            to_pixel = np.array([x, y]) - start
            along = to_pixel @ direction
            off_line = np.linalg.norm(to_pixel - along * direction)
            if 0 <= along <= length and off_line <= width:
                field[:, y, x] = direction
    return field


@pytest.mark.parametrize(("keypoints", "stride"), [(MPII, 8), (COCO, 4)])
def test_fields_equal_a_pixel_by_pixel_formulation(keypoints, stride):
    random = np.random.RandomState(0)
    size = (24, 18)
    scale = np.array([size[1], size[0]]) * stride
    joints = random.uniform(-0.2, 1.2, (2, len(keypoints), 2)) * scale
    visible = random.randint(0, 2, (2, len(keypoints)))
    visible[:, list(keypoints.skeleton[0])] = 1
    fields, weights = part_affinity_fields(
        torch.tensor(joints, dtype=torch.float32),
        torch.tensor(visible),
        keypoints.skeleton,
        size,
        width=1.5,
        stride=stride,
    )
    assert fields.dtype == weights.dtype == torch.float32
    assert fields.shape == (2, 2 * len(keypoints.skeleton), *size)
    for person in range(2):
        for limb, (a, b) in enumerate(keypoints.skeleton):
            both = visible[person, a] * visible[person, b]
            assert weights[person, limb] == both
            start, end = joints[person, [a, b]] / stride
            expected = both * field_of(start, end, size, 1.5)
            ours = fields[person, 2 * limb : 2 * limb + 2].numpy()
            np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_mirrored_joints_give_the_mirrored_field_with_x_reversed():
    width, stride = 16, 4
    joints = torch.tensor([[[9.0, 14.0], [41.0, 38.0]]])
    mirrored = joints.clone()
    mirrored[..., 0] = (width - 1) * stride - joints[..., 0]
    seen = torch.ones(1, 2)
    fields, _ = part_affinity_fields(joints, seen, ((0, 1),), (12, width), 1.2, stride)
    flipped, _ = part_affinity_fields(mirrored, seen, ((0, 1),), (12, width), 1.2, stride)
    torch.testing.assert_close(flipped.flip(-1), fields * torch.tensor([-1.0, 1.0])[:, None, None])


def test_a_limb_without_length_has_no_field():
    joints = torch.full((1, 2, 2), 20.0)
    fields, weights = part_affinity_fields(joints, torch.ones(1, 2), ((0, 1),), (8, 8), 2.0, 4)
    assert not fields.any()
    assert weights.tolist() == [[1.0]]


def test_limbs_are_the_skeleton_s():
    assert limbs_of(16) == MPII.skeleton
    assert len(limbs_of(17)) == 19
    with pytest.raises(PoseError, match="no skeleton of 5 keypoints"):
        limbs_of(5)
