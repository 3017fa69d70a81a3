"""Fixtures that several modules share: real images, IDX files and TFRecord shards.

Nothing here imports TensorFlow at the top, so that the tests of the parsers start at once.
"""

import gzip
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from pipeline.run.data import candidates, locate_data

# `tmp_path` may be shared by the examples of one property: each writes its files anew.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
hypothesis.settings.load_profile("tests")

ROOT = Path(__file__).resolve().parent.parent


def idx_bytes(values: np.ndarray) -> bytes:
    """Returns `values` as the IDX specification says, made with `struct` alone."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.fixture
def idx_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes an IDX file, gzipped where its name says so, and returns its path."""

    def write(values: np.ndarray, name: str = "values-idx-ubyte", folder: Path = tmp_path) -> Path:
        content = idx_bytes(np.asarray(values, np.uint8))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_bytes(gzip.compress(content, 1, mtime=0) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture
def idx_folder(idx_file, tmp_path: Path) -> Callable[..., Path]:
    """Writes the four files of a data set and returns their folder."""

    def write(train_images, train_labels, test_images, test_labels, *, name: str = "data", ending: str = "") -> Path:
        for part, images, labels in (("train", train_images, train_labels), ("t10k", test_images, test_labels)):
            idx_file(images, f"{part}-images-idx3-ubyte{ending}", tmp_path / name)
            idx_file(labels, f"{part}-labels-idx1-ubyte{ending}", tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """The folder of the real files; `make data` puts them there."""
    return locate_data(None, candidates(ROOT, Path.home()))


@pytest.fixture(scope="session")
def fashion_images(fashion_mnist: Path) -> np.ndarray:
    """The first 400 training images: uint8 [400, 28, 28]."""
    with gzip.open(fashion_mnist / "train-images-idx3-ubyte.gz") as stream:
        return np.frombuffer(stream.read(16 + 400 * 784)[16:], np.uint8).reshape(400, 28, 28)


@pytest.fixture(scope="session")
def fashion_labels(fashion_mnist: Path) -> np.ndarray:
    """Their labels: uint8 [400]."""
    with gzip.open(fashion_mnist / "train-labels-idx1-ubyte.gz") as stream:
        return np.frombuffer(stream.read(8 + 400)[8:], np.uint8)


@pytest.fixture(scope="session")
def smoke_output(fashion_mnist: Path, tmp_path_factory) -> Path:
    """The output root of a finished smoke run, for what only reads one."""
    output = tmp_path_factory.mktemp("smoke") / "output"
    where = ["--output-root", str(output), "--data-dir", str(fashion_mnist)]
    command = [sys.executable, "local_runner.py", "--preset", "smoke", *where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return output


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    """A headless Chromium of playwright's."""
    from scripts.screenshots import chromium

    with chromium() as browser:
        yield browser
