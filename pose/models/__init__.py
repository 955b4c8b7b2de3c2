"""The registry: every model of the benchmark by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature

from torch import nn

from pose.errors import PoseError, nearest
from pose.models.eeffpose import eeffpose

_BUILDERS: dict[str, Callable[..., nn.Module]] = {}

for _variant in ("p0", "p2"):
    _BUILDERS[f"eeffpose-{_variant}"] = partial(eeffpose, _variant, order=8)
    for _order in range(1, 9):
        _BUILDERS[f"eeffpose-{_variant}-order{_order}"] = partial(eeffpose, _variant, order=_order)


def list_models() -> list[str]:
    """Names that :func:`create_model` knows."""
    return list(_BUILDERS)


def create_model(name: str, num_keypoints: int = 17, **options: object) -> nn.Module:
    """Build a model with freshly initialised weights.

    In eval mode it maps images (B, 3, H, W), ImageNet-normalised RGB with H and W multiples of 4,
    to heat maps (B, num_keypoints, H/4, W/4). Raises PoseError for an unknown name or option.
    """
    if name not in _BUILDERS:
        raise PoseError(f"unknown model {name!r}{nearest(name, _BUILDERS)}")
    builder = _BUILDERS[name]
    known = [p.name for p in signature(builder).parameters.values() if p.kind == p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise PoseError(f"model {name}: unknown option {option!r}{nearest(option, known)}")
    return builder(num_keypoints=num_keypoints, **options)
