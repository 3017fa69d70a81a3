"""The notebook runs from its first cell to its last on a real run, in a kernel of this very interpreter."""

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
import pytest
from ipykernel.kernelspec import install
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "latest_run.ipynb"


@pytest.fixture
def kernel(tmp_path, monkeypatch) -> str:
    """The name of a kernel that only this test sees."""
    install(kernel_name="current", prefix=str(tmp_path))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return "current"


def test_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.slow
# Jupyter's client leaves its sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_notebook_executes_on_the_latest_run(smoke_output, kernel):
    before = NOTEBOOK.read_bytes()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    parameters = notebook.cells[1]
    assert "OUTPUT_ROOT" in parameters.source
    parameters.source = f'OUTPUT_ROOT = {str(smoke_output)!r}\nRUN = "latest"'
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, kernel_name=kernel, timeout=300, resources=resources).execute()
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    text = "\n".join(str(output.get("data", {}).get("text/plain", "")) for cell in outputs for output in cell)
    assert "blessed" in text and "brightness" in text
    assert not [output for cell in outputs for output in cell if output.output_type in ("error", "stream")]
    pictures = [
        output.data["image/png"] for cell in outputs for output in cell if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2
    for picture in pictures:
        assert np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("L")).std() > 5
    assert NOTEBOOK.read_bytes() == before
    assert not list(NOTEBOOK.parent.glob(".ipynb_checkpoints"))
