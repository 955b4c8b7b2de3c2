"""The names that Hourglass's tensors have in princeton-vl's checkpoints."""

from __future__ import annotations

import re

from pose.models.hourglass import StackedHourglass
from pose.weights.naming import Naming

# The residuals that change the width; all others' skip convolutions are never used.
WITH_SKIP = ("pre.1.", "pre.4.")


def original_key(model: StackedHourglass, key: str) -> str:
    """The published name of ``key``, one of ``model.state_dict()``'s."""
    key = re.sub(r"^hgs\.(\d+)\.", r"hgs.\1.0.", key)
    key = re.sub(r"^(pre\.0|features\.\d+\.1)\.0\.", r"\1.conv.", key)
    key = re.sub(r"^(pre\.0|features\.\d+\.1)\.1\.", r"\1.bn.", key)
    key = re.sub(r"^(merge_features|merge_preds)\.(\d+)\.", r"\1.\2.conv.conv.", key)
    key = re.sub(r"^outs\.(\d+)\.", r"outs.\1.conv.", key)
    return re.sub(r"\.(conv[123]|skip_layer)\.", r".\1.conv.", key)


def is_unused_skip(key: str) -> bool:
    """Whether the published tensor belongs to a convolution that the net never runs."""
    return ".skip_layer." in key and not key.startswith(WITH_SKIP)


NAMINGS = [Naming("official", original_key, dropped=is_unused_skip)]
