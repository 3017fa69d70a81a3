"""Digests of the source code that a node depends on, for TFX's cache key.

TFX puts a component's class path and the name of `run_fn` into the cache key, not their code, so an edited function
would be served from the cache. The digest of a module covers it and every module of this project that it imports,
directly or not, as syntax trees without docstrings: a comment or a line break re-runs nothing.

Synopsis:

    code_digest("models.trainer")        # changes when models/network.py does
"""

import ast
import functools
import hashlib
import importlib.metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("components", "models", "pipeline")
LIBRARIES = (
    "tfx",
    "tensorflow",
    "keras",
    "apache-beam",
    "tensorflow-transform",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "numpy",
)


def code_digest(*modules: str, root: Path = ROOT) -> str:
    """Returns the SHA-256 (hexadecimal) of the named modules, what they import of this project, and the libraries."""
    digest = hashlib.sha256(repr(library_versions()).encode())
    for module in sorted(imported_modules(modules, root)):
        digest.update(module.encode())
        digest.update(_normalized(module_path(module, root).read_bytes()).encode())
    return digest.hexdigest()


def module_digest(module: str, root: Path = ROOT) -> str:
    """Returns the SHA-256 (hexadecimal) of one module as `code_digest` sees it, without what it imports."""
    return hashlib.sha256(_normalized(module_path(module, root).read_bytes()).encode()).hexdigest()


def imported_modules(modules: tuple[str, ...], root: Path = ROOT) -> set[str]:
    """Returns `modules` and all modules of this project that they import, directly or not."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        path = module_path(module, root)
        if path is None:
            continue
        found.add(module)
        waiting.extend(_imports(path.read_bytes()))
    return found


def module_path(module: str, root: Path = ROOT) -> Path | None:
    """Returns the source file of a module of this project, None for any other name."""
    if module.split(".")[0] not in PACKAGES:
        return None
    path = root.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def library_versions() -> dict[str, str]:
    """Returns the installed versions of the libraries whose code decides what a node makes."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


# By content: each node depends on many of the same modules, and parsing them again would take a second.
@functools.cache
def _imports(source: bytes) -> tuple[str, ...]:
    """Returns the names that a module may import, those of what it takes from a module among them."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names.extend(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(names)


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
