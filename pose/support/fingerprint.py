"""Which code decides a step's result, and whether its meaning has changed.

A step's code is its module and all that this imports, also inside functions, with the data files
that these modules name. It is found from the sources alone, so that nothing can be forgotten. Left
out are the :data:`HARMLESS` modules and, where a step is of one model, what only others need.

The meaning of a Python file is its syntax tree. Comments, layout, docstrings, the order of imports,
annotations of functions, the texts of errors and of ``--help``, and citations do not count.
"""

from __future__ import annotations

import ast
import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import resolve_name
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pose

ROOT = Path(pose.__file__).parent.parent
PACKAGES = ("pose", "analysis")

HARMLESS = {
    "pose.support.allocator": "it keeps memory that was freed",
    "pose.support.cache_folder": "it says where copies lie, whose content is checked",
    "pose.support.cli": "it reads options, whose values reach the steps by name",
    "pose.support.download": "what it fetches is checked by those who asked for it",
    "pose.support.errors": "it shows errors, and a step that fails has no result",
    "pose.support.files": "it moves content between disk and memory, which stays what it is",
    "pose.support.fingerprint": "it names code and takes part in no result",
    "pose.datasets.identity": "it names trainings and takes part in no result",
    "pose.support.lock": "it decides who may work in a folder, not what the work gives",
    "pose.config.datasets": "it lists names, and the module of the data set counts",
    "pose.config.model_sheet": "it chooses a family, which counts, and is an input of the tables",
    "pose.config.presets": "what it finds in the YAML files reaches every step as its experiment",
    "pose.support.packages": "it imports a package or says that it is missing",
    "pose.support.progress": "it shows how far a step has come",
    "pose.training.faults": "it words errors",
    "pose.training.monitor": "it measures and logs a training, of which nothing depends on it",
    "pose.training.record": "it tells how far a training is and takes part in no result",
    "pose.weights.download": "it checks what it fetches against published.csv, which counts",
}
"""Modules that cannot change a number, each with the reason; their imports are not followed."""

FAMILIES = "pose.models"
"""The package that imports the module of a model's family when it is asked for the model."""

DATASETS = "pose.datasets"
"""The package that imports the module of a data set when it is asked for it."""

PARTS = "pose.models.eeffpose.net"
"""The module with tables of all the parts that models are built from. A step of one model depends
on the entries that its row of the sheet names."""

MODEL_SHEET = "config/models.tsv"
"""A row for each model: its family, which is the name of its module, and what it is built of."""


@dataclass(frozen=True)
class Code:
    """The code of a step.

    ``fingerprint``: 8 hex digits over ``files``, which maps the path below the checkout of each
    file that counts to the 8 hex digits of its meaning.
    """

    fingerprint: str
    files: dict[str, str]


def code_of(module: str, model: str | None = None, dataset: str | None = None) -> Code:
    """The code of the command ``python -m module``, such as "pose.train".

    With a ``model`` the step is of that one, and what only others are built from does not count.
    Without one, or for a model that is not in config/models.tsv, everything counts. So it is with a
    ``dataset``.
    """
    return checkout().code(module, model, dataset)


