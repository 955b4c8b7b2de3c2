"""What a command says to wrong options and to what the machine does to it."""

import errno
import os
import sys
from pathlib import Path

import pytest
import torch
from forked import forked

from pose.support import cli
from pose.support.device import require_capability, require_driver, select_device
from pose.support.errors import PoseError, command


@pytest.fixture
def parser() -> cli.Parser:
    result = cli.parser("pose.x", "Does x.")
    result.add_argument("--workers", type=cli.WORKERS)
    result.add_argument("--threshold", type=cli.number(0, 1))
    result.add_argument("--minutes", type=cli.MINUTES)
    result.add_argument("--output", type=cli.output_file(".json"))
    result.add_argument("--output-dir", type=cli.output_folder)
    return result


@pytest.mark.parametrize(
    "words",
    [
        *(f"--workers {value}" for value in ("-1", "1.5", "nan", "x", "", "9" * 5000)),
        *(f"--threshold {value}" for value in ("-0.1", "1.1", "nan", "inf", "x")),
        *(f"--minutes {value}" for value in ("0", "-1", "nan", "inf", "1e300")),
        *(f"--output {value}" for value in ("", ".", "x.txt", "/proc/x.json", "file/x.json")),
        *(f"--output-dir {value}" for value in ("file", "file/below", "/proc/none/below")),
    ],
)
def test_an_option_out_of_range_is_one_line_that_names_it(
    words, parser, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    option, value = words.split(" ")
    if value.startswith("/proc") and os.access("/proc", os.W_OK):
        monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith("/proc"))
    with pytest.raises(SystemExit) as end:
        parser.parse_args([f"{option}={value}"])
    message = capsys.readouterr().err
    assert end.value.code == 2 and message.count("\n") == 1
    assert message.startswith(f"error: argument {option}: ")
    assert os.listdir() == ["file"]


def test_options_in_range_are_taken(parser, tmp_path):
    words = ["--workers", "0", "--threshold", "0.5", "--minutes", "0.02"]
    words += ["--output", f"{tmp_path}/new/x.json", "--output-dir", f"{tmp_path}/new/y"]
    args = parser.parse_args(words)
    assert (args.workers, args.threshold, args.minutes) == (0, 0.5, 0.02)
    os.mkfifo(tmp_path / "pipe")
    assert parser.parse_args(["--output", f"{tmp_path}/pipe"]).output == tmp_path / "pipe"


