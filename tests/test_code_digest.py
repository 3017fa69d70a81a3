"""Which edits change the cache key of a node, on a small tree of source files."""

import importlib.metadata
from pathlib import Path

import pytest

from pipeline.nodes import NODES
from pipeline.run.code_digest import ROOT, canonical, code_digest, imported_modules, library_versions, module_digest

SOURCES = {
    "models/__init__.py": "",
    "models/trainer.py": '"""Trains."""\nimport numpy\nfrom models.networks.residual import build\n\nRATE = 0.1\n',
    "models/networks/__init__.py": "",
    "models/networks/residual.py": ("from models.networks import layers\n\n\ndef build():\n    return layers.LAYERS\n"),
    "models/networks/layers.py": "import models.trainer\n\nLAYERS = 3\n",
    "models/export.py": "import json\n\nNAME = 'export'\n",
    "components/__init__.py": "",
    "components/gate.py": "def lazy():\n    import models.export\n    from scipy.stats import norm\n",
    "components/report.py": "import PIL.Image\nimport no_such_library\nfrom components import gate\n",
    "scripts/other.py": "X = 1\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
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
        ("models/networks/residual.py", "return layers.LAYERS", "return layers.LAYERS + 1"),
        ("models/networks/layers.py", "LAYERS = 3", "LAYERS = 4"),
        ("models/networks/__init__.py", "", "import os\n"),
        ("models/__init__.py", "", "import os\n"),
    ],
    ids=["itself", "imported", "imported by an imported one", "package", "package around it"],
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
        ("models/networks/residual.py", "return layers.LAYERS", "return (\n        layers.LAYERS\n    )"),
        ("models/networks/residual.py", "def build():\n", 'def build():\n    """Builds."""\n'),
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


@pytest.fixture
def upgrade(monkeypatch):
    """Has a library say that it is another version."""
    version = importlib.metadata.version

    def run(library: str) -> None:
        monkeypatch.setattr(
            importlib.metadata, "version", lambda name: "99" if canonical(name) == library else version(name)
        )

    return run


def test_libraries_are_those_that_the_module_and_what_it_imports_import(root):
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "pillow")}
    assert library_versions(("models.trainer",), root) == {"numpy": versions["numpy"]}
    assert library_versions(("components.gate",), root) == {"scipy": versions["scipy"]}
    assert library_versions(("models.export",), root) == {}
    # Through the gate, and by the name of the distribution where the import has another.
    assert library_versions(("components.report",), root) == {name: versions[name] for name in ("pillow", "scipy")}
    assert library_versions(("models.trainer", "components.gate"), root).keys() == {"numpy", "scipy"}


@pytest.mark.parametrize(
    ("library", "changed"),
    [
        ("scipy", {"components.gate", "components.report"}),
        ("numpy", {"models.trainer"}),
        ("pillow", {"components.report"}),
        ("keras", set()),
    ],
)
def test_upgrade_of_a_library_changes_the_digest_of_those_alone_that_import_it(root, upgrade, library, changed):
    modules = ("models.trainer", "models.export", "components.gate", "components.report")
    before = {module: code_digest(module, root=root) for module in modules}
    upgrade(library)
    assert {module for module in modules if code_digest(module, root=root) != before[module]} == changed


def test_code_of_a_library_stands_for_its_version(root, upgrade):
    before = code_digest("scipy", root=root)
    assert code_digest("numpy", root=root) != before
    upgrade("numpy")
    assert code_digest("scipy", root=root) == before
    upgrade("scipy")
    assert code_digest("scipy", root=root) != before


def test_name_of_the_protocol_buffers_is_not_that_of_all_of_google(root):
    (root / "models" / "proto.py").write_text("from google.protobuf import text_format\n")
    assert library_versions(("models.proto",), root).keys() == {"protobuf"}


@pytest.mark.parametrize("name", ["ml_metadata", "ML-Metadata", "ml.metadata", "ml__metadata", "ml-_.Metadata"])
def test_names_of_distributions_are_compared_as_packaging_tools_do(name):
    """PEP 503: case, and whether it is an underscore, a hyphen or a dot, make no difference."""
    assert canonical(name) == "ml-metadata"


