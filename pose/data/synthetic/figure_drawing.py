"""Articulated people: a posed 3-D kinematic tree, an outfit, and their painting on a canvas.

Body axes are X (the person's left), Y (down) and Z (forward). Facing the camera they are the
image's right, its down, and the direction to the viewer, so a larger z is nearer. Lengths are in
units of the standing height until :meth:`Figure.placed` maps them to pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pose.data.synthetic.canvas import Canvas, Capsule, RoundedPolygon, Texture, hsv
from pose.datasets.coco import COCO

X, Y, Z = 0, 1, 2
SIDES = {"left": 1, "right": -1}
LABELS_PER_PERSON = 32  # a canvas label is LABELS_PER_PERSON * person + part

# bone: start point, end point, radius at the start, radius at the end
_LIMBS = {
    "upper_arm": ("shoulder", "elbow", 0.044, 0.036),
    "forearm": ("elbow", "wrist", 0.036, 0.027),
    "hand": ("wrist", "fingers", 0.031, 0.027),
    "thigh": ("hip", "knee", 0.066, 0.050),
    "shin": ("knee", "ankle", 0.048, 0.032),
    "shoe": ("ankle", "toes", 0.038, 0.034),
}
# what lies over what at the same depth: hands, sleeves, the shirt (0), trousers and shoes
_LAYER = {
    **{"hand": 0.03, "forearm": 0.02, "upper_arm": 0.01},
    **{"thigh": -0.04, "shoe": -0.04, "shin": -0.05},
}
PARTS = (
    "torso",
    "backpack",
    "neck",
    "head",
    *(f"{side}_{limb}" for side in SIDES for limb in _LIMBS),
)
_PART_LABEL = {name: number for number, name in enumerate(PARTS)}

# degrees: abduction, flexion, twist (positive bends the elbow inwards), elbow
_ARMS_DOWN = (15, 0, 0, 15)
_ARM_POSES = (
    *((12, 0, 20, 20), (85, 0, 0, 12), (155, 0, -60, 20), (80, 0, -90, 85), (50, 0, 90, 95)),
    *((15, 75, 20, 25), (35, 20, 60, 100), (35, -20, -30, 30)),
)
# degrees: flexion, abduction, knee; of one leg and of the other; then the trunk's forward lean
_STANDING = ((2, 7, 4), (2, 7, 4), 0)
_LEG_POSES = (
    *(_STANDING, ((0, 26, 5), (0, 26, 5), 0), ((28, 5, 10), (-22, 5, 25), 5)),
    *(((85, 14, 85), (85, 14, 85), 5), ((100, 28, 125), (100, 28, 125), 25)),
    *(((85, 10, 85), (-5, 8, 95), 5), ((70, 8, 25), (0, 6, 5), -5)),
)
# directions from the head's centre in head axes, in head radii
_FACE = {
    "nose": (0.0, 0.22, 1.02),
    "left_eye": (0.42, -0.10, 0.88),
    "right_eye": (-0.42, -0.10, 0.88),
    "left_ear": (1.0, 0.08, -0.05),
    "right_ear": (-1.0, 0.08, -0.05),
}


@dataclass(frozen=True)
class Figure:
    """A posed, dressed person: points (x, y, z) by name, axes (3, 3), and an outfit."""

    points: dict[str, np.ndarray]
    trunk_axes: np.ndarray
    head_axes: np.ndarray
    head_radius: float
    girth: float
    scale: float
    outfit: dict[str, Texture]

    @property
    def keypoints(self) -> np.ndarray:
        """COCO keypoints (17, 3): x, y and nearness."""
        return np.stack([self.points[name] for name in COCO.names])

    def placed(self, height: float, center: tuple[float, float]) -> Figure:
        """Scale to a standing height in pixels and centre the keypoints' box."""
        x_and_y = self.keypoints[:, :2]
        middle = (x_and_y.min(0) + x_and_y.max(0)) / 2 * height
        shift = np.array([*(np.asarray(center) - middle), 0])
        points = {name: point * height + shift for name, point in self.points.items()}
        outfit = {
            part: replace(texture, period=texture.period * height)
            for part, texture in self.outfit.items()
        }
        return replace(
            self,
            points=points,
            head_radius=self.head_radius * height,
            scale=height,
            outfit=outfit,
        )

    def draw(self, canvas: Canvas, person: int) -> None:
        """Paint the parts from the farthest to the nearest."""
        point, size = self.points, self.scale * self.girth
        parts: list[tuple[float, Callable[[], None]]] = []

        def add(part: str, nearness: float, shape: Capsule | RoundedPolygon) -> None:
            label = person * LABELS_PER_PERSON + _PART_LABEL[part]
            parts.append((nearness, lambda: canvas.paint(shape, self.outfit[part], label)))

        for side in SIDES:
            for limb, (start, end, *radii) in _LIMBS.items():
                a, b = point[f"{side}_{start}"], point[f"{side}_{end}"]
                capsule = Capsule(a[:2], b[:2], *(radius * size for radius in radii))
                nearness = (a[2] + b[2]) / 2 + _LAYER[limb] * self.scale
                add(f"{side}_{limb}", nearness, capsule)
        trunk = ("left_shoulder", "left_hip", "right_hip", "right_shoulder")
        corners = np.stack([point[name] for name in trunk])
        add("torso", corners[:, 2].mean(), RoundedPolygon(corners[:, :2], 0.040 * size))
        middle = corners.mean(0)
        pack = middle + 0.8 * (corners - middle) + self.trunk_axes @ (0, 0, -0.08 * size)
        add("backpack", pack[:, 2].mean(), RoundedPolygon(pack[:, :2], 0.040 * size))
        thorax, head = corners[[0, 3]].mean(0), point["head"]
        neck = Capsule(thorax[:2], head[:2], 0.036 * size, 0.032 * size)
        add("neck", thorax[2] - 0.02 * self.scale, neck)
        head_label = person * LABELS_PER_PERSON + _PART_LABEL["head"]
        nearness = head[2] + 0.02 * self.scale
        parts.append((nearness, lambda: self._draw_head(canvas, head_label)))
        for _, paint in sorted(parts, key=lambda part: part[0]):
            paint()

    def _draw_head(self, canvas: Canvas, label: int) -> None:
        axes, radius, center = self.head_axes, self.head_radius, self.points["head"][:2]
        skin, hair = self.outfit["head"].colour, self.outfit["hair"].colour
        hair_axis = axes @ np.array([0, -0.8, -0.6])

        def disc(offset: tuple[float, float, float], size: float, colour: np.ndarray) -> None:
            middle = center + (axes @ offset)[:2] * radius
            canvas.paint(Capsule(middle, middle, size, size), Texture(colour), label)

        def scalp_and_face(points: np.ndarray, along: np.ndarray) -> np.ndarray:
            x, y = np.moveaxis((points - center) / radius, -1, 0)
            z = np.sqrt(np.clip(1 - x**2 - y**2, 0, None))
            covered = (np.stack([x, y, z], -1) @ hair_axis - 0.08) * radius
            return skin + np.clip(covered + 0.5, 0, 1)[..., None] * (hair - skin)

        ears = [_FACE["left_ear"], _FACE["right_ear"]]
        for ear in ears:
            disc(ear, 0.26 * radius, skin * 0.85)
        chin = center + (axes @ (0, 0.45, 0.12))[:2] * radius
        canvas.paint(Capsule(center, chin, radius, 0.72 * radius), scalp_and_face, label)
        for ear in ears:
            if (axes @ ear)[2] > 0.15:
                disc(ear, 0.22 * radius, skin * 0.85)
        for eye in ("left_eye", "right_eye"):
            if (axes @ _FACE[eye])[2] > 0.15:
                disc(_FACE[eye], 0.23 * radius, np.array([1.0, 1.0, 1.0]))
                disc(_FACE[eye], 0.12 * radius, np.array([0.05, 0.05, 0.1]))
        if (axes @ _FACE["nose"])[2] > 0:
            disc(_FACE["nose"], 0.14 * radius, skin * 0.75)
            lips = [center + (axes @ (x, 0.66, 0.75))[:2] * radius for x in (-0.22, 0.22)]
            red = Texture(skin * (0.85, 0.4, 0.4))
            canvas.paint(Capsule(*lips, 0.08 * radius, 0.08 * radius), red, label)

    def visibility(self, canvas: Canvas, person: int) -> np.ndarray:
        """COCO flags (17,): 2 seen, 1 hidden, 0 outside the image or behind the own head."""
        return np.array([self._flag(name, canvas, person) for name in COCO.names])

    def _flag(self, name: str, canvas: Canvas, person: int) -> int:
        x, y, z = np.rint(self.points[name]).astype(int)
        height, width = canvas.labels.shape
        if not (0 <= x < width and 0 <= y < height):
            return 0
        side, _, joint = name.rpartition("_")
        if name in _FACE:
            if (self.head_axes @ _FACE[name])[2] < -0.25:
                return 0  # COCO's annotators leave the far side of a head unlabelled
            owners = ["head"]
        else:
            owners = [f"{side}_{limb}" for limb, ends in _LIMBS.items() if joint in ends[:2]]
            spine = np.mean([self.points[f"{side}_{joint}"][2] for side in SIDES])
            if joint in ("shoulder", "hip") and z > spine - 0.05 * self.scale:
                owners += ["torso", "backpack"]
        seen = canvas.labels[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        wanted = [person * LABELS_PER_PERSON + _PART_LABEL[owner] for owner in owners]
        return 2 if np.isin(seen, wanted).any() else 1


def sample_figure(rng: np.random.Generator, pose_spread: float, color_jitter: float) -> Figure:
    """Draw a body, its pose and its outfit; both settings in 0..1 (see the data set's settings)."""
    girth = np.exp(rng.normal(0.12, 0.12))
    head_radius = rng.uniform(0.080, 0.092)
    points, trunk_axes, head_axes = _pose(rng, pose_spread, girth, head_radius)
    outfit = _outfit(rng, color_jitter)
    return Figure(points, trunk_axes, head_axes, head_radius, girth, 1.0, outfit)


def _turn(start: int, end: int, degrees: float) -> np.ndarray:
    """Rotation (3, 3) that takes axis ``start`` towards axis ``end``."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    matrix[[start, end, start, end], [start, end, end, start]] = c, c, -s, s
    return matrix


def _pose(
    rng: np.random.Generator, spread: float, girth: float, head_radius: float
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    def roam(neutral, aim, noise: float) -> np.ndarray:
        neutral, aim = np.asarray(neutral, float), np.asarray(aim, float)
        return neutral + spread * (aim - neutral + rng.normal(0, noise, aim.shape))

    down, left, forward = np.array([0, 1.0, 0]), np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    facing = 0 if rng.random() < 0.6 else 180
    world = (
        _turn(X, Y, spread * rng.normal(0, 22))
        @ _turn(Z, Y, rng.uniform(0, 15))
        @ _turn(Z, X, facing + spread * rng.uniform(-75, 75))
    )
    *legs, lean = _LEG_POSES[rng.integers(len(_LEG_POSES))]
    legs = [legs[i] for i in rng.permutation(2)]
    trunk = (
        world
        @ _turn(Y, X, spread * rng.normal(0, 8))
        @ _turn(Y, Z, -roam(0, lean, 8))
        @ _turn(Z, X, spread * rng.normal(0, 12))
    )
    points = {}
    thorax = trunk @ -down * rng.uniform(0.25, 0.29)
    shoulder, hip = rng.uniform(0.105, 0.125) * girth**0.7, 0.066 * girth
    arm, leg = rng.uniform(0.95, 1.08, 2)
    for (side, sign), leg_pose, neutral in zip(SIDES.items(), legs, _STANDING[:2], strict=True):
        aim = _ARM_POSES[rng.integers(len(_ARM_POSES))]
        abduction, flexion, twist, elbow = roam(_ARMS_DOWN, aim, 14)
        upper = trunk @ _turn(Y, Z, flexion) @ _turn(Y, X, sign * abduction)
        lower = upper @ _turn(X, Z, sign * twist) @ _turn(Y, Z, elbow)
        points[f"{side}_shoulder"] = thorax + trunk @ left * sign * shoulder
        points[f"{side}_elbow"] = points[f"{side}_shoulder"] + upper @ down * 0.165 * arm
        points[f"{side}_wrist"] = points[f"{side}_elbow"] + lower @ down * 0.150 * arm
        points[f"{side}_fingers"] = points[f"{side}_wrist"] + lower @ down * 0.040
        flexion, abduction, knee = roam(neutral, leg_pose, 8)
        upper = world @ _turn(Y, Z, flexion) @ _turn(Y, X, sign * abduction)
        lower = upper @ _turn(Y, Z, -max(knee, 0))
        toes = _turn(X, Z, -sign * 20) @ (0.45 * down + 0.9 * forward)
        points[f"{side}_hip"] = world @ left * sign * hip
        points[f"{side}_knee"] = points[f"{side}_hip"] + upper @ down * 0.240 * leg
        points[f"{side}_ankle"] = points[f"{side}_knee"] + lower @ down * 0.225 * leg
        points[f"{side}_toes"] = points[f"{side}_ankle"] + lower @ toes * 0.060
    yaw, nod, tilt = spread * rng.normal(0, (25, 10, 10))
    head_axes = trunk @ _turn(X, Y, tilt) @ _turn(Z, X, yaw) @ _turn(Z, Y, nod)
    points["head"] = thorax + trunk @ -down * (0.075 + head_radius)
    for name, direction in _FACE.items():
        points[name] = points["head"] + head_axes @ direction * head_radius
    return points, trunk, head_axes


def _outfit(rng: np.random.Generator, jitter: float) -> dict[str, Texture]:
    def texture(colour: np.ndarray, striped: float) -> Texture:
        if rng.random() >= striped:
            return Texture(colour)
        stripe = np.clip(colour * 0.6 + rng.choice([0.0, 0.4]), 0, 1)
        return Texture(colour, stripe, rng.uniform(0.035, 0.07))

    def cloth(hue: float, saturation: float, value: float) -> Texture:
        hue += jitter * rng.uniform(-18, 18)
        saturation -= jitter * rng.uniform(0, 0.45)
        value -= jitter * rng.uniform(-0.1, 0.35)
        return texture(hsv(hue, saturation, value), 0.3)

    skin = hsv(rng.uniform(18, 32), rng.uniform(0.25, 0.5), rng.uniform(0.5, 0.98))
    outfit = {
        # shirt and shoes are nearly grey, so that only limbs tell the sides apart; the light
        # shirt and the dark backpack tell front from back
        "torso": texture(hsv(rng.uniform(0, 360), 0.12, rng.uniform(0.6, 0.95)), 0.5),
        "backpack": Texture(hsv(rng.uniform(270, 310), 0.5, rng.uniform(0.15, 0.35))),
        "neck": Texture(skin * 0.9),
        "head": Texture(skin),
        "hair": Texture(hsv(rng.uniform(15, 45), rng.uniform(0.2, 0.7), rng.uniform(0.08, 0.4))),
    }
    shoe = Texture(hsv(0, 0.05, rng.choice([0.12, 0.9])))
    # left limbs warm, right limbs cool; arms and legs, upper and lower segments differ in shade
    for side, arm_hue, leg_hue in (("left", 45, 355), ("right", 165, 228)):
        outfit[f"{side}_upper_arm"] = cloth(arm_hue, 0.90, 0.85)
        outfit[f"{side}_forearm"] = cloth(arm_hue, 0.65, 1.0)
        outfit[f"{side}_hand"] = Texture(skin)
        outfit[f"{side}_thigh"] = cloth(leg_hue, 0.90, 0.90)
        outfit[f"{side}_shin"] = cloth(leg_hue, 0.85, 0.60)
        outfit[f"{side}_shoe"] = shoe
    return outfit
