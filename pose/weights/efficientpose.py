"""The names of EfficientPose's tensors in its released PyTorch graphs (MMdnn's conversion)."""

from __future__ import annotations

import torch

from pose.datasets.keypoints import MPII
from pose.models.efficientpose import PASSES, EfficientPose
from pose.weights.naming import Naming

TRUNKS = {"high": "res1", "low": "res2"}
# timm's layers; the first stage's blocks have no expansion, so that their numbers are one less.
SEPARABLE = {
    "conv_dw": "dwconv_{}_depthwise",
    "bn1": "bn_{}_FusedBatchNorm_1",
    "se.conv_reduce": "se_reduce_{}_convolution",
    "se.conv_expand": "se_expand_{}_convolution",
    "conv_pw": "project_conv_{}_convolution",
    "bn2": "project_bn_{}_FusedBatchNorm_1",
}
INVERTED = {
    "conv_pw": "expand_conv_{}_convolution",
    "bn1": "expand_bn_{}_FusedBatchNorm_1",
    "conv_dw": "dwconv_{}_depthwise",
    "bn2": "bn_{}_FusedBatchNorm_1",
    "se.conv_reduce": "se_reduce_{}_convolution",
    "se.conv_expand": "se_expand_{}_convolution",
    "conv_pwl": "project_conv_{}_convolution",
    "bn3": "project_bn_{}_FusedBatchNorm_1",
}
DETECTION = {
    "expand": "conv1_convolution",
    "expand_bn": "conv1_bn_FusedBatchNorm_1",
    "depthwise": "dconv1_depthwise",
    "depthwise_bn": "dconv1_bn_FusedBatchNorm_1",
    "squeeze": "se_se_squeeze_conv_convolution",
    "excite": "se_se_excite_conv_convolution",
    "project": "conv2_convolution",
    "project_bn": "conv2_bn_FusedBatchNorm_1",
}


# The order of the released graphs' maps (utils/helpers.py, extract_coordinates)
RELEASED_JOINTS = (
    *("head_top", "upper_neck", "right_shoulder", "right_elbow", "right_wrist", "thorax"),
    *("left_shoulder", "left_elbow", "left_wrist", "pelvis", "right_hip", "right_knee"),
    *("right_ankle", "left_hip", "left_knee", "left_ankle"),
)


def to_mpii_order(model: EfficientPose) -> None:
    """Put the confidence maps of released weights, just loaded, into MPII's order of joints."""
    order = [RELEASED_JOINTS.index(name) for name in MPII.names]
    with torch.no_grad():
        for tensor in (model.confidences.weight, model.confidences.bias):
            tensor.copy_(tensor[order])


def original_key(model: EfficientPose, key: str) -> str:
    """The released name of ``key``; the training heads, which no release has, keep ours."""
    layer, _, tensor = key.rpartition(".")
    part, _, layer = layer.partition(".")
    if part in TRUNKS:
        return f"{_trunk(layer, TRUNKS[part])}.{tensor}"
    if part == "passes":
        name, block, mbconv, layer = layer.split(".")
        place = f"pass{PASSES.index(name) + 1}_block{int(block) + 1}_{mbconv}_{name}"
        return f"{place}_{DETECTION[layer]}.{tensor}"
    if part == "confidences":
        return f"pass3_detection2_confs_convolution.{tensor}"
    return key


def _trunk(layer: str, resolution: str) -> str:
    if layer == "conv_stem":
        return f"stem_conv_{resolution}_convolution"
    if layer == "bn1":
        return f"stem_bn_{resolution}_FusedBatchNorm_1"
    _, stage, block, layer = layer.split(".", 3)
    layers = SEPARABLE if stage == "0" else INVERTED
    place = f"block{int(stage) + 1}{'abcdefghij'[int(block)]}"
    return f"{place}_{layers[layer].format(resolution)}"


NAMINGS = [Naming("daniegr/EfficientPose", original_key)]
