"""Digests of the code that a node depends on, for TFX's cache key: this project's source, and versions of libraries.

TFX puts a component's class path and the name of `run_fn` into the cache key, not their code, so an edited function
would be served from the cache. The digest of a module covers it, every module of this project that it imports, directly
or not, and the packages that these lie in, as syntax trees without docstrings: a comment or a line break re-runs
nothing. It also covers the installed version of each library that one of these modules imports.

Synopsis:

    code_digest("models.trainer")           # changes when models/augment.py does, or with an upgrade of Keras
    library_versions(("models.trainer",))   # {"keras": "3.15.0", "numpy": "2.2.6", ...}
"""

import ast
import functools
import hashlib
import importlib.metadata
import re
import sys
from pathlib import Path

from pipeline.project import ROOT

PACKAGES = ("components", "models", "pipeline")
# Many distributions share the top-level name `google`; this is the one whose code is used here.
_SHARED = {"google": "protobuf"}


def code_digest(*modules: str, root: Path = ROOT) -> str:
    """Returns the SHA-256 (hexadecimal) of the named modules, what they import of this project, and the libraries.

    A name outside of this project stands for the library that it belongs to.
    """
    digest = hashlib.sha256(repr(library_versions(modules, root)).encode())
    for module in sorted(imported_modules(modules, root)):
        digest.update(module.encode())
        digest.update(_normalized(module_path(module, root).read_bytes()).encode())
    return digest.hexdigest()


def module_digest(module: str, root: Path = ROOT) -> str:
    """Returns the SHA-256 (hexadecimal) of one module as `code_digest` sees it, without what it imports."""
    return hashlib.sha256(_normalized(module_path(module, root).read_bytes()).encode()).hexdigest()


def imported_modules(modules: tuple[str, ...], root: Path = ROOT) -> set[str]:
    """Returns those of `modules` that are this project's and all modules of it that they import, directly or not."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        path = None if module in found else module_path(module, root)
        if path is not None:
            found.add(module)
            # Python runs the packages that a module is in first.
            waiting.extend([module.rpartition(".")[0], *_imports(path.read_bytes(), _package_of(module, path))])
    return found


def library_versions(modules: tuple[str, ...], root: Path = ROOT) -> dict[str, str]:
    """Returns the version of each distribution that `modules`, or what they import of this project, import."""
    names = set(modules)
    for module in imported_modules(modules, root):
        path = module_path(module, root)
        names.update(_imports(path.read_bytes(), _package_of(module, path)))
    tops = {name.split(".")[0] for name in names} - set(PACKAGES) - sys.stdlib_module_names
    distributions = sorted({name for top in tops for name in _distributions_of(top)})
    return {name: importlib.metadata.version(name) for name in distributions}


def canonical(name: str) -> str:
    """Returns the name of a distribution as packaging tools compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def module_path(module: str, root: Path = ROOT) -> Path | None:
    """Returns the source file of a module of this project, None for any other name."""
    if module.split(".")[0] not in PACKAGES:
        return None
    path = root.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _distributions_of(top: str) -> set[str]:
    """Returns the distributions that a top-level package belongs to; none for one that is not installed."""
    return {_SHARED[top]} if top in _SHARED else set(map(canonical, _packages().get(top, ())))


@functools.cache
def _packages() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def _package_of(module: str, path: Path) -> str:
    """Returns the package that the relative imports of a module in this file begin at: a package's are its own."""
    return module if path.name == "__init__.py" else module.rpartition(".")[0]


# By content: each node depends on many of the same modules, and parsing them again would take a second. The package is
# part of the key, for the same text names other modules elsewhere.
@functools.cache
def _imports(source: bytes, package: str) -> tuple[str, ...]:
    """Returns the names that a module of a package may import, those of what it takes from a module among them."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (origin := _origin(node, package)):
            names.append(origin)
            names.extend(f"{origin}.{alias.name}" for alias in node.names)
    return tuple(names)


def _origin(node: ast.ImportFrom, package: str) -> str:
    """Returns the absolute name of what `from ... import` takes from; "" where its dots lead out of all packages."""
    if not node.level:
        return node.module or ""
    # One dot is the package itself, each further one the package around it.
    parts = package.split(".")
    above = parts[: max(0, len(parts) + 1 - node.level)]
    return ".".join([*above, node.module] if node.module else above) if above else ""


@functools.cache
def _normalized(source: bytes) -> str:
    """Returns the syntax tree of a module as text, without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                node.body = node.body[1:]
    return ast.dump(tree)
