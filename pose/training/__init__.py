"""The parts of a training run: order of samples, learning rate, checkpoints."""
