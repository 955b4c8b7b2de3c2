"""The samples of a data set: boxes, crops with their augmentation, synthetic people."""