@cache
def checkout() -> Checkout:
    """The sources that this process started from, read once."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.*")]
    paths = [path for path in paths if path.suffix != ".pyc"]
    paths += [ROOT / MODEL_SHEET] if (ROOT / MODEL_SHEET).exists() else []  # absent if installed
    return Checkout({path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths})


class Checkout:
    """The content of the source and data files by their paths below the checkout."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.paths = {_dotted(path): path for path in contents if path.endswith(".py")}
        self.data: dict[str, list[str]] = defaultdict(list)
        for path in contents.keys() - self.paths.values():
            self.data[PurePosixPath(path).name].append(path)
        sheet = StringIO(contents.get(MODEL_SHEET, b"").decode())
        rows = csv.DictReader(sheet, delimiter="\t")
        self.models = {row["model"]: row for row in rows}
        self._resolved: dict[tuple[str, str], list[tuple[str, bool]]] = {}

    def code(self, module: str, model: str | None = None, dataset: str | None = None) -> Code:
        """As :func:`code_of`."""
        files = {}
        for name, source in self._closure(module, model, dataset).items():
            files[self.paths[name]] = source.digest
            for path in (path for text in source.strings for path in self.data.get(text, ())):
                files[path] = self._digest_of_data(path, model)
        files = dict(sorted(files.items()))
        return Code(_hex(repr(files)), files)

    def _closure(self, module: str, model: str | None, dataset: str | None) -> dict[str, Source]:
        """What counts of the step's modules, by their dotted names.

        Importing a module also runs the packages that it lies in; of these, imports inside
        functions, such as the lazy ones of ``pose.weights``, count only if the package itself is
        asked for something.
        """
        main = f"{module}.__main__"
        ahead = [(main if main in self.paths else module, True)]
        done: set[tuple[str, bool]] = set()
        found: dict[str, Source] = {}
        while ahead:
            name, asked = ahead.pop()
            if name in HARMLESS or (name, asked) in done:
                continue
            done.add((name, asked))
            found[name] = source = self._source(name, model)
            imported = self._imported(name, source)
            ahead += [(target, True) for target, lazy in imported if asked or not lazy]
            ahead += [(text, True) for text in source.strings if asked and text in self.paths]
            ahead += [(package, False) for package in _packages_around(name)]
            if name == FAMILIES and asked:
                ahead += [(f"{FAMILIES}.{family}", True) for family in self._families(model)]
            if name == DATASETS and asked:
                ahead += [(module, True) for module in self._datasets(dataset)]
        return found

    def _families(self, model: str | None) -> set[str]:
        rows = self.models.values() if model not in self.models else [self.models[model]]
        return {row["family"] for row in rows}

    def _datasets(self, dataset: str | None) -> list[str]:
        own = f"{DATASETS}.{dataset}"
        every = [name for name in self.paths if name.startswith(f"{DATASETS}.")]
        return [own] if own in self.paths else every

    def _source(self, name: str, model: str | None) -> Source:
        source = _read(text := self.contents[self.paths[name]])
        if name != PARTS or model not in self.models:
            return source
        words = {word for row in self.models.values() for word in row.values()}
        others = (words - set(self.models[model].values())) & source.strings
        return _read_parts(text, frozenset(others))

    def imports(self, name: str) -> set[str]:
        """The modules that module ``name`` imports, also inside functions."""
        source = _read(self.contents[self.paths[name]])
        return {target for target, _ in self._imported(name, source)}

    def _imported(self, name: str, source: Source) -> list[tuple[str, bool]]:
        """The modules that module ``name`` imports, and whether inside a function; found once."""
        key = name, source.digest
        if key not in self._resolved:
            self._resolved[key] = [
                (target, item.lazy)
                for item in source.imports
                for target in self._targets(name, item)
            ]
        return self._resolved[key]

    def _targets(self, name: str, item: Import) -> Iterator[str]:
        """The module that an import statement of module ``name`` asks for, if it is ours."""
        is_package = self.paths[name].endswith("__init__.py")
        module = resolve_name(item.module, name if is_package else name.rpartition(".")[0])
        submodule = f"{module}.{item.name}"
        if submodule in self.paths:
            yield submodule
        elif module in self.paths:
            yield module

    def _digest_of_data(self, path: str, model: str | None) -> str:
        """Eight hex digits of a data file; of a table by model, other models' rows do not count."""
        content = self.contents[path]
        if model not in self.models or not path.endswith(".csv"):
            return _hex(content)
        others = self.models.keys() - {model}
        rows = csv.DictReader(StringIO(content.decode()))
        return _hex(repr([row for row in rows if row.get("model") not in others]))


class Import(NamedTuple):
    """``from module import name as bound``, or ``import module``; ``lazy``: inside a function."""

    module: str
    name: str
    bound: str
    lazy: bool


