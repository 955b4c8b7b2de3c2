"""EfficientPose I-IV (Groos et al., Applied Intelligence 2021), as its released graphs compute it.

Two EfficientNet trunks, on the image and on the image halved by averaging, meet at stride 8. Three
passes of densely connected inverted bottlenecks refine what they see, and three fixed bilinear
transposed convolutions bring the confidence maps back to the size of the image. Facts are from the
inference graphs of github.com/daniegr/EfficientPose (``models/pytorch``).

Its training was never released. The paper supervises pass 1 with part affinity fields and pass 2
with confidence maps of its own, by heads that are in no released PyTorch graph; ``training_heads``
adds them. That a limb has two fields (x and y), and that the first two passes are supervised at
stride 8, is as in the authors' later DeepInMotion/Markerless (``models/efficientpose.py``). Our
choices: each head is one biased 1x1 convolution, as that of pass 3 is; the limbs are those of the
keypoint set's skeleton (MPII 15, COCO 19; Markerless has 14 on MPII); pass 3 is supervised at the
image's size, where Markerless supervises it at stride 8 too; no stochastic depth in the trunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pose.datasets.mpii import MPII
from pose.models.family import Family, PoseModel, Start
from pose.models.input_size import require_multiple
from pose.models.naming import Naming
from pose.targets.paf import limbs_of

STRIDE = 8  # of the trunks and passes
PASSES = ("skeleton", "detection1", "detection2")
BN_EPSILON = 1e-3  # TensorFlow's, as in the trunks


@dataclass(frozen=True)
class Variant:
    """A size of the net: two EfficientNets, and the detection blocks of each pass."""

    high_trunk: str
    low_trunk: str
    width: int
    blocks: int


VARIANTS = {
    "1": Variant("tf_efficientnet_b2", "tf_efficientnet_b0", width=48, blocks=1),
    "2": Variant("tf_efficientnet_b4", "tf_efficientnet_b0", width=56, blocks=2),
    "3": Variant("tf_efficientnet_b5", "tf_efficientnet_b1", width=64, blocks=3),
    "4": Variant("tf_efficientnet_b7", "tf_efficientnet_b3", width=80, blocks=4),
}


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


MPII_ORDER = [RELEASED_JOINTS.index(name) for name in MPII.names]


def from_original(key: str, tensor: Tensor) -> Tensor:
    """The tensor of ``key`` (ours) with its maps in MPII's order instead of the released one."""
    return tensor[MPII_ORDER] if _is_of_mpii_maps(key, tensor) else tensor


def to_original(key: str, tensor: Tensor) -> Tensor:
    """The way back."""
    order = [MPII.names.index(name) for name in RELEASED_JOINTS]
    return tensor[order] if _is_of_mpii_maps(key, tensor) else tensor


def _is_of_mpii_maps(key: str, tensor: Tensor) -> bool:
    return key.startswith("confidences.") and len(tensor) == len(MPII)


def original_key(model: nn.Module, key: str) -> str:
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


