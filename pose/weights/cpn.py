"""The names of CPN's tensors in the checkpoints of GengDavid/pytorch-cpn."""

from __future__ import annotations

import re

from pose.models.cpn import CPN
from pose.weights.naming import Naming

RENAMED = [
    (r"^trunk\.", "resnet."),
    (r"^global_net\.top_down\.(\d)\.conv\.", r"global_net.upsamples.\1.1."),
    (r"^global_net\.top_down\.(\d)\.bn\.", r"global_net.upsamples.\1.2."),
    (r"^global_net\.predict\.(\d)\.mix\.", r"global_net.predict.\1."),
    (r"^global_net\.predict\.(\d)\.conv\.", r"global_net.predict.\1.3."),
    (r"^global_net\.predict\.(\d)\.bn\.", r"global_net.predict.\1.5."),
    (r"^refine_net\.bottleneck\.", "refine_net.final_predict.0."),
    (r"^refine_net\.conv\.", "refine_net.final_predict.1."),
    (r"^refine_net\.bn\.", "refine_net.final_predict.2."),
]


def trunk_key(key: str) -> str | None:
    """Our trunks' name of a tensor of torchvision's or timm's files; None for the classifier's."""
    if key.startswith(("fc.", "classif.")):
        return None
    return key


def original_key(model: CPN, key: str) -> str:
    """The port's name of ``key``."""
    for ours, theirs in RENAMED:
        key = re.sub(ours, theirs, key)
    return key


NAMINGS = [
    Naming(
        "GengDavid/pytorch-cpn",
        original_key,
        advice="the port's own checkpoints fit cpn-r50-projection",
    )
]
