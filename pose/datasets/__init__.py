"""The data sets: keypoints, layout on disk, annotation files as flat arrays."""