def test_names_of_libraries_are_canonical(root):
    (root / "models" / "stores.py").write_text("import ml_metadata\nimport tensorflow_data_validation\n")
    found = library_versions(("models.stores",), root)
    assert list(found) == ["ml-metadata", "tensorflow-data-validation"]
    assert all(canonical(name) == name for name in found)


def test_upgrade_in_this_project_reruns_the_nodes_that_use_the_library(upgrade):
    before = {node.id: code_digest(*node.modules) for node in NODES.values()}
    upgrade("scipy")
    changed = {node.id for node in NODES.values() if code_digest(*node.modules) != before[node.id]}
    assert "Trainer" in changed
    assert not changed & {"ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "DataGate", "Transform"}
    upgrade("tensorflow-data-validation")
    changed = {node.id for node in NODES.values() if code_digest(*node.modules) != before[node.id]}
    assert changed == {"StatisticsGen", "SchemaGen", "ExampleValidator", "DataGate", "Window"}
    upgrade("ai-edge-litert")
    changed = {node.id for node in NODES.values() if code_digest(*node.modules) != before[node.id]}
    assert "InfraValidator" in changed
    assert "Trainer" not in changed


def test_digest_of_one_module_is_its_own(root):
    before = module_digest("models.trainer", root)
    edit(root, "models/networks/residual.py", "return layers.LAYERS", "return 7")
    edit(root, "models/trainer.py", "RATE = 0.1", "RATE = 0.1  # a comment")
    assert module_digest("models.trainer", root) == before
    edit(root, "models/trainer.py", "RATE = 0.1", "RATE = 0.2")
    assert module_digest("models.trainer", root) != before


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


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("models/networks/mine.py", "from .parts import WIDTH", "models.networks.parts"),
        ("models/networks/mine.py", "from . import parts", "models.networks.parts"),
        ("models/networks/mine.py", "from ..parts import WIDTH", "models.parts"),
        ("models/networks/mine.py", "from .. import parts", "models.parts"),
        ("models/networks/mine/__init__.py", "from .parts import WIDTH", "models.networks.mine.parts"),
        ("models/networks/mine/__init__.py", "from . import parts", "models.networks.mine.parts"),
        ("models/networks/mine/__init__.py", "from ..parts import WIDTH", "models.networks.parts"),
        ("models/networks/mine/__init__.py", "from ... import parts", "models.parts"),
    ],
)
def test_edit_of_what_is_imported_relatively_changes_the_digest(root, name, text, found):
    folders = [root / "models", root / "models" / "networks", root / "models" / "networks" / "mine"]
    if name.endswith("__init__.py"):
        folders[-1].mkdir()
    parts = [folder / "parts.py" for folder in folders if folder.exists()]
    for path in parts:
        path.write_text("import scipy\n\nWIDTH = 3\n")
    (root / name).write_text(f"{text}\n")
    module = "models.networks.mine"
    assert {f for f in imported_modules((module,), root) if f.endswith("parts")} == {found}
    assert library_versions((module,), root).keys() == {"scipy"}
    before = code_digest(module, root=root)
    edit(root, f"{found.replace('.', '/')}.py", "WIDTH = 3", "WIDTH = 4")
    assert code_digest(module, root=root) != before


def test_same_text_in_two_packages_imports_from_each_its_own(root):
    for folder in ("models", "models/networks"):
        (root / folder / "mine.py").write_text("from .parts import WIDTH\n")
        (root / folder / "parts.py").write_text("WIDTH = 3\n")
    assert "models.parts" in imported_modules(("models.mine",), root)
    assert "models.networks.parts" in imported_modules(("models.networks.mine",), root)


def test_relative_import_that_leads_out_of_all_packages_names_nothing(root):
    (root / "models" / "mine.py").write_text("from ...numpy import array\nfrom ... import scipy\n")
    assert imported_modules(("models.mine",), root) == {"models", "models.mine"}
    assert library_versions(("models.mine",), root) == {}


def test_trainer_of_this_project_depends_on_the_network_and_not_on_the_pipeline():
    found = imported_modules(("models.trainer",), ROOT)
    assert {"models.networks.residual", "models.augment", "models.images", "models.features"} <= found
    assert not any(module.startswith("pipeline.") for module in found)
