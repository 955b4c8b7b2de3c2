"""DANet-72, -88 and -102: a reconstruction, not the authors' net.

No code of DANet (Luo et al., ICME 2021, arXiv 2012.07033) was ever published. From the abstract
and from papers that compare with it we know that:

* it is one pyramid network, not a cascade of them, of depthwise convolutions;
* its orthogonal attention blocks (OAB) take multi-scale information from layers with different
  receptive fields and encourage it to be diverse;
* its second-order fusion units (SFU) select and fuse the scales adaptively and suppress what is
  redundant;
* DANet-72, -88 and -102 have 3.4, 5.3 and 5.8 million parameters and 1.0, 1.4 and 1.8 GFLOPs at
  256x192.

All else is our choice. The suffix counts the convolutions of the longest path. One set of widths
for all three and the layers of each stage are fitted to the parameters and GFLOPs, which they meet
within 3 %. OAB's attention is a softmax over its layers for every channel, so that a channel can be
drawn from one layer only at the expense of the others; how the authors make attentions orthogonal
is in no source that we could read, and no loss to that end is added. SFU weighs two scales by a
gate on the mean of their product. The head, the initialisation and the lack of pretraining are
ours too.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from pose.models.family import Family, PoseModel
from pose.models.input_size import require_multiple

STEM_WIDTH = 32
WIDTHS = (64, 256, 480, 480)  # of the scales 1/4, 1/8, 1/16 and 1/32
PYRAMID_WIDTH = 96
MULTIPLE = 32
# Layers in the OABs of each scale, 27, 35 and 42. There are two convolutions in a layer and 18
# outside: the stem, 4 x 2 that lower the resolution, a lateral one, 3 x 2 in SFUs, 2 in the head.
LAYERS = {72: (10, 9, 4, 4), 88: (10, 10, 11, 4), 102: (10, 17, 11, 4)}


class Layer(nn.Module):
    """Depthwise 3x3 and 1x1 convolution, with a shortcut where the shape stays."""

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = stride == 1 and inputs == width

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolutions(x)
        return F.relu(y + x if self.shortcut else y)


class OrthogonalAttention(nn.Module):
    """OAB: layers, each of which sees further than the last, weighed channel by channel."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, width) for _ in range(layers))
        self.attention = squeeze_excite(width, layers * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        seen = []
        for layer in self.layers:
            x = layer(x)
            seen.append(x)
        logits = self.attention(sum(seen).mean((2, 3)))
        shares = logits.unflatten(1, (len(seen), -1)).softmax(dim=1)  # (B, layers, C)
        return sum(
            share[..., None, None] * x for share, x in zip(shares.unbind(1), seen, strict=True)
        )


class SecondOrderFusion(nn.Module):
    """SFU: for each channel, how much of the finer and how much of the coarser scale to keep."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = squeeze_excite(width, width)
        self.layer = Layer(width, width)

    def forward(self, finer: Tensor, coarser: Tensor) -> Tensor:
        """(B, C, h, w) and (B, C, h/2, w/2) to (B, C, h, w)."""
        coarser = F.interpolate(coarser, finer.shape[-2:], mode="nearest")
        share = self.gate((finer * coarser).mean((2, 3))).sigmoid()[..., None, None]
        return self.layer(share * finer + (1 - share) * coarser)


class DANet(PoseModel):
    """A trunk of OABs, a pyramid of SFUs, and the heat maps of its finest scale."""

    def __init__(self, layers: tuple[int, ...], num_keypoints: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, STEM_WIDTH, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(STEM_WIDTH),
            nn.ReLU(inplace=True),
        )
        widths = (STEM_WIDTH, *WIDTHS)
        self.stages = nn.ModuleList(map(stage, widths, WIDTHS, layers))
        self.laterals = nn.ModuleList(lateral(width) for width in WIDTHS)
        self.fusions = nn.ModuleList(SecondOrderFusion(PYRAMID_WIDTH) for _ in WIDTHS[1:])
        self.head = nn.Sequential(
            nn.Conv2d(PYRAMID_WIDTH, PYRAMID_WIDTH, 3, padding=1, groups=PYRAMID_WIDTH, bias=False),
            nn.BatchNorm2d(PYRAMID_WIDTH),
            nn.ReLU(inplace=True),
            nn.Conv2d(PYRAMID_WIDTH, num_keypoints, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to heat maps (B, K, H/4, W/4).

        Raises PoseError unless H and W are multiples of 32.
        """
        require_multiple(images, MULTIPLE, "DANet")
        x = self.stem(images)
        scales = []
        for blocks, project in zip(self.stages, self.laterals, strict=True):
            x = blocks(x)
            scales.append(project(x))
        *finer, pyramid = scales
        for fusion, scale in zip(self.fusions, reversed(finer), strict=True):
            pyramid = fusion(scale, pyramid)
        return self.head(pyramid)


def danet(depth: int, *, num_keypoints: int) -> DANet:
    """Build the reconstruction of DANet-``depth``: 72, 88 or 102."""
    return DANet(LAYERS[depth], num_keypoints)


def stage(inputs: int, width: int, layers: int) -> nn.Sequential:
    """Half the resolution, then OABs of three layers, the last ones of two where needed."""
    threes = layers // 3 - (layers % 3 == 1)
    sizes = [3] * threes + [2] * ((layers - 3 * threes) // 2)
    blocks = (OrthogonalAttention(width, size) for size in sizes)
    return nn.Sequential(Layer(inputs, width, stride=2), *blocks)


def lateral(inputs: int) -> nn.Sequential:
    """A 1x1 convolution to the pyramid's width."""
    return nn.Sequential(
        nn.Conv2d(inputs, PYRAMID_WIDTH, 1, bias=False),
        nn.BatchNorm2d(PYRAMID_WIDTH),
        nn.ReLU(inplace=True),
    )


def squeeze_excite(inputs: int, outputs: int) -> nn.Sequential:
    """Two linear layers on vectors (B, inputs), a sixteenth as wide in between but at least 8."""
    squeezed = max(inputs // 16, 8)
    return nn.Sequential(
        nn.Linear(inputs, squeezed), nn.ReLU(inplace=True), nn.Linear(squeezed, outputs)
    )


FAMILY = Family(
    models={f"danet-{depth}": partial(danet, depth) for depth in LAYERS},
    source="the abstract and reported costs; no code was published",
    licence="-",
    bibtex="""@inproceedings{luo2021danet,
  title={Efficient Human Pose Estimation by Learning Deeply Aggregated Representations},
  author={Luo, Zhengxiong and others},
  booktitle={ICME},
  year={2021}
}""",
)
