"""A canvas of antialiased, textured shapes that remembers what is seen in each pixel."""

from __future__ import annotations

from collections.abc import Callable
from colorsys import hsv_to_rgb
from dataclasses import dataclass

import numpy as np


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """RGB in 0..1 of a hue in degrees and a saturation and value in 0..1 (clipped)."""
    return np.array(hsv_to_rgb(hue / 360 % 1, *np.clip([saturation, value], 0, 1)))


@dataclass(frozen=True)
class Capsule:
    """A tapered limb between two image points, with a radius at each."""

    start: np.ndarray
    end: np.ndarray
    start_radius: float
    end_radius: float

    @property
    def thickness(self) -> float:
        return max(self.start_radius, self.end_radius)

    @property
    def corners(self) -> np.ndarray:
        return np.stack([self.start, self.end])

    def distance(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signed distance of points (h, w, 2) to the border, and pixels along the axis."""
        axis = self.end - self.start
        length = float(np.hypot(*axis)) + 1e-6
        offset = points - self.start
        along = offset @ (axis / length)
        part = np.clip(along / length, 0, 1)
        gap = offset - part[..., None] * axis
        radius = self.start_radius + part * (self.end_radius - self.start_radius)
        return np.hypot(gap[..., 0], gap[..., 1]) - radius, along


@dataclass(frozen=True)
class RoundedPolygon:
    """A polygon of image corners (n, 2), grown by a radius; ``along`` runs down its first side."""

    corners: np.ndarray
    thickness: float

    def distance(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signed distance of points (h, w, 2) to the border, and pixels along the first side."""
        squared = np.full(points.shape[:2], np.inf, np.float32)
        inside = np.zeros(points.shape[:2], bool)
        for a, b in zip(self.corners, np.roll(self.corners, -1, axis=0), strict=True):
            side, offset = b - a, points - a
            part = np.clip(offset @ side / (side @ side + 1e-6), 0, 1)
            gap = offset - part[..., None] * side
            squared = np.minimum(squared, (gap**2).sum(-1))
            crosses = (a[1] <= points[..., 1]) != (b[1] <= points[..., 1])
            turn = side[0] * offset[..., 1] - side[1] * offset[..., 0]
            inside ^= crosses & ((turn > 0) == (side[1] > 0))
        first = self.corners[1] - self.corners[0]
        along = (points - self.corners[0]) @ (first / (np.hypot(*first) + 1e-6))
        return np.where(inside, -1, 1) * np.sqrt(squared) - self.thickness, along


@dataclass(frozen=True)
class Texture:
    """A plain cloth, or one striped across its axis. RGB in 0..1; ``period`` is a length."""

    colour: np.ndarray
    stripe: np.ndarray | None = None
    period: float = 1.0

    def __call__(self, points: np.ndarray, along: np.ndarray) -> np.ndarray:
        """RGB (h, w, 3) of points (h, w, 2)."""
        if self.stripe is None:
            return self.colour
        wave = np.abs((along / self.period) % 1 - 0.5) * 2  # triangle, 0..1
        share = np.clip((wave - 0.5) * self.period + 0.5, 0, 1)[..., None]
        return self.colour + share * (self.stripe - self.colour)


class Canvas:
    """An RGB image float32 (H, W, 3) in 0..1, and ``labels`` int32 (H, W): what each pixel shows.

    A label is the one that the topmost shape was painted with; 0 is the background.
    """

    def __init__(self, image: np.ndarray):
        self.image = image
        self.labels = np.zeros(image.shape[:2], np.int32)

    def paint(
        self,
        shape: Capsule | RoundedPolygon,
        colour: Callable[[np.ndarray, np.ndarray], np.ndarray],
        label: int = 0,
    ) -> None:
        """Cover ``shape`` with an antialiased, shaded, darkly outlined ``colour``."""
        margin = shape.thickness + 1
        low = np.floor(shape.corners.min(0) - margin).astype(int).clip(0)
        high = np.ceil(shape.corners.max(0) + margin).astype(int) + 1
        area = (slice(low[1], max(high[1], 0)), slice(low[0], max(high[0], 0)))
        patch, labels = self.image[area], self.labels[area]
        if not labels.size:
            return
        rows, columns = np.indices(labels.shape, np.float32)
        points = np.stack([columns + low[0], rows + low[1]], -1)
        distance, along = shape.distance(points)
        roundness = np.clip(-distance / (shape.thickness + 1e-6), 0, 1)
        outline = np.clip(distance + 1.2, 0, 1) * 0.35
        shade = (0.78 + 0.22 * np.sqrt(roundness)) * (1 - outline)
        alpha = np.clip(0.5 - distance, 0, 1)[..., None]
        patch += alpha * (colour(points, along) * shade[..., None] - patch)
        labels[distance < 0] = label
