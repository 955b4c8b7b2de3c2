"""Run a command on some GPUs: ``python workflow/scripts/launch.py GPUS CORES MODULE ...``.

Snakemake counts GPUs but does not say which. This takes the first free ones of the machine, each by
a lock that lasts as long as the program, and names them in CUDA_VISIBLE_DEVICES; without enough
free ones it waits. With several GPUs the module is run by torchrun, one process a GPU. Of CORES,
every process leaves one to itself and the others to its loader's. On a machine without any GPU it
runs on the CPU, and says so.

The GPUs of the machine are those that CUDA_VISIBLE_DEVICES lists, otherwise all that nvidia-smi
knows; the locks lie in POSE_GPU_LOCKS, by default a folder of the user's below /tmp. POSE_GPU_SLOTS
jobs share a GPU, by default one. In a SLURM job there is nothing to choose where as many GPUs are
visible as are asked for. On several nodes, one task on each, torchrun's processes find each other.

A training in a SLURM job is told to save and stop two minutes before the job's time limit, and the
job is put back in the queue.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pose.support.errors import PoseError, command
from pose.support.files import own_folder
from pose.support.lock import Lock

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1")
"""What is passed on. SIGUSR1 kills a torchrun that is not told, and leaves its processes behind."""
SAVING = 120.0
"""Seconds before SLURM's time limit at which a training is told to stop."""
PROGRESS = 600.0
"""Seconds without which another job would come no further: loading alone takes minutes."""
GOES_ON = "pose.train"
"""The command that continues where it was."""


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
    known, job = devices(), os.environ.get("SLURM_JOB_ID")
    if not known or (job and len(known) == count):
        return known
    if count > len(known):
        raise PoseError(f"{count} GPUs were asked for but this machine has {len(known)}")
    # Each SLURM job may count its GPUs from 0.
    places = _lock_folder() / (f"slurm-{job}" if job else ""), range(_slots())
    told = False
    while True:
        taken = _take_free(count, known, *places)
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


def _take_free(count: int, known: list[str], folder: Path, slots: range) -> dict[str, Lock]:
    """Up to ``count`` GPUs, those with no job before those that have one already."""
    taken: dict[str, Lock] = {}
    for slot, device in itertools.product(slots, known):
        lock = Lock(folder / f"gpu-{device}{f'-{slot}' if slot else ''}.lock")
        if len(taken) < count and device not in taken and lock.acquire():
            taken[device] = lock
    return taken


def _slots() -> int:
    text = os.environ.get("POSE_GPU_SLOTS", "1")
    if not re.fullmatch("[1-9][0-9]?", text):
        raise PoseError(f"POSE_GPU_SLOTS {text!r}: give the number of jobs that share a GPU")
    return int(text)


def _lock_folder() -> Path:
    default = Path(tempfile.gettempdir(), f"pose-gpu-locks-{os.getuid()}")
    folder = Path(os.environ.get("POSE_GPU_LOCKS", default))
    return own_folder(folder, "let POSE_GPU_LOCKS name a folder of yours")


def program(gpus: int) -> list[str]:
    """What runs a module on this machine's ``gpus``, together with those of SLURM's other nodes."""
    nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
    if gpus <= 1 and nodes == 1:
        return [sys.executable]
    return [
        *(sys.executable, "-m", "torch.distributed.run"),
        *(_rendezvous(nodes) if nodes > 1 else ["--standalone"]),
        f"--nproc-per-node={max(1, gpus)}",
        f"--signals-to-handle={','.join(SIGNALS)}",
    ]


def _rendezvous(nodes: int) -> list[str]:
    """How the processes of a SLURM step find each other: by the first node, at a port of the job's.

    PoseError unless the step has one task on each node.
    """
    tasks = int(os.environ["SLURM_STEP_NUM_TASKS"])
    if tasks != nodes:
        raise PoseError(f"{tasks} tasks on {nodes} nodes; give srun --ntasks-per-node=1")
    listing = ["scontrol", "show", "hostnames", os.environ["SLURM_STEP_NODELIST"]]
    first = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()[0]
    return [
        f"--nnodes={nodes}",
        f"--node-rank={os.environ['SLURM_NODEID']}",
        f"--master-addr={first}",
        f"--master-port={20000 + int(os.environ['SLURM_JOB_ID']) % 10000}",
    ]


def workers(cores: int, gpus: int) -> int:
    """The loader's processes of each trainer; a GPU never waits for its own trainer to load."""
    return max(cores // max(1, gpus) - 1, int(gpus > 0))


def run_in_job(arguments: list[str], job: str, goes_on: bool) -> int:
    """Run a program in a SLURM job, and give its exit status.

    One that ``goes_on`` where it was is stopped before the time limit, and the job put back in the
    queue, which ends it; unless it had less time than it takes to make some progress.
    """
    seconds = seconds_left(job) if goes_on else None
    child = subprocess.Popen(arguments)
    for name in SIGNALS:
        signal.signal(getattr(signal, name), lambda number, _: child.send_signal(number))
    try:
        status = child.wait(None if seconds is None else max(0, seconds - SAVING))
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGUSR1)
        status = child.wait()
        if status and seconds > PROGRESS:
            print(f"job {job} is at its time limit: back to the queue", flush=True)
            if subprocess.run(["scontrol", "requeue", job]).returncode == 0:
                time.sleep(SAVING)
    return status if status >= 0 else 128 - status


def seconds_left(job: str) -> float | None:
    """Until the time limit of a SLURM job; None where there is none, or it is not known."""
    query = ["squeue", "--noheader", f"--jobs={job}", "--format=%L"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    if not (parts := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", told)):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gpus", type=int, help="0: run it on the CPU")
    parser.add_argument("cores", type=int, help="of all processes together")
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args()

    gpus = args.gpus
    if gpus:
        taken = take(gpus)
        if not taken:  # the program itself refuses --device cuda
            print("no GPU is visible: running on the CPU", file=sys.stderr)
        os.environ["CUDA_VISIBLE_DEVICES"], gpus = ",".join(taken), len(taken)
    loading = ["--workers", str(workers(args.cores, gpus))]
    run = [*program(gpus), "-m", args.module, *args.arguments, *loading]
    if job := os.environ.get("SLURM_JOB_ID"):
        sys.exit(run_in_job(run, job, args.module == GOES_ON))
    # In this process's place, so that signals reach the program itself.
    os.execv(sys.executable, run)


if __name__ == "__main__":
    main()
