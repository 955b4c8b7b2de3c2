"""The torch data set: one person's crop and joints an item; targets are made in batch later."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from pose.config import Augmentation
from pose.data.augment import Crop, generator, random_crop
from pose.data.crop import apply, crop_person, mirror_joints
from pose.data.images import check_size, read_image
from pose.data.samples import Samples


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
        joints, visible = samples.joints[index], samples.visible[index]
        crop = self.crop(index)
        pixels, matrix, width = self._pixels(int(samples.image_index[index]), crop)
        if crop.flip:
            flip_index = samples.keypoints.flip_index
            joints, visible = mirror_joints(joints, visible, width, flip_index)
        return {
            "image": torch.from_numpy(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)),
            "joints": torch.from_numpy(apply(matrix, joints).astype(np.float32)),
            "visible": torch.from_numpy(visible.copy()),
            "index": index,
        }

    def crop(self, index: int) -> Crop:
        """Which part of its image a sample is, in the present epoch."""
        samples = self.samples
        box = samples.centers[index], samples.scales[index]
        if self.augmentation is None:
            return Crop(*box)
        height, width = self.input_size
        rng = generator(self.seed, int(self._epoch), index)
        person = samples.joints[index], samples.visible[index]
        return random_crop(rng, self.augmentation, *box, *person, samples.keypoints, width / height)

    def _pixels(self, image_index: int, crop: Crop) -> tuple[np.ndarray, np.ndarray, int]:
        """The crop in BGR, the matrix from (mirrored) image to crop, and the image's width."""
        image = self._image(image_index)
        box = crop.center, crop.scale, self.input_size
        return *crop_person(image, *box, crop.rotation, crop.flip), image.shape[1]

    def _image(self, image_index: int) -> np.ndarray:
        """The decoded image; the last one is kept, as testing meets an image's persons in a row."""
        if self._last_image is None or self._last_image[0] != image_index:
            path = str(self.samples.image_paths[image_index])
            image = read_image(path, self.samples.image_folders)
            if self.samples.image_sizes is not None:
                check_size(image, self.samples.image_sizes[image_index], path)
            self._last_image = image_index, image
        return self._last_image[1]
