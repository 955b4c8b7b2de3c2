"""Operators in C for what PyTorch does slowly on a CPU."""
