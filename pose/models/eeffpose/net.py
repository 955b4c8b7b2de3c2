"""EEffPose: a backbone, a neck and a head, each plain or mutually enhanced (Eq. 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from pose.models.eeffpose.backbone import EEffNet, EffNet
from pose.models.eeffpose.fusion import ACTIVATIONS
from pose.models.eeffpose.head import FAHead, FSHead
from pose.models.eeffpose.naming import EXTENSIONS, NAMING, trunk_key
from pose.models.eeffpose.neck import BiFPN, TFNeck
from pose.models.family import Family, PoseModel, Start
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

INITS = ("scratch", "imagenet", "effdet_coco")

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


class PoseNet(PoseModel):
    """Heat maps from images by way of multi-scale features."""

    namings: ClassVar = [NAMING]

    def __init__(
        self, size: Variant, backbone: nn.Module, neck: nn.Module, head: nn.Module
    ) -> None:
        super().__init__()
        self.size = size
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

    def start_head(self, weight: float) -> None:
        self.head.start_at(weight)

    def starts(self, init: str) -> Iterator[Start]:
        """The trunk from "imagenet", or from "effdet_coco" as released.

        The extended convolutions take copies of the trunk's in between: they keep ImageNet's.
        """
        if init not in INITS:
            raise PoseError(f"unknown init {init!r}{nearest(init, INITS)}")
        if init == "scratch":
            return
        yield Start(self.backbone, self.size.trunk, trunk_key, EXTENSIONS)
        if isinstance(self.backbone, EEffNet):
            self.backbone.copy_donors()
        if init == "effdet_coco":
            yield Start(self.backbone, self.size.detector, trunk_key, EXTENSIONS)


def eeffpose(
    variant: str,
    *,
    backbone: str,
    neck: str,
    head: str,
    num_keypoints: int,
    activation: str = "silu",
) -> PoseNet:
    """Build a net from its switches, keys of :data:`BACKBONES`, :data:`NECKS` and :data:`HEADS`.

    ``activation``: AddUp's, "silu" as released or "mish" as in the paper's Eq. (3). Raises
    PoseError for an unknown value.
    """
    size = VARIANTS[variant]
    _named("activation", activation, ACTIVATIONS)
    trunk = _named("backbone", backbone, BACKBONES)(size.trunk, activation)
    make_neck = _named("neck", neck, NECKS)
    pyramid = make_neck(trunk.widths, size.neck_width, size.neck_repeats, activation)
    maps = _named("head", head, HEADS)(pyramid.widths, num_keypoints)
    return PoseNet(size, trunk, pyramid, maps)


def _named(what: str, name: str, known: dict[str, type[nn.Module]]) -> type[nn.Module]:
    if name not in known:
        raise PoseError(f"unknown {what} {name!r}{nearest(name, known)}")
    return known[name]


FAMILY = Family(
    models={
        name: partial(eeffpose, variant, backbone=backbone, neck=neck, head=head)
        for name, (variant, backbone, neck, head) in MODELS.items()
    },
    source="igodogi/EEffPose 7f17baf",
    licence="none stated",
    bibtex="""@article{li2022meme,
  title={{MEMe}: A Mutually Enhanced Modeling Method for Efficient and Effective Human Pose Estimation},
  author={Li, Jie and Wang, Zhixing and Qi, Bo and Zhang, Jianlin and Yang, Hu},
  journal={Sensors},
  volume={22},
  number={2},
  pages={632},
  year={2022}
}""",  # noqa: E501
    parity={
        "eeffpose-p0": "heat maps",
        **{f"eeffpose-p0-order{order}": "heat maps" for order in range(1, 9)},
        "eeffpose-p2": "counts",
        **{f"eeffpose-p2-order{order}": "counts" for order in (3, 5, 6, 8)},
    },
)
