"""Which edits change the cache key of a node, on a small tree of source files."""

from pathlib import Path

import pytest

from pipeline.run.code_digest import ROOT, code_digest, imported_modules

SOURCES = {
    "models/__init__.py": "",
    "models/trainer.py": '"""Trains."""\nimport numpy\nfrom models.networks.residual import build\n\nRATE = 0.1\n',
    "models/network.py": "from models import layers\n\n\ndef build():\n    return layers.LAYERS\n",
    "models/layers.py": "import models.trainer\n\nLAYERS = 3\n",
    "models/export.py": "NAME = 'export'\n",
    "components/__init__.py": "",
    "components/gate.py": "def lazy():\n    import models.export\n",
    "scripts/other.py": "X = 1\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def edit(root: Path, name: str, old: str, new: str) -> None:
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("models/trainer.py", "RATE = 0.1", "RATE = 0.2"),
        ("models/network.py", "return layers.LAYERS", "return layers.LAYERS + 1"),
        ("models/layers.py", "LAYERS = 3", "LAYERS = 4"),
        ("models/__init__.py", "", "import os\n"),
    ],
    ids=["itself", "imported", "imported by an imported one", "package"],
)
def test_edit_of_the_module_or_of_what_it_imports_changes_the_digest(root, name, old, new):
    before = code_digest("models.trainer", root=root)
    edit(root, name, old, new)
    assert code_digest("models.trainer", root=root) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("models/export.py", "'export'", "'other'"),
        ("components/gate.py", "lazy", "lazier"),
        ("scripts/other.py", "1", "2"),
    ],
)
def test_edit_of_an_unrelated_module_keeps_the_digest(root, name, old, new):
    before = code_digest("models.trainer", root=root)
    edit(root, name, old, new)
    assert code_digest("models.trainer", root=root) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("models/trainer.py", '"""Trains."""', '"""Trains\n\nfor long.\n"""'),
        ("models/trainer.py", "RATE = 0.1", "# The rate.\nRATE = 0.1  # a comment"),
        ("models/network.py", "return layers.LAYERS", "return (\n        layers.LAYERS\n    )"),
        ("models/network.py", "def build():\n", 'def build():\n    """Builds."""\n'),
    ],
    ids=["module docstring", "comments", "line breaks", "function docstring"],
)
def test_comments_docstrings_and_layout_keep_the_digest(root, name, old, new):
    before = code_digest("models.trainer", root=root)
    edit(root, name, old, new)
    assert code_digest("models.trainer", root=root) == before


def test_string_that_is_no_docstring_changes_the_digest(root):
    before = code_digest("components.gate", root=root)
    edit(root, "models/export.py", "'export'", "'exported'")
    assert code_digest("components.gate", root=root) != before


def test_version_of_a_library_changes_the_digest(root, monkeypatch):
    before = code_digest("models.trainer", root=root)
    monkeypatch.setattr("pipeline.run.code_digest.library_versions", lambda: {"tensorflow": "99"})
    assert code_digest("models.trainer", root=root) != before


def test_digest_does_not_depend_on_where_the_project_lies(root, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy") / "project"
    before = code_digest("models.trainer", root=root)
    root.rename(copy)
    assert code_digest("models.trainer", root=copy) == before


def test_imports_are_followed_through_cycles_and_into_functions(root):
    assert imported_modules(("models.trainer",), root) >= {
        "models.trainer",
        "models.networks.residual",
        "models.networks.layers",
    }
    assert "models.export" not in imported_modules(("models.trainer",), root)
    assert "models.export" in imported_modules(("components.gate",), root)


def test_trainer_of_this_project_depends_on_the_network_and_not_on_the_pipeline():
    found = imported_modules(("models.trainer",), ROOT)
    assert {"models.networks.residual", "models.augment", "models.images", "models.features"} <= found
    assert not any(module.startswith("pipeline.") for module in found)
