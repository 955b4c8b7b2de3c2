"""Where the tests find real data and parity fixtures, and how they skip without them."""

import os
from pathlib import Path

import pytest

# Many tests start processes of their own: more threads than cores would slow them tenfold.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent


def _folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        pytest.skip(f"{variable} is not set and {default} does not exist")
    return folder


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real COCO and MPII samples and metric fixtures."""
    return _folder("POSE_TEST_DATA", ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of parity fixtures: outputs of the original implementations."""
    return _folder("POSE_TEST_REFERENCE", ROOT.parent / "shared" / "reference")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    """A small data set of rendered people; modules that need another kind define their own."""
    from training_runs import people  # imports torch, which few tests need

    return people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def runs():
    """Starts tiny trainings as real processes (:class:`training_runs.Runs`)."""
    from training_runs import Runs

    return Runs()
