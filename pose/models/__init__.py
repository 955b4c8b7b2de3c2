"""The registry: every model of the benchmark by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature

from torch import nn

from pose.models.cpn import cpn_inception, cpn_r50
from pose.models.danet import danet
from pose.models.eeffpose.net import MODELS as EEFFPOSE
from pose.models.eeffpose.net import eeffpose
from pose.models.efficientpose import efficientpose
from pose.models.hourglass import hourglass
from pose.models.hrnet import hrnet
from pose.models.litehrnet import litehrnet
from pose.models.lpn import lpn
from pose.models.mobile import mobilenetv2, shufflenetv2
from pose.models.mobilenetv3 import mobilenetv3
from pose.models.simplebaseline import simplebaseline
from pose.support.errors import PoseError, nearest

_BUILDERS: dict[str, Callable[..., nn.Module]] = {}

for _name, (_variant, _backbone, _neck, _head) in EEFFPOSE.items():
    _parts = {"backbone": _backbone, "neck": _neck, "head": _head}
    _BUILDERS[_name] = partial(eeffpose, _variant, **_parts)
for _variant in ("w32", "w48", "w16"):
    _BUILDERS[f"hrnet-{_variant}"] = partial(hrnet, _variant)
for _depth in (50, 152):
    _BUILDERS[f"simplebaseline-r{_depth}"] = partial(simplebaseline, _depth)
_BUILDERS |= {
    "mobilenetv2": mobilenetv2,
    "mobilenetv3": mobilenetv3,
    "shufflenetv2": shufflenetv2,
}
for _depth in (18, 30):
    _BUILDERS[f"litehrnet-{_depth}"] = partial(litehrnet, _depth)
for _depth in (50, 101, 152):
    _BUILDERS[f"lpn-{_depth}"] = partial(lpn, _depth)
for _stacks in (8, 2):
    _BUILDERS[f"hourglass-{_stacks}"] = partial(hourglass, _stacks)
_BUILDERS |= {
    "cpn-r50": cpn_r50,
    "cpn-r50-projection": partial(cpn_r50, shortcut="projection"),
    "cpn-inception": cpn_inception,
}
for _variant in ("1", "2", "3", "4"):
    _BUILDERS[f"efficientpose-{_variant}"] = partial(efficientpose, _variant)
for _depth in (72, 88, 102):
    _BUILDERS[f"danet-{_depth}"] = partial(danet, _depth)


def list_models() -> list[str]:
    """Names that :func:`create_model` knows."""
    return list(_BUILDERS)


def create_model(name: str, num_keypoints: int = 17, **options: object) -> nn.Module:
    """Build a model with freshly initialised weights.

    In eval mode it maps images (B, 3, H, W), ImageNet-normalised RGB, to heat maps
    (B, num_keypoints, H/4, W/4), EfficientPose's of the input's size. In training mode nets with
    intermediate supervision give a list of them, the prediction last. H and W are multiples of 4,
    or of what the net's PoseError says. Raises PoseError for an unknown name or option.
    """
    if name not in _BUILDERS:
        raise PoseError(f"unknown model {name!r}{nearest(name, _BUILDERS)}")
    builder = _BUILDERS[name]
    known = [p.name for p in signature(builder).parameters.values() if p.kind == p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise PoseError(f"model {name}: unknown option {option!r}{nearest(option, known)}")
    return builder(num_keypoints=num_keypoints, **options)
