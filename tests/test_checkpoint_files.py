"""The tensors of a checkpoint are found in whatever its project wrapped around them."""

import sys
import zipfile
from types import ModuleType

import numpy as np
import pytest
import torch

from pose.weights import read_state_dict

TENSORS = {"a.weight": torch.ones(2), "b": torch.zeros(1, 2)}


def assert_same(state: dict) -> None:
    assert state.keys() == TENSORS.keys()
    assert all(torch.equal(state[key], TENSORS[key]) for key in TENSORS)


@pytest.mark.parametrize(
    ("content", "prefix"),
    [
        (lambda tensors: tensors, ""),
        (
            lambda tensors: {"epoch": 3, "state_dict": tensors, "optimizer": {"state": {}}},
            "module.",
        ),
        (lambda tensors: {"state_dict": tensors, "epoch": 1}, "model.module."),
        (lambda tensors: {"model_state_dict": tensors, "args": ["x"]}, "model."),
        # HRNet's training checkpoint names its model beside the tensors
        (lambda tensors: {"model": "pose_hrnet", "state_dict": tensors, "perf": 0.7}, ""),
    ],
)
def test_wrappers_and_prefixes_of_the_published_projects_are_taken_off(content, prefix, tmp_path):
    path = tmp_path / "checkpoint.pth"
    torch.save(content({f"{prefix}{key}": tensor for key, tensor in TENSORS.items()}), path)
    assert_same(read_state_dict(path))


def test_a_prefix_that_only_some_names_have_is_theirs(tmp_path):
    path = tmp_path / "checkpoint.pth"
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, path)
    assert read_state_dict(path).keys() == {"module.a", "b"}


@pytest.fixture
def history_buffer(monkeypatch):
    """A stand-in for the class whose objects fill the log in OpenMMLab's training checkpoints."""
    name = "mmengine.logging.history_buffer"

    class HistoryBuffer:
        def __init__(self):
            self.history = np.ones(3)

        def mean(self):
            raise AssertionError("is never called")

        def __getstate__(self):
            return {**self.__dict__, "statistics": {"mean": HistoryBuffer.mean}}

    for part in (HistoryBuffer, HistoryBuffer.mean):
        part.__module__ = name
        part.__qualname__ = part.__qualname__.rpartition("<locals>.")[2]
    module = ModuleType(name)
    module.HistoryBuffer = HistoryBuffer
    for parent in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    monkeypatch.setitem(sys.modules, name, module)
    return HistoryBuffer


@pytest.mark.parametrize("numpy_core", [b"numpy._core.", b"numpy.core."], ids=["2", "1"])
def test_openmmlab_checkpoints_are_read_without_their_libraries(
    history_buffer, numpy_core, tmp_path, monkeypatch
):
    described = {"sigmas": np.array([0.1, 0.2]), "joints": np.int64(17), "names": {"nose"}}
    content = {
        "meta": {"mmpose_version": "1.0.0", "dataset_meta": described},
        "message_hub": {"log_scalars": {"loss": history_buffer()}},
        "state_dict": TENSORS,
    }
    torch.save(content, tmp_path / "saved.pth")
    path = tmp_path / "checkpoint.pth"
    with zipfile.ZipFile(tmp_path / "saved.pth") as saved, zipfile.ZipFile(path, "w") as file:
        for name in saved.namelist():
            file.writestr(name, saved.read(name).replace(b"numpy._core.", numpy_core))
    for name in [name for name in sys.modules if name.startswith("mmengine")]:
        monkeypatch.delitem(sys.modules, name)
    assert_same(read_state_dict(path))
