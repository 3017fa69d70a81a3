"""Puts the four Fashion-MNIST files into data/, checked against the SHA-256 of their content. Standard library only.

They come from the Debian package dataset-fashion-mnist where there is apt (no root, nothing is installed), else through
Keras, which knows the public mirror. The two hold the same bytes gzipped differently, so the *decompressed* content is what
is checked. A file gets its name in data/ only after all that are missing have arrived and passed.

Synopsis:

    make data                                              # python -m scripts.fetch_data
    python -m scripts.fetch_data --from https://host/dir   # or file:///dir, or a folder
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scripts.console import Log, Stop, StepFailed, exit_status, step
from scripts.host_apt import download, host_source, unpack

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = "usr/share/datasets/fashion-mnist"
# Keras downloads to $KERAS_HOME/datasets/fashion-mnist.
THROUGH_KERAS = "from keras.datasets import fashion_mnist; fashion_mnist.load_data()"
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class DataFile:
    """One of the four files: its name, and the size and SHA-256 of what it holds decompressed."""

    name: str
    size: int
    sha256: str


FILES = (
    DataFile(
        "train-images-idx3-ubyte.gz",
        47_040_016,
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    DataFile(
        "train-labels-idx1-ubyte.gz",
        60_008,
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    DataFile(
        "t10k-images-idx3-ubyte.gz",
        7_840_016,
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    DataFile(
        "t10k-labels-idx1-ubyte.gz",
        10_008,
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)


def problem(path: Path, expected: DataFile) -> str | None:
    """What is wrong with the file at `path`, in a few words; None if it holds exactly the expected content."""
    digest = hashlib.sha256()
    size = 0
    try:
        with gzip.open(path) as content:
            # One block more than expected at most: a gzip bomb stops here.
            while size <= expected.size and (block := content.read(1 << 20)):
                digest.update(block)
                size += len(block)
    except FileNotFoundError:
        return "is missing"
    except (OSError, EOFError, zlib.error) as error:
        return f"can't be decompressed ({error})"
    if size != expected.size:
        more = "more than " if size > expected.size else ""
        return f"holds {more}{min(size, expected.size):,} bytes decompressed, expected {expected.size:,}"
    if digest.hexdigest() != expected.sha256:
        return f"has SHA-256 {digest.hexdigest()[:16]}... decompressed, expected {expected.sha256[:16]}..."
    return None


def from_apt(into: Path, log: Log) -> None:
    """Takes the files from the Debian package."""
    found = host_source()
    assert found is not None
    unpack(download([PACKAGE], found[1], into / "apt", log), into / "package", log)
    for file in FILES:
        (into / "package" / PACKAGE_FOLDER / file.name).replace(into / file.name)


def from_keras(into: Path, python: Path, log: Log) -> None:
    """Takes the files from where keras.datasets.fashion_mnist has them."""
    home = into / "keras"
    log.run([python, "-c", THROUGH_KERAS], {"KERAS_HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "2"})
    for file in FILES:
        (home / "datasets/fashion-mnist" / file.name).replace(into / file.name)


def from_address(base: str, files: Iterable[DataFile], into: Path) -> None:
    """Takes the files from an address (http, https, file) or a folder."""
    if "://" not in base:
        base = Path(base).resolve().as_uri()
    for file in files:
        with (
            urllib.request.urlopen(f"{base.rstrip('/')}/{file.name}", timeout=TIMEOUT_SECONDS) as answer,
            (into / file.name).open("wb") as out,
        ):
            shutil.copyfileobj(answer, out)


def fetch(folder: Path, base: str | None, python: Path) -> None:
    """Makes `folder` hold the four files; does nothing if it does.

    Raises:
      Stop: they could not be had, or were not what was expected. `folder` has what it had before.
    """
    wanted = {file: reason for file in FILES if (reason := problem(folder / file.name, file))}
    if not wanted:
        return
    for file, reason in wanted.items():
        if reason != "is missing":
            print(f"data: {folder / file.name} {reason}; fetching it again", flush=True)
    arriving = folder / ".arriving"
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir()
    log = Log(folder / "fetch.log")
    source = base
    try:
        if base:
            with step(f"Fashion-MNIST from {base}"):
                from_address(base, wanted, arriving)
        elif host_source():
            source = f"the Debian package {PACKAGE}"
            with step(f"Fashion-MNIST from {source}"):
                from_apt(arriving, log)
        else:
            source = "the mirror Keras uses"
            with step(f"Fashion-MNIST from {source}"):
                from_keras(arriving, python, log)
        for file in wanted:
            if reason := problem(arriving / file.name, file):
                raise Stop(f"{file.name} from {source} {reason}. Nothing was changed; try another place with --from.")
        for file in wanted:
            os.replace(arriving / file.name, folder / file.name)
    except (OSError, StepFailed) as error:
        line = " ".join(str(error).split("\n")[0].split())
        raise Stop(
            f"Fashion-MNIST could not be had from {source}: {line} (see {log.path}). Copy the four .gz files from elsewhere "
            "with: python3 -m scripts.fetch_data --from FOLDER_OR_ADDRESS"
        ) from error
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
    print(f"data: {folder} holds 60,000 + 10,000 images, checked", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.fetch_data", description=__doc__.split("\n")[0])
    parser.add_argument("--to", type=Path, default=ROOT / "data", help="the folder (default: data)")
    parser.add_argument("--from", dest="base", help="take them from this folder or address")
    parser.add_argument(
        "--python",
        type=Path,
        default=ROOT / ".venv/bin/python",
        help="a Python with Keras, where there is no apt",
    )
    args = parser.parse_args(argv)
    args.to.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(args.to, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    fetch(args.to, args.base, args.python)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("data", main))
