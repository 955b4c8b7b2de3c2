"""Where the tests find real data and full parity fixtures, and what stands in for them."""

import gc
import os
import sys
import tempfile
from pathlib import Path

import pytest

# Many tests start processes of their own: more threads than cores would slow them tenfold, and a
# process that is forked waits for ever for those of its parent.
os.environ["OMP_NUM_THREADS"] = "1"
# What is imported lives to the end: looking for garbage in it takes a twelfth of the tests' time.
gc.set_threshold(100_000, 50, 100)
# What the shell or the job that runs the tests is set up for is none of theirs.
for name in [*os.environ]:
    if name in ("COLUMNS", "FORCE_COLOR") or name.startswith(("SLURM_", "SNAKEMAKE_", "POSE_GPU_")):
        del os.environ[name]
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"  # where their servers are
if not os.access(os.path.expanduser("~"), os.W_OK):  # Snakemake has to have a cache
    os.environ.setdefault("XDG_CACHE_HOME", tempfile.mkdtemp())

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def denormal_numbers():
    """Commands flush them to zero, which hypothesis refuses in the tests after."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(autouse=True)
def figures():
    """matplotlib keeps those that are not saved, and warns of many."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def seed() -> None:
    """Weights and inputs that are the same in each run."""
    import torch

    torch.manual_seed(0)


def _folder(variable: str, default: str) -> Path | None:
    folder = Path(os.environ.get(variable, ROOT.parent / default))
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of real COCO and MPII samples and metric fixtures."""
    folder = _folder("POSE_TEST_DATA", "shared/data")
    if folder is None:
        pytest.skip("needs POSE_TEST_DATA, a folder of COCO and MPII samples and published results")
    return folder


@pytest.fixture(scope="session")
def test_data(tmp_path_factory) -> Path:
    """The folder of real samples or, where there is none, rendered people in its layout."""
    from rendered_samples import write_samples

    real = _folder("POSE_TEST_DATA", "shared/data")
    return real or write_samples(tmp_path_factory.mktemp("rendered"))


@pytest.fixture(scope="session")
def reference() -> Path | None:
    """The folder of full parity fixtures, if it is there; their samples are in tests/parity."""
    return _folder("POSE_TEST_REFERENCE", "shared/reference")


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
