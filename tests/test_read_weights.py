"""Anybody's checkpoints: their tensors are found, nothing in them is run, and damage is told."""

import json
import os
import pickle
import re
import tarfile
import warnings
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from pose.support.errors import PoseError
from pose.weights import (
    read_state_dict,
)

TENSORS = {"a.weight": torch.ones(2), "b": torch.zeros(1, 2)}
OTHERS = {key: tensor + 5 for key, tensor in TENSORS.items()}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}


def read(path, content, **options) -> dict:
    torch.save(content, path, **options)
    return read_state_dict(path)


def assert_tensors(state: dict) -> None:
    assert state.keys() == TENSORS.keys()
    assert all(torch.equal(state[key], tensor.to(state[key])) for key, tensor in TENSORS.items())


@pytest.mark.parametrize(
    "checkpoint",
    [
        TENSORS,
        {"epoch": 3, "state_dict": TENSORS},
        {"net": TENSORS, "epoch": torch.tensor(3), "optimizer": OPTIMIZER},
        {"model": {"state_dict": TENSORS}},
        {"model_state_dict": TENSORS, "optimizer": OPTIMIZER},
        {"state_dict_ema": TENSORS, "state_dict": {}},
        {
            "best_state_dict": OTHERS,
            "state_dict": TENSORS,
            "perf": np.float64(0.7),
            "m": np.ones(3),
        },
        {"model": TENSORS, "model_ema": OTHERS},
        {"model": TENSORS, "best": TENSORS},  # one mapping under two names
        {"ema": {"shadow": {"params": TENSORS}}},
        {key: torch.nn.Parameter(tensor) for key, tensor in TENSORS.items()},
        {key: tensor.double() for key, tensor in TENSORS.items()},
        {key: tensor.half() for key, tensor in TENSORS.items()},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_model_s_tensors_are_found_in_a_training_s_state(tmp_path, checkpoint, zipped):
    assert_tensors(read(tmp_path / "file.pth", checkpoint, _use_new_zipfile_serialization=zipped))


@pytest.mark.parametrize(
    "prefix", ["module.", "module.module.", "_orig_mod.", "module._orig_mod.", "model._orig_mod."]
)
def test_the_prefixes_of_parallel_compiled_and_wrapped_models_are_dropped(tmp_path, prefix):
    path = tmp_path / "file.pth"
    assert_tensors(read(path, {prefix + key: tensor for key, tensor in TENSORS.items()}))
    if "model." not in prefix:  # a part of the model may have been wrapped alone
        assert_tensors(read(path, {f"a.{prefix}weight": torch.ones(2), "b": TENSORS["b"]}))


def test_safetensors_are_read_as_they_are(tmp_path):
    save_file(TENSORS, tmp_path / "file.safetensors")
    assert_tensors(read_state_dict(tmp_path / "file.safetensors"))


CIRCLE: dict = {"a": {}}
CIRCLE["a"]["b"] = CIRCLE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"net": TENSORS, "ema": OTHERS}, "holds tensors in net, ema; keep the model's as 'state"),
        (
            {"a": torch.ones(1), "b": "text"},
            r"other than named tensors \('b' is a str\), which is no",
        ),
        ({"state_dict": {"a": 1}, "epoch": 2}, "'a' is a int"),
        ({0: torch.ones(1)}, "0 is a Tensor"),
        ({"a": np.ones(2)}, "'a' is an object of numpy"),
        ([torch.ones(1)], r"\(a list\)"),
        ({}, "nothing"),
        (CIRCLE, "'a' is a dict"),
        (
            {"a": torch.ones(1), "_orig_mod.a": torch.ones(1)},
            "names differ only in a trainer's prefix",
        ),
        ({"a": torch.tensor([1, float("nan")])}, "its tensor 'a' has values that are not finite"),
        ({"a": torch.tensor([float("inf")]).half()}, "its tensor 'a' has values that are not fin"),
        ({"a": torch.ones(2).to_sparse()}, "'a' is an object of .*_rebuild_sparse_tensor"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "'a' is not of plain numbers .*complex64"),
        ({"a": torch.ones(2, device="meta")}, "'a' is an object of .*_rebuild_meta_tensor"),
        ({"a": torch.ones(1).expand(9)}, r"'a' claims the shape \(9,\), but has fewer"),
        ({"a": torch.ones(1).expand(10**12)}, "its tensors claim more values than the file"),
        ({"a": torch.ones(2, dtype=torch.uint16)}, "'a' is an object of .*_rebuild_tensor_v3"),
    ],
)
def test_what_is_not_the_tensors_of_one_model_is_told_in_one_line(tmp_path, content, message):
    with pytest.raises(PoseError, match=f"file.pth: .*{message}"):
        read(tmp_path / "file.pth", content)


