"""Outputs, locks and compiled code: whole or not at all, and never another user's file."""

import errno
import fcntl
import os
import resource
import signal
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from forked import forked

from pose.datasets.cache import checksum
from pose.kernels import build
from pose.support.cache_folder import cache_folder
from pose.support.errors import PoseError
from pose.support.files import atomic, own_folder, write_file
from pose.support.lock import Lock

STRANGER = 54321  # a user without an account


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_pipe_as_output_is_written_through(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with ThreadPoolExecutor(1) as pool:
            received = pool.submit(pipe.read_text)
            write_file(path, "all of it")
            assert received.result() == "all of it"
        assert stat.S_ISFIFO(path.stat().st_mode)
    assert sorted(tmp_path.iterdir()) == [link, pipe]


@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"])
def test_standard_output_as_output_goes_between_what_is_printed(name, tmp_path):
    def program() -> None:
        print("before")
        write_file(Path(name), "content\n")
        print("after")

    assert forked(program) == (0, "before\ncontent\nafter\n", "")
    # The same where it is a file, which a new one must not replace.
    file = tmp_path / "out.txt"

    def redirected() -> None:
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), 1)
        program()

    assert forked(redirected).status == 0
    assert file.read_text() == "before\ncontent\nafter\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a device's node")
def test_a_device_as_output_stays_a_device(tmp_path):
    node = tmp_path / "node"
    try:
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # what /dev/null is
        write_file(node, "gone")
    except (PermissionError, PoseError):
        pytest.skip("this file system allows no device")
    assert stat.S_ISCHR(node.stat().st_mode)


def test_a_link_as_output_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder/target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to("folder/target.txt")
    write_file(link, "new")
    assert link.is_symlink() and target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["target.txt"]


def test_outputs_have_the_permissions_of_any_new_file_or_of_the_old_one(tmp_path):
    path = tmp_path / "file"
    before = os.umask(0o027)
    try:
        write_file(path, "new")
        assert mode(path) == 0o640
        path.chmod(0o604)
        write_file(path, "newer")
        assert mode(path) == 0o604
    finally:
        os.umask(before)


def test_a_name_as_long_as_the_file_system_allows_is_written_and_a_longer_one_is_one_line(tmp_path):
    write_file(tmp_path / ("n" * 251 + ".txt"), "content")
    with pytest.raises(PoseError, match=r"cannot write .*File name too long"):
        write_file(tmp_path / ("n" * 252 + ".txt"), "content")


@pytest.mark.parametrize("name", ["folder", "file/below.txt"])
def test_a_folder_or_a_file_in_the_place_is_told_before_the_work(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(PoseError, match="cannot write"), atomic(tmp_path / name):
        pytest.fail("nothing may be done before")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def program() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        with pytest.raises(PoseError, match=f"cannot write {path}: File too large"):
            write_file(path, "n" * 1000)

    assert forked(program) == (0, "", "")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_lock_is_for_its_user_alone_and_names_its_holder(tmp_path):
    lock = Lock(tmp_path / "run/lock")
    assert lock.acquire()
    assert mode(lock.path) == 0o600
    assert f"process {os.getpid()} on" in lock.holder()
    lock.release()
    assert Lock(lock.path).acquire()  # the file that a killed process leaves


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "text", "pipe", "folder"])
def test_a_lock_never_follows_or_empties_what_is_no_lock(kind, tmp_path):
    precious, path = tmp_path / "precious.txt", tmp_path / "lock"
    precious.write_text("precious")
    if kind == "link":
        path.symlink_to(precious)
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "absent")
    elif kind == "hard link":
        os.link(precious, path)
    elif kind == "text":
        path.write_text("precious")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(PoseError, match=str(path)):
        Lock(path).acquire()
    assert precious.read_text() == "precious" and sorted(tmp_path.iterdir()) == before
    if kind == "text":
        assert path.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_lock_of_another_user_in_our_folder_is_none_of_ours(tmp_path):
    path = tmp_path / "lock"
    path.write_text("process 1 on host")
    os.chown(path, STRANGER, STRANGER)
    with pytest.raises(PoseError, match="no lock of ours"):
        Lock(path).acquire()
    os.chown(tmp_path, STRANGER, STRANGER)  # their run, which we are root enough to go on with
    assert Lock(path).acquire()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_one_line(number, tmp_path, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(PoseError, match=r"lock cannot be locked: .*file system that has POSIX"):
        Lock(tmp_path / "lock").acquire()


def test_a_folder_of_ones_own_is_made_for_nobody_else(tmp_path):
    folder = own_folder(tmp_path / "new", "choose another")
    assert mode(folder) == 0o700
    folder.chmod(0o755)
    own_folder(folder, "choose another")
    folder.chmod(0o777)
    with pytest.raises(PoseError, match=r"other users may write to .*new; chmod 700 it or choose"):
        own_folder(folder, "choose another")
    (tmp_path / "file").touch()
    with pytest.raises(PoseError, match="cannot write"):
        own_folder(tmp_path / "file", "choose another")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_another_users_folder_is_not_ones_own(kind, tmp_path):
    path = tmp_path / "theirs"
    if kind == "folder":
        path.mkdir(mode=0o700)
    else:
        (tmp_path / "ours").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "ours")
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(PoseError, match="theirs belongs to another user; choose another"):
        own_folder(path, "choose another")


@pytest.fixture
def compiled(tmp_path, monkeypatch) -> Path:
    """A tiny kernel's compiled file, in a cache of its own."""
    monkeypatch.setenv("POSE_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "one.c"
    source.write_text("int one(void) { return 1; }\n")
    if build.library(source) is None:
        pytest.skip("no C compiler")
    (library,) = (tmp_path / "cache/kernels").iterdir()
    build.library.cache_clear()
    return library


def test_a_compiled_kernel_is_for_its_user_alone(compiled):
    assert (mode(compiled.parent), mode(compiled)) == (0o700, 0o700)


@pytest.mark.parametrize("which", ["file", "folder"])
def test_a_kernel_that_others_may_write_is_not_loaded(which, compiled, capfd):
    path = compiled if which == "file" else compiled.parent
    path.chmod(0o777)
    assert build.library(compiled.parents[2] / "one.c") is None
    assert capfd.readouterr().err.startswith(
        f"one.c is not loaded (other users may write to {path}"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_another_users_kernel_is_not_loaded(compiled, capfd):
    os.chown(compiled, STRANGER, STRANGER)
    assert build.library(compiled.parents[2] / "one.c") is None
    assert capfd.readouterr().err.count("\n") == 1


def test_caches_lie_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("POSE_CACHE", raising=False)
    assert cache_folder("kernels") == tmp_path / "xdg/pose/kernels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("kernels") == tmp_path / ".cache/pose/kernels"
    monkeypatch.setenv("POSE_CACHE", str(tmp_path / "chosen"))
    assert cache_folder("kernels") == tmp_path / "chosen/kernels"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may read, which pytest's are not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_user_without_account_or_home_has_a_cache_of_their_own(monkeypatch, open_folder):
    annotations = open_folder / "annotations.json"
    annotations.write_text("[]")
    annotations.chmod(0o644)
    for variable in ("HOME", "POSE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(open_folder))
    own = open_folder / f"pose-{STRANGER}"
    own.mkdir(mode=0o700)

    def program() -> None:
        os.setuid(STRANGER)
        print(cache_folder("annotations"), len(checksum(annotations)))

    refused = forked(program)  # root's folder in their place
    assert "belongs to another user; set POSE_CACHE" in refused.errors
    os.chown(own, STRANGER, STRANGER)
    assert forked(program) == (0, f"{own}/annotations 64\n", "")