def test_an_output_is_never_another_options_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("in.json").write_text("the user's")
    os.symlink("in.json", "link.json")
    parser = cli.parser("pose.x", "Does x.")
    parser.add_argument("inputs", nargs="*", type=Path)
    parser.add_argument("--experiment")
    parser.add_argument("--output", type=cli.output_file())
    parser.add_argument("--log", type=cli.output_file())
    parser.parse_args(["in.json", "in.json", "--output", "out.json", "--log", "log.json"])
    parser.parse_args(["--output", "/dev/stdout", "--log", "/dev/stdout"])
    for words in (
        "x in.json --output in.json",
        "--experiment in.json --output link.json",
        "--log new/../out.json --output out.json",
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(words.split())
        message = capsys.readouterr().err
        assert message.count("\n") == 1 and "are the same file" in message


def fails_with(error: BaseException):
    @command
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PoseError("one"), "error: one"),
        (PoseError("one\n  two \n\nthree"), "error: one; two; three"),
        (
            PoseError(
                "Caught PoseError in worker process 0.\nOriginal Traceback:\n  File x\n"
                "pose.support.errors.PoseError: image a.jpg\n  damaged\n"
            ),
            "error: image a.jpg; damaged",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x.csv"), "error: x.csv: No such file"),
        (
            UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates not allowed"),
            r"error: 'caf\udce9' is no text in utf-8; rename it",
        ),
        (MemoryError(), "error: out of memory; use a machine with more, or fewer --workers"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_user_can_mend_is_one_line(error, line):
    with pytest.raises(SystemExit) as end:
        fails_with(error)()
    assert end.value.code == line


def test_mistakes_of_ours_keep_their_traceback():
    with pytest.raises(KeyError):
        fails_with(KeyError("x"))()
    with pytest.raises(OSError, match="told by a library"):
        fails_with(OSError("told by a library"))()


def test_an_interrupt_is_told_without_a_traceback():
    assert forked(fails_with(KeyboardInterrupt())) == (130, "", "error: interrupted\n")


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_leaves_ends_a_command_like_other_tools(lines):
    @command
    def main() -> None:
        print("line\n" * lines)

    assert forked(main, reader=False) == (141, "", "")


def test_a_pipe_that_breaks_elsewhere_is_told():
    assert forked(fails_with(BrokenPipeError(errno.EPIPE, "Broken pipe"))).errors == (
        "error: Broken pipe\n"
    )


def test_names_that_the_terminal_cannot_show_are_escaped():
    @command
    def main() -> None:
        print("caf\udce9 ± 1")

    def on_an_old_terminal() -> None:
        sys.stdout.reconfigure(encoding="ascii")
        main()

    assert forked(on_an_old_terminal) == (0, "caf\\udce9 \\xb1 1\n", "")


@pytest.mark.parametrize("name", ["mps", "gpu", "cuda:", "cuda:-1", "CUDA", "xpu", ""])
def test_a_device_that_is_none_is_one_line(name):
    with pytest.raises(PoseError, match=rf"device '{name}': give auto, cpu, cuda or cuda:NUMBER"):
        select_device(name)


def broken(*arguments: object, **options: object) -> None:
    raise RuntimeError("CUDA error: out of order\nCUDA kernel errors might be reported later")


@pytest.mark.parametrize("kind", ["absent", "broken"])
def test_auto_is_the_cpu_where_no_gpu_works_and_says_so(kind, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: kind == "broken")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    monkeypatch.setattr(torch, "zeros", broken)
    assert select_device("auto") == torch.device("cpu")
    reason = "CUDA does not work (CUDA error: out of order)"
    reason = reason if kind == "broken" else "no GPU is visible"
    assert capsys.readouterr().err == f"device auto: {reason}; running on the CPU\n"
    with pytest.raises(PoseError, match="device cuda was asked for but"):
        select_device("cuda")


def test_a_driver_older_than_torchs_cuda_is_told_with_both_versions():
    too_old = "The NVIDIA driver on your system is too old (found version 12020). Please update"
    with pytest.raises(PoseError, match=r"CUDA up to 12\.2, and the installed torch needs 13\.0"):
        require_driver(too_old, "13.0")
    require_driver("Found no NVIDIA driver on your system.", "13.0")  # there is no GPU at all


BUILT_FOR = ["sm_75", "sm_80", "sm_86", "sm_90"]


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_that_is_there_but_not_for_this_torch_is_no_reason_to_take_the_cpu(
    device, monkeypatch
):
    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 12020).")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(PoseError, match=r"driver knows CUDA up to 12\.2"):
        select_device(device)
    card = {"is_available": True, "device_count": 1, "get_device_name": "Tesla V100"}
    card |= {"get_arch_list": BUILT_FOR, "get_device_capability": (7, 0)}
    for name, answer in card.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    with pytest.raises(PoseError, match=r"Tesla V100 has compute capability 7\.0"):
        select_device(device)


def test_a_gpu_for_which_torch_has_no_code_is_named():
    with pytest.raises(
        PoseError, match=r"Tesla V100 has compute capability 7\.0, .*no code \(sm_7"
    ):
        require_capability("Tesla V100", (7, 0), BUILT_FOR)
    with pytest.raises(PoseError, match=r"capability 10\.0"):
        require_capability("B200", (10, 0), BUILT_FOR)


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 9), (9, 0)])
def test_gpus_run_code_of_their_own_generation_and_all_run_intermediate_code(capability):
    require_capability("a GPU", capability, BUILT_FOR)
    require_capability("B200", (10, 0), [*BUILT_FOR, "compute_90"])


def test_a_gpu_beyond_those_there_are_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(PoseError, match="no GPU 2: only 2 visible"):
        select_device("cuda:2")


def test_no_output_replaces_an_input_or_another_output(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    parser = cli.parser("pose.x", "Does x.")
    parser.add_argument("--experiment")
    parser.add_argument("--tables", type=Path, nargs="+")
    parser.add_argument("--output", type=cli.output_file())
    parser.add_argument("--log", type=cli.output_file())
    Path("link").symlink_to("a")
    for words in (
        "--experiment a --output a",
        "--tables b a --output link",
        "--output a --log ./a",
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(words.split())
        message = capsys.readouterr().err
        assert "are the same file" in message and message.count("\n") == 1
    os.mkfifo("pipe")
    parser.parse_args(["--tables", "a", "a", "--output", "pipe", "--log", "pipe"])
