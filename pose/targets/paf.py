"""Part affinity fields (Cao et al., CVPR 2017): where each limb lies and which way it points."""

from __future__ import annotations

import torch
from torch import Tensor

from pose.config.datasets import DATASETS
from pose.datasets import dataset_of
from pose.support.errors import PoseError
from pose.targets.heatmap import constant


def limbs_of(num_keypoints: int) -> tuple[tuple[int, int], ...]:
    """The skeleton of the data sets with that many joints: MPII 15 limbs, COCO 19.

    Raises PoseError where none has as many, or where they have different ones.
    """
    known = [dataset_of(name).keypoints for name in DATASETS]
    skeletons = {keypoints.skeleton for keypoints in known if len(keypoints) == num_keypoints}
    if not skeletons:
        raise PoseError(f"no skeleton of {num_keypoints} keypoints is known")
    if len(skeletons) > 1:
        raise PoseError(f"several data sets have {num_keypoints} keypoints, but other skeletons")
    return skeletons.pop()


def part_affinity_fields(
    joints: Tensor,
    visible: Tensor,
    limbs: tuple[tuple[int, int], ...],
    size: tuple[int, int],
    width: float,
    stride: int,
) -> tuple[Tensor, Tensor]:
    """Fields (B, 2 L, h, w) and weights (B, L), float32, for L limbs given as pairs of joints.

    ``joints`` (B, K, 2) are crop pixels, ``visible`` (B, K) 0 or 1, ``size`` is (h, w). Channels
    2 l and 2 l + 1 hold x and y of the unit vector from limb l's first joint to its second, at
    every pixel beside the limb and at most ``width`` field pixels off its line, else 0. Field and
    weight are 0 for limbs with a joint that is not visible; a limb without length has no field.
    """
    first, second = constant(limbs, joints.device).T
    start, end = joints[:, first].float() / stride, joints[:, second].float() / stride
    weights = (visible[:, first] * visible[:, second]).float()
    length = (end - start).norm(dim=-1, keepdim=True)
    direction = (end - start) / length.clamp_min(1e-6)
    y = torch.arange(size[0], device=joints.device)[:, None] - start[..., 1, None, None]
    x = torch.arange(size[1], device=joints.device) - start[..., 0, None, None]
    dx, dy = direction[..., None, None].unbind(2)  # each (B, L, 1, 1)
    along, across = x * dx + y * dy, x * dy - y * dx  # pixels from the first joint
    beside = (along >= 0) & (along <= length[..., None]) & (across.abs() <= width)
    beside = beside * weights[..., None, None]
    return torch.stack([beside * dx, beside * dy], dim=2).flatten(1, 2), weights
