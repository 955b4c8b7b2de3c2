"""A hash of what code does, blind to how it is laid out.

The workflow passes it as a parameter of its steps: reformatting or commenting the code that a
training depends on must not retrain anything; changing it must.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def fingerprint(*patterns: str) -> str:
    """Eight hex digits over the syntax trees, without docstrings, of the files that match.

    ``patterns`` are globs below the checkout, such as ``"pose/models/*.py"``; files that are not
    Python count with their bytes.
    """
    digest = hashlib.sha256()
    for pattern in patterns:
        paths = sorted(PACKAGE.glob(pattern))
        if not paths:
            raise FileNotFoundError(f"no file matches {pattern!r}")
        for path in paths:
            content = path.read_bytes()
            if path.suffix == ".py":
                content = ast.dump(_without_docstrings(ast.parse(content))).encode()
            digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:8]


def with_imports(module: str, package: str) -> list[str]:
    """The files, below the checkout, of ``module`` and of what it imports from ``package``.

    Both are dotted names; imports inside functions count, and are followed in turn.
    """
    found: dict[str, None] = {}
    ahead = [module]
    while ahead:
        path = ahead.pop().replace(".", "/") + ".py"
        if path in found:
            continue
        found[path] = None
        for node in ast.walk(ast.parse((PACKAGE / path).read_bytes())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{package}."):
                ahead.append(node.module)
    return sorted(found)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)]
    return tree


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
