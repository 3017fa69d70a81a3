"""Fixtures that several modules share: real images, IDX files and TFRecord shards.

Nothing here imports TensorFlow at the top, so that the tests of the parsers start at once.
"""

import atexit
import gzip
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest

from models.host import for_good, home
from pipeline.run.data import candidates, locate_data
from pipeline.scratch import scratch

if TYPE_CHECKING:
    from models.examples import Examples

# `tmp_path` may be shared by the examples of one property: each writes its files anew.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
hypothesis.settings.load_profile("tests")

ROOT = Path(__file__).resolve().parent.parent

_HOME = home()
if _HOME is None or not os.access(_HOME, os.W_OK):
    # As a run does (`pipeline/surroundings.py`): Keras and NLTK ask for one when they are imported.
    os.environ["HOME"] = tempfile.mkdtemp(prefix="home-")
    atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)

# The servers of the tests are asked past a proxy of the host's.
_PAST = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
os.environ["no_proxy"] = ",".join(filter(None, (_PAST, "localhost,127.0.0.1")))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    # The tests take a sixth less of the processor.
    with for_good():
        return (yield)


@pytest.fixture
def shut_home(monkeypatch, tmp_path) -> Path:
    """A home folder that may not be entered; patched, because root may look everywhere."""
    home, stat = tmp_path / "shut", os.stat

    def refuse(path: object, **options: object) -> os.stat_result:
        if str(path).startswith(f"{home}/"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    return home


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names bytes by their argument: two workers must collect the same names, and content may hold the time of day."""
    return argname if isinstance(val, bytes | bytearray | memoryview) else None


def idx_bytes(values: np.ndarray) -> bytes:
    """Returns `values` as the IDX specification says, made with `struct` alone."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory) -> Iterator[Path]:
    """What Beam, TFX and AutoGraph leave in the temporary folder goes with the tests; pytest's own folder is beside."""
    tmp_path_factory.getbasetemp()
    with scratch() as folder:
        yield folder


@pytest.fixture
def heard() -> Iterator[None]:
    """No signal is ignored, as whoever started the tests may have it (nohup, a shell's `&`)."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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


def write_examples(
    folder: Path,
    splits: dict[str, tuple[np.ndarray, np.ndarray]],
    *,
    encoding: str = "tensor",
    stored: str | None = None,
    compression: str = "",
    shards: int = 2,
    classes: int = 10,
) -> "Examples":
    """Writes images and labels of each split as an Examples artifact.

    Args:
      folder: of the artifact.
      splits: images, uint8 [n, ...], and labels, integer [n], by split.
      encoding: that the artifact tells.
      stored: how the images are stored in truth; as told by default.
      compression: of the shards, "" or "GZIP".
      shards: of each split.
      classes: number of classes, which are called "0", "1", ...
    """
    from components.example_gen.records import ShardFormat, write_shard
    from models.examples import Examples, shard_name

    (image_shape,) = {images.shape[1:] for images, _ in splits.values()}
    examples = Examples(
        folder=folder,
        encoding=encoding,
        compression=compression,
        image_shape=image_shape,
        class_names=tuple(map(str, range(classes))),
        counts={split: len(labels) for split, (_, labels) in splits.items()},
        digest="0" * 64,
    )
    for split, (images, labels) in splits.items():
        examples.split_folder(split).mkdir(parents=True)
        for number, part in enumerate(np.array_split(np.arange(len(labels)), shards)):
            path = examples.split_folder(split) / shard_name(number, shards, compression)
            shard_format = ShardFormat(encoding=stored or encoding, compression=compression)
            write_shard(path, [(images[part], np.asarray(labels)[part])], shard_format)
    return examples


@pytest.fixture
def examples(tmp_path: Path) -> Callable[..., "Examples"]:
    """Writes an Examples artifact and describes it; takes what `write_examples` does behind the folder."""

    def write(splits: dict[str, tuple[np.ndarray, np.ndarray]], *, name: str = "examples", **more) -> "Examples":
        return write_examples(tmp_path / name, splits, **more)

    return write


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """The folder of the real files; `make data` puts them there."""
    return locate_data(None, candidates(ROOT, home()))


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
    """A headless Chromium of playwright's; where there is none, its tests are skipped, in CI they fail."""
    from scripts.browser import reason_to_skip
    from scripts.screenshots import chromium

    if reason := reason_to_skip():
        pytest.skip(reason)
    with chromium() as browser:
        yield browser
