"""Whether trainings and predictions on this GPU are right: ten checks, each with its limits."""

CHECKS = {
    "environment": "environment",
    "parity": "numerics",
    "step": "numerics",
    "autocast": "numerics",
    "waits": "numerics",
    "determinism": "numerics",
    "training": "processes",
    "distribution": "processes",
    "compiled": "numerics",
    "inference": "numerics",
}
"""Names of checks, and the module of this package where each is a function."""