class Calls:
    """Unpickling this calls ``function``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class KitModel(torch.nn.Module):
    """A model that its authors pickled whole."""


STORAGE = torch.ones(4).untyped_storage()


def lying(*layout: object) -> Calls:
    """A tensor of four values that claims another offset, size and stride."""
    with warnings.catch_warnings(action="ignore"):
        storage = torch.ones(4).storage()
    return Calls(torch._utils._rebuild_tensor_v2, storage, *layout, False, {})


@pytest.mark.parametrize(
    ("evil", "message"),
    [
        (lambda ran: Calls(os.system, f"touch {ran}"), "class posix.system, which is not read"),
        (lambda ran: Calls(eval, f"open({str(ran)!r}, 'w')"), "eval, which is not read"),
        (lambda ran: Calls(open, str(ran), "w"), "of class io.open"),
        (lambda ran: Calls(getattr, Calls(open, str(ran), "w"), "name"), "which is not"),
        (lambda ran: KitModel(), r"of class test_read_weights\.KitModel, which is not read"),
        (lambda ran: lying(0, (1000,), (1,)), ""),
        (lambda ran: lying(3, (4,), (-1,)), ""),
        (lambda ran: lying(10**9, (4,), (1,)), ""),
        (lambda ran: lying(0, (2**62, 2**62), (0, 0)), ""),
        (lambda ran: lying(0, (-4,), (1,)), ""),
        (lambda ran: Calls(torch.Tensor, 10**15), ""),
    ],
)
def test_nothing_is_run_and_no_line_advises_to_run_it(tmp_path, evil, message):
    path, ran = tmp_path / "evil.pth", tmp_path / "ran"
    content = {"a": torch.ones(1), "b": evil(ran)}
    pickled = [pickle.dumps(content["b"], protocol) for protocol in (0, 2, 4)] if message else []
    for write in (
        lambda: torch.save(content, path),
        lambda: torch.save(content, path, pickle_protocol=4) if message else None,
        lambda: torch.save(content, path, _use_new_zipfile_serialization=False),
        *(partial(path.write_bytes, data) for data in pickled),
    ):
        write()
        with pytest.raises(
            PoseError, match=f"not a readable file of tensors only: .*{message}"
        ) as e:
            read_state_dict(path)
        assert not ran.exists()
        assert len(str(e.value).splitlines()) == 1
        assert not re.search("weights_only|safe_globals|trust|docs", str(e.value))


def test_archives_that_are_no_checkpoints_of_today_are_one_line(tmp_path):
    path = tmp_path / "file.pth"
    for members, message in (
        ({"x/data.pkl": bytes(10**7)}, "it would unpack to 0.0 GB, which no weights do"),
        ({"x/data.pkl": b"", "x/constants.pkl": b"", "x/version": b"3"}, "a TorchScript program"),
        ({"readme": b""}, "not a readable file"),
    ):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        with pytest.raises(PoseError, match=message):
            read_state_dict(path)
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(PoseError, match="PyTorch's first format, a tar archive"):
        read_state_dict(path)


def header(**tensors: dict) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


def entry(shape: list[int], start: int, end: int) -> dict:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text that is no header",
        (2**60).to_bytes(8, "little"),
        header(a=entry([2], 0, 8)) + bytes(4),
        header(a=entry([2], 0, 4)) + bytes(4),
        header(a=entry([2**63, 2**63], 0, 4)) + bytes(4),
        header(a=entry([1], 4, 8)) + bytes(8),
        header(a=entry([1], 0, 4)) + np.float32("nan").tobytes(),
        header(),
    ],
)
def test_damaged_safetensors_are_one_line_that_names_the_file(tmp_path, content):
    path = tmp_path / "file.safetensors"
    path.write_bytes(content)
    with pytest.raises(PoseError, match=f"^{path}: .+"):
        read_state_dict(path)


def test_unreadable_checkpoints_are_one_line(tmp_path):
    path = tmp_path / "torn.pth"
    torch.save({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(PoseError, match=f"{path}: not a readable file"):
        read_state_dict(path)
    for content in (save(TENSORS), b"<!DOCTYPE html>", b""):  # renamed, a proxy's page, empty
        path.write_bytes(content)
        with pytest.raises(PoseError, match="it is damaged, or not written by "):
            read_state_dict(path)
    with pytest.raises(PoseError, match="no such file"):
        read_state_dict(tmp_path / "absent.pth")
    with pytest.raises(PoseError, match="not a plain file"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_flipped_bit_gives_other_numbers_or_one_line(tmp_path, zipped):
    path = tmp_path / "flipped.pth"
    torch.save({"net": TENSORS}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for place in np.random.RandomState(0).randint(0, 8 * len(whole), 150):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            state = read_state_dict(path)
        except PoseError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1
        else:
            assert all(tensor.isfinite().all() for tensor in state.values())
