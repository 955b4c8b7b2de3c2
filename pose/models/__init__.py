"""The nets, a file a family; the sheet of models says which family each model is of."""

from __future__ import annotations

from importlib import import_module
from inspect import signature

from pose.config.model_sheet import model_sheet, row_of
from pose.models.family import Family, PoseModel
from pose.support.errors import PoseError, nearest


def list_models() -> list[str]:
    """Names that :func:`create_model` knows."""
    return list(model_sheet())


def family_of(name: str) -> Family:
    """The family of the model of that name; its module is imported when it is asked for.

    Raises PoseError for an unknown name.
    """
    return import_module(f"pose.models.{row_of(name)['family']}").FAMILY


def create_model(name: str, num_keypoints: int = 17, **options: object) -> PoseModel:
    """Build a model with freshly initialised weights.

    In eval mode it maps images (B, 3, H, W), ImageNet-normalised RGB, to heat maps
    (B, num_keypoints, H/4, W/4), EfficientPose's of the input's size. In training mode nets with
    intermediate supervision give a list of them, the prediction last. H and W are multiples of 4,
    or of what the net's PoseError says. :func:`pose.weights.initialise` loads published weights of
    its trunk. Raises PoseError for an unknown name or option, and for one of another type.
    """
    builder = family_of(name).models[name]
    parameters = signature(builder).parameters.values()
    known = {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}
    for option, value in options.items():
        if option not in known:
            raise PoseError(f"model {name}: unknown option {option!r}{nearest(option, known)}")
        if type(value) is not type(known[option]):
            raise PoseError(f"model {name}: {option} is such as {known[option]!r}, not {value!r}")
    model = builder(num_keypoints=num_keypoints, **options)
    model.name = name
    return model
