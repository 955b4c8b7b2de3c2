"""The torch data set: one person's crop and joints an item; targets are made in batch later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from pose.config import Augmentation
from pose.data.augment import Crop, draw, generator
from pose.data.crop import apply, crop_person, mirror_joints
from pose.data.samples import Samples
from pose.errors import PoseError

# EXIF orientation is ignored: COCO and MPII were annotated on the pixels as stored.
READ_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

cv2.setNumThreads(0)  # the loader's processes are the parallelism


def read_image(path: str | Path) -> np.ndarray:
    """The image (H, W, 3) uint8 BGR; PoseError when it is missing, truncated or undecodable."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise PoseError(f"image {path}: {error.strerror}; check data_root") from None
    # OpenCV fills the rest of a truncated JPEG with grey and says nothing.
    if data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9", len(data) // 2) < 0:
        raise PoseError(f"image {path}: truncated JPEG; fetch it again")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), READ_FLAGS) if data else None
    if image is None:
        raise PoseError(f"image {path}: cannot be decoded; fetch it again")
    return image


class PoseDataset(Dataset):
    """Crops of the persons in ``samples``, augmented unless ``augmentation`` is None.

    An item is a dict: ``image`` uint8 (H, W, 3) RGB; ``joints`` float32 (K, 2) in crop pixels
    (those not visible are meaningless); ``visible`` float32 (K,) 0 or 1; ``index`` int. It depends
    on (seed, epoch, index) alone, hence neither on the number of workers nor on the order.
    """

    def __init__(
        self,
        samples: Samples,
        input_size: tuple[int, int],
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ):
        self.samples = samples
        self.input_size = tuple(input_size)
        self.augmentation = augmentation
        self.seed = seed
        # In shared memory, so that workers that outlive an epoch see the next one. A loader hands
        # out an epoch's first index after set_epoch and its last one before the next set_epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._last_image: tuple[int, np.ndarray] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's random numbers; call it before iterating over the loader."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        samples = self.samples
        image = self._image(int(samples.image_index[index]))
        joints, visible = samples.joints[index], samples.visible[index]
        crop = self._crop(index)
        pixels, matrix = crop_person(image, crop.center, crop.scale, self.input_size, *crop[2:])
        if crop.flip:
            flip_index = samples.keypoints.flip_index
            joints, visible = mirror_joints(joints, visible, image.shape[1], flip_index)
        return {
            "image": torch.from_numpy(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)),
            "joints": torch.from_numpy(apply(matrix, joints).astype(np.float32)),
            "visible": torch.from_numpy(visible.copy()),
            "index": index,
        }

    def _crop(self, index: int) -> Crop:
        samples = self.samples
        box = samples.centers[index], samples.scales[index]
        if self.augmentation is None:
            return Crop(*box)
        height, width = self.input_size
        rng = generator(self.seed, int(self._epoch), index)
        person = samples.joints[index], samples.visible[index]
        return draw(rng, self.augmentation, *box, *person, samples.keypoints, width / height)

    def _image(self, image_index: int) -> np.ndarray:
        """The decoded image; the last one is kept, as testing meets an image's persons in a row."""
        if self._last_image is None or self._last_image[0] != image_index:
            path = str(self.samples.image_paths[image_index])
            self._last_image = image_index, read_image(path)
        return self._last_image[1]
