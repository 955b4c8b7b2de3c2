"""Many tensors as a few: a collective or a copy then costs as many launches, however many they are.

Tensors of one dtype lie behind one another, in the order given.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Flat:
    """A view of ``tensors`` as one vector for each of their dtypes."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.groups: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            self.groups.setdefault(tensor.dtype, []).append(tensor)

    def read(self) -> list[Tensor]:
        """A copy of their values, a vector for each dtype."""
        return [torch.cat([t.detach().flatten() for t in group]) for group in self.groups.values()]

    def write(self, vectors: Iterable[Tensor]) -> None:
        """Inverse of :meth:`read`."""
        for group, vector in zip(self.groups.values(), vectors, strict=True):
            parts = vector.split([tensor.numel() for tensor in group])
            shaped = [part.view(t.shape) for part, t in zip(parts, group, strict=True)]
            torch._foreach_copy_([tensor.detach() for tensor in group], shaped)
