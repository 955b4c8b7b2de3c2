"""The nets, the training, the decoding and the benches that GPUs run need few packages."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIGHT = ("pose.models", "pose.training", "pose.train", "pose.infer", "pose.evaluation.decode")
LIGHT += ("pose.gpu_check", "pose.bench.gpu")
LIGHT += ("pose.bench.gemm", "pose.bench.training", "pose.bench.inference", "pose.bench.decoding")

IMPORT_ALL = """
import importlib, importlib.metadata as metadata, pkgutil, re, sys
from importlib.machinery import PathFinder

def with_requirements(names):
    found, ahead = set(), set(names)
    while ahead:
        found |= ahead
        lines = [line for name in ahead for line in requirements(name) if "extra ==" not in line]
        ahead = {re.split(r"[ ;<>=!~\\[(]", line)[0].lower().replace("_", "-") for line in lines}
        ahead -= found
    return found

def requirements(name):
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []

needed = with_requirements(
    {"torch", "timm", "numpy", "opencv-python-headless", "pyyaml", "pydantic"}
)
owners = metadata.packages_distributions()
absent = {
    name for name, owned in owners.items()
    if not {owner.lower().replace("_", "-") for owner in owned} & needed
}
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: (
    None if name.partition(".")[0] in absent else find(name, path, target)
)
assert {"simplejpeg", "pycocotools", "hotcoco", "fvcore", "pandas", "rich", "psutil"} <= absent
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
        importlib.import_module(found.name)
"""


def test_parts_that_gpus_run_import_with_torch_and_timm_alone():
    command = [sys.executable, "-c", IMPORT_ALL, *LIGHT]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
