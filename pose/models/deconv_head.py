"""The head of SimpleBaseline (Xiao et al., ECCV 2018), and the nets that are a trunk below it."""

from __future__ import annotations

from torch import Tensor, nn

from pose.models.family import PoseModel
from pose.models.initialisation import normal_
from pose.models.input_size import require_multiple

WIDTH = 256
MULTIPLE = 32  # the trunk's stride


class DeconvHead(nn.Module):
    """Three transposed convolutions, each with BN and ReLU and of stride 2, then 1x1 to K maps."""

    def __init__(self, in_width: int, num_keypoints: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (in_width, WIDTH, WIDTH):
            deconvolution = nn.ConvTranspose2d(width, WIDTH, 4, stride=2, padding=1, bias=False)
            layers += [deconvolution, nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(WIDTH, num_keypoints, 1)
        normal_(self)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) to heat maps (B, K, 8h, 8w)."""
        return self.final_layer(self.deconv_layers(features))


class DeconvNet(PoseModel):
    """A classification trunk of stride 32 below the deconvolution head."""

    def __init__(self, backbone: nn.Module, width: int, num_keypoints: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = DeconvHead(width, num_keypoints)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to heat maps (B, K, H/4, W/4); H and W are multiples of 32."""
        require_multiple(images, MULTIPLE, type(self).__name__)
        return self.head(self.backbone(images))
