"""The losses of a batch: from a network's outputs and the joints to one number.

Each takes the outputs [(B, C, h, w), ...] of a training forward pass in float32, the prediction
last, ``joints`` (B, K, 2) in crop pixels and ``visible`` (B, K), 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pose.config import Target
from pose.support.errors import PoseError
from pose.targets.heatmap import blurred_targets, gaussian_targets, mse_loss
from pose.targets.paf import limbs_of, part_affinity_fields

Loss = Callable[[list[Tensor], Tensor, Tensor, Target], Tensor]

CPN_KERNELS = (15, 11, 9, 7)  # of the targets of GlobalNet's outputs, coarsest level first
CPN_HARD = 8  # keypoints of a person that RefineNet learns from
LIMB_WIDTH = 1.0  # pixels of a field on each side of a limb, as in OpenPose at the same stride


def mse(outputs: list[Tensor], joints: Tensor, visible: Tensor, target: Target) -> Tensor:
    """The sum of every output's error from the same Gaussians (HRNet; Hourglass's stacks)."""
    if len({output.shape for output in outputs}) > 1:
        raise PoseError("train.loss mse is of nets whose outputs are alike; set the recipe's own")
    maps, weights = _gaussians(outputs[-1], joints, visible, target)
    return sum(mse_loss(output, maps, weights) for output in outputs)


def cpn(outputs: list[Tensor], joints: Tensor, visible: Tensor, target: Target) -> Tensor:
    """Half the mean squared error of each GlobalNet output, and RefineNet's over hard keypoints.

    GlobalNet learns empty maps for keypoints that are not visible; RefineNet's error is averaged
    over each person's :data:`CPN_HARD` visible keypoints with the largest error. The global
    outputs come coarsest level first (GengDavid/pytorch-cpn; Chen et al., CVPR 2018, section 3).
    """
    _require_outputs(len(CPN_KERNELS) + 1, outputs, "cpn")
    *global_outputs, refined = outputs
    loss = refined.new_zeros(())
    for output, kernel in zip(global_outputs, CPN_KERNELS, strict=True):
        maps, weights = blurred_targets(
            joints, visible, _size(output), kernel, target.stride, target.offset
        )
        maps = target.peak * maps
        loss = loss + 0.5 * (output - maps).square().mean()
    # the last and narrowest Gaussian is RefineNet's too
    errors = (refined - maps).square().mean(dim=(2, 3)) * weights
    return loss + errors.topk(CPN_HARD, dim=1).values.mean()


def efficientpose(outputs: list[Tensor], joints: Tensor, visible: Tensor, target: Target) -> Tensor:
    """The sum of the errors of the part affinity fields and of both confidence maps.

    Fields and first maps are coarser than the prediction; the Gaussians are as wide in the image.
    The authors name a Euclidean loss for all three, but no weights: they are equal here.
    """
    _require_outputs(3, outputs, "efficientpose")
    fields, coarse, fine = outputs
    shrunk = target.stride * fine.shape[-1] // coarse.shape[-1]
    smaller = target.model_copy(
        update={"stride": shrunk, "sigma": target.sigma * target.stride / shrunk}
    )
    limbs = limbs_of(joints.shape[1])
    directions, known = part_affinity_fields(
        joints, visible, limbs, _size(fields), LIMB_WIDTH, shrunk
    )
    return (
        mse_loss(fields, directions, known.repeat_interleave(2, dim=1))
        + mse_loss(coarse, *_gaussians(coarse, joints, visible, smaller))
        + mse_loss(fine, *_gaussians(fine, joints, visible, target))
    )


def _require_outputs(count: int, outputs: list[Tensor], loss: str) -> None:
    if len(outputs) != count:
        raise PoseError(
            f"train.loss {loss} is of nets with {count} outputs, and this one has {len(outputs)}:"
            " set train.loss to mse"
        )


def _gaussians(
    output: Tensor, joints: Tensor, visible: Tensor, target: Target
) -> tuple[Tensor, Tensor]:
    maps, weights = gaussian_targets(
        *(joints, visible, _size(output)),
        *(target.sigma, target.stride, target.offset, target.unbiased),
    )
    return target.peak * maps, weights


def _size(output: Tensor) -> tuple[int, int]:
    return output.shape[-2], output.shape[-1]


LOSSES: dict[str, Loss] = {"mse": mse, "cpn": cpn, "efficientpose": efficientpose}
