"""The names that Lite-HRNet's tensors have in the authors' checkpoints and in MMPose's."""

from __future__ import annotations

import re

from pose.models.litehrnet import LiteHRNet
from pose.weights.naming import Naming


def original_key(model: LiteHRNet, key: str) -> str:
    """The authors' name of ``key``, one of ``model.state_dict()``'s; MMPose's before 1.0, too."""
    key = re.sub(r"\.(transition|stage)s\.", r".\1", key)
    key = re.sub(r"(\.spatial_weighting\.\d+\.conv[12])\.", r"\1.conv.", key)
    return re.sub(r"^head\.", "keypoint_head.final_layer.", key)


def mmpose_key(model: LiteHRNet, key: str) -> str:
    """MMPose's since 1.0."""
    return original_key(model, key).removeprefix("keypoint_")


NAMINGS = [Naming("official", original_key), Naming("mmpose-1", mmpose_key)]
