"""The names of LPN's tensors in the authors' checkpoints: ours are the same."""

from __future__ import annotations

from pose.weights.naming import Naming

NAMINGS = [Naming("official")]