class Trunk(nn.Module):
    """The stem and the first ``stages`` stages of an EfficientNet, under timm's names."""

    def __init__(self, name: str, stages: int) -> None:
        super().__init__()
        net = timm.create_model(name)
        self.conv_stem = net.conv_stem
        self.bn1 = net.bn1
        self.blocks = net.blocks[:stages]
        self.width = self.blocks[-1][-1].conv_pwl.out_channels

    def own_key(self, key: str) -> str | None:
        """What this trunk calls the whole network's ``key``; None for what it does without."""
        stages = tuple(f"blocks.{stage}." for stage in range(len(self.blocks)))
        return key if key.startswith(("conv_stem.", "bn1.", *stages)) else None

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to features (B, width, h, w)."""
        return self.blocks(self.bn1(self.conv_stem(images)))


class InvertedBottleneck(nn.Module):
    """E-MBConv: an inverted bottleneck of expansion 6 with E-swish activations, no shortcut."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        expanded = 6 * width
        self.expand = nn.Conv2d(inputs, expanded, 1, bias=False)
        self.expand_bn = nn.BatchNorm2d(expanded, BN_EPSILON)
        self.depthwise = nn.Conv2d(expanded, expanded, 5, padding=2, groups=expanded, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(expanded, BN_EPSILON)
        self.squeeze = nn.Conv2d(expanded, width // 4, 1)
        self.excite = nn.Conv2d(width // 4, expanded, 1)
        self.project = nn.Conv2d(expanded, width, 1, bias=False)
        self.project_bn = nn.BatchNorm2d(width, BN_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        x = e_swish(self.expand_bn(self.expand(x)))
        x = e_swish(self.depthwise_bn(self.depthwise(x)))
        gate = self.excite(e_swish(self.squeeze(x.mean((2, 3), keepdim=True)))).sigmoid()
        return self.project_bn(self.project(x * gate))


class DenseBlock(nn.Module):
    """Three inverted bottlenecks, of which the third and the output see all before them.

    The input is added where it has the output's width: in all but the first block of a pass.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.mbconv1 = InvertedBottleneck(inputs, width)
        self.mbconv2 = InvertedBottleneck(width, width)
        self.mbconv3 = InvertedBottleneck(2 * width, width)
        self.skip = inputs == 3 * width

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, 3 width, h, w), the newest features first."""
        first = self.mbconv1(x)
        both = torch.cat([self.mbconv2(first), first], dim=1)
        dense = torch.cat([self.mbconv3(both), both], dim=1)
        return dense + x if self.skip else dense


class EfficientPose(PoseModel):
    """Confidence maps of the image's own size."""

    namings: ClassVar = [Naming("daniegr/EfficientPose", original_key, to_original, from_original)]
    training_only: ClassVar = ("training_heads",)

    def __init__(self, variant: Variant, num_keypoints: int, training_heads: bool) -> None:
        super().__init__()
        self.high = Trunk(variant.high_trunk, stages=3)
        self.low = Trunk(variant.low_trunk, stages=2)
        # The released graphs take what its last block computes before the shortcut is added.
        self.low.blocks[-1][-1].has_skip = False
        seen, dense = self.high.width + self.low.width, 3 * variant.width
        self.passes = nn.ModuleDict()
        for name, inputs in zip(PASSES, (seen, seen + dense, seen + dense), strict=True):
            widths = [inputs] + [dense] * (variant.blocks - 1)
            self.passes[name] = nn.Sequential(*(DenseBlock(w, variant.width) for w in widths))
        self.confidences = nn.Conv2d(dense, num_keypoints, 1)
        self.training_heads = nn.ModuleDict()
        if training_heads:
            self.training_heads["skeleton"] = nn.Conv2d(dense, 2 * len(limbs_of(num_keypoints)), 1)
            self.training_heads["detection1"] = nn.Conv2d(dense, num_keypoints, 1)
        self.register_buffer("bilinear", bilinear_kernel(num_keypoints), persistent=False)

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Images (B, 3, H, W) to confidence maps (B, K, H, W).

        In training with ``training_heads``: [part affinity fields (B, 2 limbs, H/8, W/8), x and y
        of the first limb first; pass 2's confidence maps (B, K, H/8, W/8); the confidence maps].
        Raises PoseError unless H and W are multiples of 8.
        """
        require_multiple(images, STRIDE, "EfficientPose")
        features = self.pass_features(images)
        maps = self.confidences(features["detection2"])
        for _ in range(3):
            # One dense kernel, not one a map, as in the graphs and in the MACs counted on them.
            maps = F.conv_transpose2d(maps, self.bilinear, stride=2, padding=1)
        if self.training and self.training_heads:
            return [*(head(features[name]) for name, head in self.training_heads.items()), maps]
        return maps

    def pass_features(self, images: Tensor) -> dict[str, Tensor]:
        """What each pass gives (B, 3 width, H/8, W/8), by its name."""
        seen = torch.cat([self.high(images), self.low(F.avg_pool2d(images, 2))], dim=1)
        features: dict[str, Tensor] = {}
        x = seen
        for name, blocks in self.passes.items():
            features[name] = blocks(x)
            x = torch.cat([features[name], seen], dim=1)
        return features

    def imagenet_starts(self, file: str) -> Iterator[Start]:
        for trunk, name in ((self.high, file), (self.low, self.low_imagenet)):
            yield Start(trunk, name, trunk.own_key)


def efficientpose(
    variant: str, *, num_keypoints: int, training_heads: bool = False
) -> EfficientPose:
    """Build EfficientPose I ("1") to IV ("4").

    ``training_heads``: add the heads of passes 1 and 2, which take part in training only and which
    the released graphs and the reported parameters lack. Raises PoseError if they are asked for a
    number of keypoints of which no skeleton is known.
    """
    size = VARIANTS[variant]
    model = EfficientPose(size, num_keypoints, training_heads)
    model.imagenet = size.high_trunk
    model.low_imagenet = size.low_trunk
    return model


def e_swish(x: Tensor) -> Tensor:
    """Swish times 1.25 (Alcaide 2018)."""
    return 1.25 * F.silu(x)


def bilinear_kernel(channels: int) -> Tensor:
    """Weights (channels, channels, 4, 4) of a transposed convolution that doubles both sides."""
    side = torch.tensor([0.25, 0.75, 0.75, 0.25])
    return torch.eye(channels)[:, :, None, None] * (side[:, None] * side)


FAMILY = Family(
    models={f"efficientpose-{variant}": partial(efficientpose, variant) for variant in VARIANTS},
    source="daniegr/EfficientPose 78e4bd1",
    licence="Apache-2.0",
    bibtex="""@article{groos2021efficientpose,
  title={{EfficientPose}: Scalable single-person pose estimation},
  author={Groos, Daniel and Ramampiaro, Heri and Ihlen, Espen A. F.},
  journal={Applied Intelligence},
  year={2021}
}""",
    parity={
        "efficientpose-1": "heat maps",
        "efficientpose-2": "statistics",
        "efficientpose-3": "counts",
        "efficientpose-4": "counts",
    },
)
