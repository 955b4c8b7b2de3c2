"""Data sets: annotations as flat arrays, crops with their augmentation, synthetic people."""