class Source(NamedTuple):
    """What one pass over a Python file finds: its meaning's digest, its imports and strings."""

    digest: str
    imports: list[Import]
    strings: set[str]


@cache
def _read(text: bytes) -> Source:
    return _source(ast.parse(text))


@cache
def _read_parts(text: bytes, words: frozenset[str]) -> Source:
    """Tables without the entries whose key is one of ``words``, and what only these imported."""
    tree = ast.parse(text)
    before = _names(tree)
    for table in (node for node in ast.walk(tree) if isinstance(node, ast.Dict)):
        pairs = zip(table.keys, table.values, strict=True)
        pairs = [p for p in pairs if not (isinstance(p[0], ast.Constant) and p[0].value in words)]
        table.keys, table.values = [key for key, _ in pairs], [value for _, value in pairs]
    unused = before - _names(tree)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            node.names = [a for a in node.names if (a.asname or a.name) not in unused]
    return _source(tree)


def _source(tree: ast.Module) -> Source:
    reading = _Reading()
    body = reading.meaning(tree)
    # Annotations name more than this; a package's ``__all__`` names what it offers as strings.
    used = reading.names | reading.strings
    imports = sorted({item[:3] for item in reading.imports if item.bound in used})
    return Source(_hex(f"{imports}{body}"), reading.imports, reading.strings)


class _Reading:
    """One pass over a syntax tree: its meaning as text, and on the way what it imports and names.

    Imports are collected and not part of the text.
    """

    def __init__(self) -> None:
        self.imports: list[Import] = []
        self.names: set[str] = set()
        self.strings: set[str] = set()
        self.functions = 0  # how many surround the present node

    def meaning(self, node: object) -> str:
        kind = type(node)
        if kind is list:
            return f"[{','.join(filter(None, map(self.meaning, node)))}]"
        if not isinstance(node, ast.AST):
            return repr(node)
        if kind is ast.Name:
            self.names.add(node.id)
            return node.id
        if kind is ast.Constant:
            if isinstance(node.value, str):
                self.strings.add(node.value)
            return repr(node.value)
        if kind in (ast.Import, ast.ImportFrom):
            self.imports += self._imports(node)
            return ""
        if kind is ast.Expr and isinstance(node.value, ast.Constant):
            return ""  # a docstring
        if kind is ast.keyword and node.arg in ("help", "metavar", "bibtex", "licence", "parity"):
            return ""
        if kind is ast.Raise and isinstance(node.exc, ast.Call):
            return f"Raise({self.meaning(node.exc.func)})"
        is_function = kind in (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
        self.functions += is_function
        fields = [(name, getattr(node, name)) for name in _meaningful_fields(kind)]
        parts = [
            f"{name}={self.meaning(value)}" for name, value in fields if value not in (None, [])
        ]
        self.functions -= is_function
        return f"{kind.__name__}({','.join(parts)})"

    def _imports(self, node: ast.Import | ast.ImportFrom) -> Iterator[Import]:
        lazy = self.functions > 0
        for alias in node.names:
            if isinstance(node, ast.Import):
                bound = alias.asname or alias.name.partition(".")[0]
                yield Import(alias.name, "", bound, lazy)
            else:
                module = "." * node.level + (node.module or "")
                yield Import(module, alias.name, alias.asname or alias.name, lazy)


@cache
def _meaningful_fields(kind: type[ast.AST]) -> list[str]:
    without = {"ctx", "kind", "returns", "type_comment"}
    without |= {"annotation"} if kind is ast.arg else set()
    return [name for name in kind._fields if name not in without]


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _dotted(path: str) -> str:
    """``"pose.data.crop"`` for ``"pose/data/crop.py"``, ``"pose.data"`` for its ``__init__.py``."""
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _packages_around(module: str) -> Iterator[str]:
    while module := module.rpartition(".")[0]:
        yield module


def _hex(content: bytes | str) -> str:
    content = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()[:8]
