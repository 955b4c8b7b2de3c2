"""Writes ``architecture.md`` from the sources: ``python docs/architecture.py [--check]``.

The packages with their role, which is the first sentence of their docstring, and what they really
import; and the way of one image from its JPEG to a row of a table.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pose.support.errors import command
from pose.support.fingerprint import Checkout, checkout
from workflow.document import write_or_check

FILE = Path(__file__).with_suffix(".md")

WAY = [
    ("pose.datasets.records.read_persons", "reads the annotated persons as flat arrays"),
    ("pose.data.samples.open_split", "gives each a box of the input's shape around it"),
    ("pose.data.images.read_image", "decodes the JPEG"),
    ("pose.data.augment.random_crop", "draws scale, rotation and flip from (seed, epoch, sample)"),
    ("pose.data.crop.crop_person", "cuts the person out, warped to the input size"),
    ("pose.targets.heatmap.normalise", "makes a normalised tensor of the crops, on the device"),
    ("pose.models.create_model", "built the net that gives a heat map for each joint"),
    ("pose.training.step.batch_loss", "compares them with the target: training ends here"),
    ("pose.evaluation.flip_test.flip_average", "averages them with those of the mirrored crop"),
    ("pose.evaluation.decode.decode", "reads joints and scores, in pixels of the image"),
    ("pose.infer.predict", "collects them: `predictions_gt.npz`"),
    ("pose.evaluation.results.to_records", "rescores and drops duplicates by OKS-NMS"),
    ("pose.evaluation.coco.evaluate", "computes AP: `metrics_gt.json`"),
    ("analysis.results.load_results", "reads what all runs say into one frame"),
    ("analysis.comparison.compare", "sets it beside the paper's numbers: `table1.html`"),
]
"""What happens to an image, in order: a function, and what it does."""


def document() -> str:
    """The text of ``architecture.md``."""
    sources = checkout()
    packages = sorted(_dotted(path) for path in sources.contents if path.endswith("__init__.py"))
    lines = ["# Architecture", "", "Made by `python docs/architecture.py`; do not edit.", ""]
    lines += ["| package | role | imports |", "| --- | --- | --- |"]
    for package in packages:
        role = _docstring(sources, package).split("\n\n")[0].replace("\n", " ")
        imports = ", ".join(f"`{name}`" for name in _imports(sources, package, packages))
        lines.append(f"| `{package}` | {role} | {imports or '-'} |")
    lines += ["", "Imports inside functions count. Files in `pose` itself are the commands.", ""]
    lines += ["## From a JPEG to a row of Table 1", ""]
    for number, (function, role) in enumerate(WAY, start=1):
        lines.append(f"{number}. [`{function}`](../{_file(sources, function)}) {role}.")
    return "\n".join(lines) + "\n"


def _imports(sources: Checkout, package: str, packages: list[str]) -> list[str]:
    """The other packages that modules which lie directly in ``package`` import."""
    modules = [name for name in sources.paths if _package(name, packages) == package]
    found = {_package(target, packages) for name in modules for target in sources.imports(name)}
    return sorted(found - {package})


def _package(module: str, packages: list[str]) -> str:
    return module if module in packages else module.rpartition(".")[0]


def _docstring(sources: Checkout, module: str) -> str:
    return ast.get_docstring(ast.parse(sources.contents[sources.paths[module]])) or ""


def _file(sources: Checkout, function: str) -> str:
    """The path of the file that defines ``function``; ends the program if there is none."""
    module, _, name = function.rpartition(".")
    path = sources.paths.get(module, "")
    tree = ast.parse(sources.contents.get(path, b""))
    if name not in {getattr(node, "name", None) for node in tree.body}:
        sys.exit(f"error: there is no {function}; correct WAY in docs/architecture.py")
    return path


def _dotted(path: str) -> str:
    return path.removesuffix("/__init__.py").replace("/", ".")


@command
def main(argv: list[str] | None = None) -> None:
    write_or_check({FILE: document()}, "python docs/architecture.py", argv)


if __name__ == "__main__":
    main()
