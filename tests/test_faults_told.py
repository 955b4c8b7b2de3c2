"""What torch reports in paragraphs is one line that says what to do."""

import io
import re
import signal
import subprocess
import time
from contextlib import redirect_stdout, suppress

import psutil
import pytest
import torch
from forked import forked
from torch import nn
from training_runs import ROOT, tiny_trainer, trainer_command

from pose.support.errors import PoseError, command
from pose.training.faults import faults_in_one_line, less_memory

COMPILED = f"/tmp/torchinductor_me/ab/c{'a7' * 25}b.main.so"


class Greedy(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.empty(2**50)


def test_running_out_of_memory_says_which_setting_to_lower(data_root, tmp_path):
    trainer = tiny_trainer(data_root, tmp_path)
    trainer.take_step.net = Greedy()
    with (
        pytest.raises(
            PoseError, match=r"out of memory \(tried .*set train.micro_batch below 4 .*fp16"
        ),
        faults_in_one_line(less_memory(trainer.experiment.train)),
    ):
        trainer.run()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ..."),
            r"out of memory \(Tried to allocate 2.50 GiB\); buy more",
        ),
        (
            RuntimeError("CUDA error: out of memory\nCUDA kernel errors"),
            r"out of memory .*buy more",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), r"out of memory .*buy more"),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
            r"out of memory .*buy more",  # as cuDNN 9 says it
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling"), "out of memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), r"out of memory"),
        (
            RuntimeError("GET was unable to find an engine to execute this computation"),
            "a convolution, as in a full memory; buy more$",
        ),
        (
            RuntimeError("CUDA error: uncorrectable ECC error encountered\nCompile with"),
            r"the GPU's memory is faulty .*ECC error encountered\); start again on another GPU",
        ),
        (RuntimeError("NCCL error in: ProcessGroupNCCL.cpp\nmore"), "lost touch with another"),
        (
            RuntimeError("upsample_x_cuda does not have a deterministic implementation, but you"),
            "^upsample_x_cuda does not .* implementation; set train.deterministic to false$",
        ),
        (
            RuntimeError(f"ImportError: {COMPILED}: file too short"),
            f"^compiled code {COMPILED}: file too short, .*; delete it$",
        ),
    ],
)
def test_what_a_gpu_reports_is_one_line_with_the_remedy(error, line):
    with pytest.raises(PoseError, match=line) as caught, faults_in_one_line("buy more"):
        raise error
    assert "\n" not in str(caught.value)


def test_a_killed_loader_worker_is_named(data_root, tmp_path):
    command = trainer_command(data_root, tmp_path, "--workers", "1", epochs=100)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as trainer:
        while not list(tmp_path.glob("run/checkpoint-*.pt")):  # no compiler is running any more
            assert trainer.poll() is None
            time.sleep(0.05)
        while trainer.poll() is None:  # a worker that was about to end is not missed
            for worker in psutil.Process(trainer.pid).children():
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
            time.sleep(0.2)
        output = trainer.communicate(timeout=60)[0]
    assert trainer.returncode == 1
    assert re.search(r"^error: .*DataLoader worker .*lower --workers$", output.splitlines()[-1])


@pytest.mark.parametrize("error", [ConnectionResetError, EOFError])
def test_a_loader_worker_killed_while_it_hands_a_batch_over_is_named(error):
    with (
        pytest.raises(PoseError, match=r"DataLoader worker exited.*lower --workers"),
        faults_in_one_line(""),
    ):
        raise error


def test_whoever_reads_the_output_may_leave_and_no_worker_is_blamed():
    def speaking() -> None:
        unbuffered = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
        with redirect_stdout(unbuffered), faults_in_one_line(""):  # as with PYTHONUNBUFFERED
            print("epoch 1", flush=True)

    assert forked(command(speaking), reader=False) == (141, "", "")


def test_a_second_worker_that_ends_adds_nothing_to_the_first_ones_line():
    def as_pytorch_does(*_):
        raise RuntimeError("DataLoader worker (pid 2) is killed by signal: Killed. ")

    before = signal.signal(signal.SIGCHLD, as_pytorch_does)
    try:
        with pytest.raises(PoseError, match="DataLoader worker exited"), faults_in_one_line(""):
            raise EOFError
        signal.raise_signal(signal.SIGCHLD)
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize(
    "text",
    [
        "shape '[2]' is invalid",
        "ImportError: /usr/lib/libsomebody.so: file too short",  # nobody's to delete
        f"ImportError: {COMPILED}: undefined symbol",
    ],
)
def test_other_errors_of_torch_are_not_hidden(text):
    with pytest.raises(RuntimeError, match="^" + re.escape(text)), faults_in_one_line(""):
        raise RuntimeError(text)
