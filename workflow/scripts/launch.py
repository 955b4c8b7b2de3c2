"""Run a module of this project on some GPUs: ``python workflow/scripts/launch.py GPUS MODULE ...``.

Snakemake counts GPUs but does not say which. This takes the first free ones of the machine, each by
a lock that lasts as long as the program, and names them in CUDA_VISIBLE_DEVICES; without enough
free ones it waits. SLURM chooses by itself. With several GPUs the module is run by torchrun, one
process a GPU. On a machine without any it runs on the CPU, and says so.

The GPUs of the machine are those that CUDA_VISIBLE_DEVICES lists, otherwise all that nvidia-smi
knows; the locks lie in POSE_GPU_LOCKS, by default a folder of the user's below /tmp.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pose.support.errors import PoseError, command
from pose.support.files import own_folder
from pose.support.lock import Lock


def devices() -> list[str]:
    """The GPUs that this process may use; none where nvidia-smi is missing or fails."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # CUDA itself sees those before the first that does not exist, such as -1.
        names = (name.strip() for name in visible.split(","))
        return list(itertools.takewhile(lambda name: name and not name.startswith("-"), names))
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line for line in done.stdout.split() if line.isdecimal()]


def take(count: int) -> list[str]:
    """The first ``count`` free GPUs, all at once; their locks outlive ``exec``.

    None where the machine has no GPU at all.
    """
    known, folder = devices(), _lock_folder()
    if not known:
        return []
    if count > len(known):
        raise PoseError(f"{count} GPUs were asked for but this machine has {len(known)}")
    told = False
    while True:
        taken: dict[str, Lock] = {}
        for device in known:
            lock = Lock(folder / f"gpu-{device}.lock")
            if len(taken) < count and lock.acquire():
                taken[device] = lock
        if len(taken) == count:
            for lock in taken.values():
                lock.outlive_exec()
            return list(taken)
        for lock in taken.values():
            lock.release()
        if not told:
            print(f"waiting for {count} free GPUs of {', '.join(known)}", flush=True)
        told = True
        time.sleep(1)


def _lock_folder() -> Path:
    default = Path(tempfile.gettempdir(), f"pose-gpu-locks-{os.getuid()}")
    folder = Path(os.environ.get("POSE_GPU_LOCKS", default))
    return own_folder(folder, "let POSE_GPU_LOCKS name a folder of yours")


def program(gpus: int) -> list[str]:
    """What runs a module."""
    if gpus > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
        return [sys.executable, *torchrun]
    return [sys.executable]


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gpus", type=int, help="0: run it on the CPU")
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args()

    gpus = args.gpus
    if gpus and "SLURM_JOB_ID" not in os.environ:
        taken = take(gpus)
        if not taken:  # the program itself refuses --device cuda
            print("no GPU is visible: running on the CPU", file=sys.stderr)
        os.environ["CUDA_VISIBLE_DEVICES"], gpus = ",".join(taken), len(taken)
    # In this process's place, so that signals reach the program itself.
    os.execv(sys.executable, [*program(gpus), "-m", args.module, *args.arguments])


if __name__ == "__main__":
    main()
