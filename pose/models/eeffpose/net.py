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

BACKBONES = {"plain": EffNet, "meme": EEffNet}
"""Switch value -> class, called with the trunk's name and AddUp's activation."""

NECKS = {"plain": BiFPN, "meme": TFNeck}
"""Switch value -> class, called with the input widths, its own, its repeats and the activation."""

HEADS = {"plain": FSHead, "meme": FAHead}
"""Switch value -> class, called with the neck's widths and the number of keypoints."""

# Size, backbone, neck and head of each model; orders 1 to 8 are those of the paper's Table 1.
MODELS = {
    "eeffpose-p0": ("p0", "meme", "meme", "meme"),
    "eeffpose-p0-order1": ("p0", "plain", "plain", "plain"),
    "eeffpose-p0-order2": ("p0", "meme", "plain", "plain"),
    "eeffpose-p0-order3": ("p0", "plain", "meme", "plain"),
    "eeffpose-p0-order4": ("p0", "plain", "plain", "meme"),
    "eeffpose-p0-order5": ("p0", "plain", "meme", "meme"),
    "eeffpose-p0-order6": ("p0", "meme", "meme", "plain"),
    "eeffpose-p0-order7": ("p0", "meme", "plain", "meme"),
    "eeffpose-p0-order8": ("p0", "meme", "meme", "meme"),
    "eeffpose-p2": ("p2", "meme", "meme", "meme"),
    "eeffpose-p2-order1": ("p2", "plain", "plain", "plain"),
    "eeffpose-p2-order2": ("p2", "meme", "plain", "plain"),
    "eeffpose-p2-order3": ("p2", "plain", "meme", "plain"),
    "eeffpose-p2-order4": ("p2", "plain", "plain", "meme"),
    "eeffpose-p2-order5": ("p2", "plain", "meme", "meme"),
    "eeffpose-p2-order6": ("p2", "meme", "meme", "plain"),
    "eeffpose-p2-order7": ("p2", "meme", "plain", "meme"),
    "eeffpose-p2-order8": ("p2", "meme", "meme", "meme"),
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
    backbone: str,
    neck: str,
    head: str,
    num_keypoints: int,
    activation: str = "silu",
    init: str = "scratch",
) -> PoseNet:
    """Build a net from its switches, keys of :data:`BACKBONES`, :data:`NECKS` and :data:`HEADS`.

    ``activation``: AddUp's, "silu" as released or "mish" as in the paper's Eq. (3).
    ``init``: the backbone's weights: "scratch"; "imagenet"; or "effdet_coco", where the trunk is
    EfficientDet's and the extended convolutions keep ImageNet's, as released. The latter two need
    the published files (see :func:`pose.weights.fetch`). Raises PoseError for an unknown value.
    """
    size = VARIANTS[variant]
    _named("activation", activation, ACTIVATIONS)
    trunk = _named("backbone", backbone, BACKBONES)(size.trunk, activation)
    make_neck = _named("neck", neck, NECKS)
    pyramid = make_neck(trunk.widths, size.neck_width, size.neck_repeats, activation)
    maps = _named("head", head, HEADS)(pyramid.widths, num_keypoints)
    initialise(trunk, init, size)
    return PoseNet(trunk, pyramid, maps)


def _named(what: str, name: str, known: dict[str, type[nn.Module]]) -> type[nn.Module]:
    if name not in known:
        raise PoseError(f"unknown {what} {name!r}{nearest(name, known)}")
    return known[name]


def initialise(backbone: EffNet, init: str, size: Variant) -> None:
    """Load the backbone's initial weights; the extended copies take them before EfficientDet's."""
    known = ("scratch", "imagenet", "effdet_coco")
    if init not in known:
        raise PoseError(f"unknown init {init!r}{nearest(init, known)}")
    if init == "scratch":
        return
    from pose.weights import load_backbone  # the published files are needed only here

    load_backbone(backbone, size.trunk)
    if isinstance(backbone, EEffNet):
        backbone.copy_donors()
    if init == "effdet_coco":
        load_backbone(backbone, size.detector)
