"""EEffPose: a backbone, a neck and a head, each plain or mutually enhanced (Eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pose.models.eeffpose.backbone import EEffNet, EffNet
from pose.models.eeffpose.fusion import ACTIVATIONS
from pose.models.eeffpose.head import FAHead, FSHead
from pose.models.eeffpose.neck import BiFPN, TFNeck
from pose.support.errors import PoseError, nearest


@dataclass(frozen=True)
class Variant:
    """A size of the net: EfficientNet-Bn trunk, EfficientDet-Dn neck."""

    trunk: str
    detector: str
    neck_width: int
    neck_repeats: int


VARIANTS = {
    "p0": Variant("tf_efficientnet_b0", "tf_efficientdet_d0_ap", 64, 3),
    "p2": Variant("tf_efficientnet_b2", "tf_efficientdet_d2_ap", 112, 5),
}

# The paper's Table 1: order -> whether (backbone, neck, head) are mutually enhanced.
ORDERS = {
    1: (False, False, False),
    2: (True, False, False),
    3: (False, True, False),
    4: (False, False, True),
    5: (False, True, True),
    6: (True, True, False),
    7: (True, False, True),
    8: (True, True, True),
}


class PoseNet(nn.Module):
    """Heat maps from images by way of multi-scale features."""

    def __init__(self, backbone: nn.Module, neck: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head

    def features(self, images: Tensor) -> list[Tensor]:
        """The neck's output, finest scale first."""
        return self.neck(self.backbone(images))

    def scale_maps(self, images: Tensor) -> list[Tensor]:
        """The head's maps of each scale (B, K, H_j, W_j), finest first, before they are fused."""
        return self.head.scale_maps(self.features(images))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to heat maps (B, K, H/4, W/4)."""
        return self.head(self.features(images))


def eeffpose(
    variant: str,
    *,
    order: int,
    num_keypoints: int,
    activation: str = "silu",
    init: str = "scratch",
) -> PoseNet:
    """Build one of the eight ablation orders.

    ``activation``: AddUp's, "silu" as released or "mish" as in the paper's Eq. (3).
    ``init``: the backbone's weights: "scratch"; "imagenet"; or "effdet_coco", where the trunk is
    EfficientDet's and the extended convolutions keep ImageNet's, as released. The latter two need
    the published files (see :func:`pose.weights.fetch`).
    """
    if activation not in ACTIVATIONS:
        raise PoseError(f"unknown activation {activation!r}{nearest(activation, ACTIVATIONS)}")
    size = VARIANTS[variant]
    meme_backbone, meme_neck, meme_head = ORDERS[order]
    backbone = EEffNet(size.trunk, activation) if meme_backbone else EffNet(size.trunk)
    if meme_neck:
        neck = TFNeck(backbone.widths, size.neck_width, size.neck_repeats, activation)
    else:
        neck = BiFPN(backbone.widths, size.neck_width, size.neck_repeats)
    head = (FAHead if meme_head else FSHead)(neck.widths, num_keypoints)
    initialise(backbone, init, size)
    return PoseNet(backbone, neck, head)


def initialise(backbone: EffNet, init: str, size: Variant) -> None:
    """Load the backbone's initial weights; the extended copies take them before EfficientDet's."""
    known = ("scratch", "imagenet", "effdet_coco")
    if init not in known:
        raise PoseError(f"unknown init {init!r}{nearest(init, known)}")
    if init == "scratch":
        return
    from pose.weights import load_backbone  # the published files are needed only here
    from pose.weights.eeffpose import EXTENSIONS, trunk_key

    load_backbone(backbone, size.trunk, trunk_key, EXTENSIONS)
    if isinstance(backbone, EEffNet):
        backbone.copy_donors()
    if init == "effdet_coco":
        load_backbone(backbone, size.detector, trunk_key, EXTENSIONS)
