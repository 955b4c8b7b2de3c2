"""The straightforward way, as most code bases of the field have it: what ours is compared with.

One sample, one joint at a time, in numpy. Written for this comparison, after what HRNet does.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from pose.data.augment import Crop
from pose.data.crop import affine, inverse
from pose.data.image_decode import READ_FLAGS
from pose.data.samples import Samples
from pose.datasets.keypoints import KeypointSet
from pose.targets.heatmap import IMAGENET

SIGMA = 2.0


def read_with_pillow(path: str) -> np.ndarray:
    """The image in RGB."""
    return np.array(Image.open(path).convert("RGB"))


def read_with_opencv(path: str) -> np.ndarray:
    """The image in RGB."""
    return cv2.cvtColor(cv2.imread(path, READ_FLAGS), cv2.COLOR_BGR2RGB)


def load_batch(
    samples: Samples,
    crops: list[tuple[int, Crop]],
    size: tuple[int, int],
    read: Callable[[str], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (B, 3, H, W) float32, targets (B, K, H/4, W/4) and weights (B, K)."""
    loaded = [_load(samples, index, crop, size, read) for index, crop in crops]
    images, targets, weights = zip(*loaded, strict=True)
    return np.stack(images), np.stack(targets), np.stack(weights)


def _load(
    samples: Samples,
    index: int,
    crop: Crop,
    size: tuple[int, int],
    read: Callable[[str], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    height, width = size
    path = str(samples.image_paths[samples.image_index[index]])
    image = read(path)
    joints, visible = samples.joints[index].copy(), samples.visible[index].copy()
    center = crop.center.copy()
    if crop.flip:
        image = image[:, ::-1].copy()
        center[0] = image.shape[1] - center[0] - 1
        joints[:, 0] = image.shape[1] - joints[:, 0] - 1
        for left, right in samples.keypoints.flip_pairs:
            joints[[left, right]] = joints[[right, left]]
            visible[[left, right]] = visible[[right, left]]
    matrix = affine(center, crop.scale, crop.rotation, size)
    pixels = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)
    scaled = pixels.astype(np.float32) / np.float32(255)
    normalised = (scaled - np.float32(IMAGENET.mean)) / np.float32(IMAGENET.std)
    targets = np.zeros((len(joints), height // 4, width // 4), np.float32)
    for joint in range(len(joints)):
        joints[joint] = matrix[:, :2] @ joints[joint] + matrix[:, 2]
        visible[joint] *= _draw_gaussian(targets[joint], joints[joint], visible[joint] > 0)
    return normalised.transpose(2, 0, 1), targets, visible


def _draw_gaussian(target: np.ndarray, joint: np.ndarray, wanted: bool) -> bool:
    """Draw a joint's Gaussian where it meets the map; whether it does."""
    radius, (height, width) = int(3 * SIGMA), target.shape
    x, y = (int(side / 4 + 0.5) for side in joint)
    left, top, right, bottom = x - radius, y - radius, x + radius + 1, y + radius + 1
    if left >= width or top >= height or right < 0 or bottom < 0:
        return False
    grid = np.arange(2 * radius + 1, dtype=np.float32) - radius
    gaussian = np.exp(-(grid[None] ** 2 + grid[:, None] ** 2) / (2 * SIGMA**2))
    if wanted:
        rows, columns = slice(max(top, 0), bottom), slice(max(left, 0), right)
        patch = target[rows, columns]
        y0, x0 = max(-top, 0), max(-left, 0)
        patch[:] = gaussian[y0 : y0 + patch.shape[0], x0 : x0 + patch.shape[1]]
    return True


def decode_batch(
    heatmaps: np.ndarray,
    mirrored: np.ndarray,
    centers: np.ndarray,
    scales: np.ndarray,
    keypoints: KeypointSet,
    shift: int,
) -> np.ndarray:
    """Joints and scores (B, K, 3) in the image, of maps (B, K, h, w) and of the mirrored crop's."""
    batch, joints, height, width = heatmaps.shape
    found = np.zeros((batch, joints, 3), np.float32)
    for b in range(batch):
        for k in range(joints):
            other = mirrored[b, keypoints.flip_index[k], :, ::-1].copy()
            if shift:
                other[:, shift:] = other[:, :-shift].copy()
            found[b, k] = _decode((heatmaps[b, k] + other) / 2)
        back = inverse(affine(centers[b], scales[b], 0.0, (height, width)))
        for k in range(joints):
            found[b, k, :2] = back @ np.array([*found[b, k, :2], 1.0])
    return found


def _decode(heatmap: np.ndarray) -> tuple[float, float, float]:
    height, width = heatmap.shape
    index = int(heatmap.argmax())
    x, y, score = index % width, index // width, float(heatmap.flat[index])
    if score <= 0:
        return 0.0, 0.0, score
    dx = dy = 0.0
    if 1 < x < width - 1 and 1 < y < height - 1:
        dx = 0.25 * np.sign(heatmap[y, x + 1] - heatmap[y, x - 1])
        dy = 0.25 * np.sign(heatmap[y + 1, x] - heatmap[y - 1, x])
    return x + dx, y + dy, score
