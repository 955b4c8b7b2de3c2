"""What the checks run on."""

from __future__ import annotations

import platform
import subprocess

import numpy as np
import timm
import torch

from pose.gpu_check.findings import Findings, Setup
from pose.support.device import hardware
from pose.support.rates import bandwidth, product_rate


def environment(setup: Setup, found: Findings) -> None:
    """Device, versions and flags; memory bandwidth, and the rate of products in 16 bits."""
    cudnn = torch.backends.cudnn
    found.note("device", hardware(setup.device))
    found.note("driver", _driver())
    found.note("torch", torch.__version__)
    found.note("CUDA", torch.version.cuda)
    found.note("cuDNN", cudnn.version())
    found.note("timm", timm.__version__)
    found.note("numpy", np.__version__)
    found.note("Python", platform.python_version())
    found.note("PyTorch's own flags", f"TF32 {cudnn.allow_tf32}, benchmark {cudnn.benchmark}")
    if not setup.quick:
        card = torch.cuda.get_device_properties(setup.device)
        found.note("memory GB", card.total_memory / 1e9)
        found.note("compute capability", f"{card.major}.{card.minor}")
    found.above("bandwidth GB/s", bandwidth(setup.device), 0)
    found.above("bf16 products TFLOP/s", product_rate(setup.device), 0)


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True).stdout.splitlines()[0]
    except (OSError, IndexError):
        return "unknown"
