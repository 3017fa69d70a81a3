"""Puts the four Fashion-MNIST files into data/, checked. Standard library only, no root.

They come from the Debian package dataset-fashion-mnist where there is apt, else through Keras,
which knows the public mirror. The two gzip the same bytes differently, so the SHA-256 is of the
*decompressed* content. A file gets its name in data/ only when all that were missing have arrived
and passed. A run with nothing to do checks them all again (0.5 s).

Synopsis:

    make data                                              # python3 -m scripts.fetch_data
    python3 -m scripts.fetch_data --from https://host/dir  # or file:///dir, or a folder
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import http.client
import shutil
import sys
import urllib.request
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scripts.console import Log, StepFailed, Stop, exit_status, only_one, step
from scripts.host_apt import Source, download, host_source, unpack

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = "usr/share/datasets/fashion-mnist"
# Keras downloads into $KERAS_HOME/datasets/fashion-mnist.
THROUGH_KERAS = "from keras.datasets import fashion_mnist; fashion_mnist.load_data()"
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class DataFile:
    """One of the four files, with the size and SHA-256 of its decompressed content."""

    name: str
    size: int
    sha256: str


FILES = (
    DataFile(
        name="train-images-idx3-ubyte.gz",
        size=47_040_016,
        sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    DataFile(
        name="train-labels-idx1-ubyte.gz",
        size=60_008,
        sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    DataFile(
        name="t10k-images-idx3-ubyte.gz",
        size=7_840_016,
        sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    DataFile(
        name="t10k-labels-idx1-ubyte.gz",
        size=10_008,
        sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file, in a few words, and whether its content is somebody else's: whole, and another."""

    text: str
    others: bool = False

    def __str__(self) -> str:
        return self.text


MISSING = Problem("is missing")


def problem(path: Path, expected: DataFile) -> Problem | None:
    """What is wrong with the file; None if it holds the expected content."""
    digest = hashlib.sha256()
    size = 0
    try:
        with gzip.open(path) as content:
            # Not past the expected size by more than a block: a gzip bomb stops here.
            while size <= expected.size and (block := content.read(1 << 20)):
                digest.update(block)
                size += len(block)
    except FileNotFoundError:
        return MISSING
    except (OSError, EOFError, zlib.error) as error:
        return Problem(f"can't be decompressed ({error})")
    if size != expected.size:
        found = "more" if size > expected.size else f"{size:,}"
        return Problem(f"should hold {expected.size:,} bytes decompressed and holds {found}", others=size > 0)
    found, wanted = digest.hexdigest()[:12], expected.sha256[:12]
    if digest.hexdigest() != expected.sha256:
        return Problem(f"should have the SHA-256 {wanted}... decompressed and has {found}...", others=True)
    return None


def from_apt(source: Source, into: Path, log: Log) -> None:
    """Takes the files out of the Debian package."""
    unpack(download([PACKAGE], source, into / "apt", log), into / "package", log)
    for file in FILES:
        (into / "package" / PACKAGE_FOLDER / file.name).replace(into / file.name)


def from_keras(python: Path, into: Path, log: Log) -> None:
    """Takes the files from where keras.datasets.fashion_mnist has them."""
    # Not the user's own backend, which this environment may lack.
    env = {"KERAS_HOME": str(into / "keras"), "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    log.run([python, "-c", THROUGH_KERAS], env)
    for file in FILES:
        (into / "keras/datasets/fashion-mnist" / file.name).replace(into / file.name)


def from_address(base: str, files: Iterable[DataFile], into: Path) -> None:
    """Takes the files from an address (http, https, file) or a folder."""
    if "://" not in base:
        base = Path(base).resolve().as_uri()
    for file in files:
        address = f"{base.rstrip('/')}/{file.name}"
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:
            (into / file.name).write_bytes(answer.read())


def arrive(base: str | None, python: Path, files: Iterable[DataFile], into: Path) -> str:
    """Brings the files into the folder `into`, unchecked; says where from.

    Raises:
      Stop: no source had them; the line has each source's reason.
    """
    log = Log(into / "log")
    sources = {}
    if base:
        sources[base] = lambda: from_address(base, files, into)
    else:
        if found := host_source():
            sources[f"the Debian package {PACKAGE}"] = lambda: from_apt(found[1], into, log)
        sources["the mirror that Keras uses"] = lambda: from_keras(python, into, log)
    reasons = []
    for name, bring in sources.items():
        try:
            with step(f"Fashion-MNIST from {name}"):
                bring()
            return name
        except StepFailed as failed:
            reasons.append(f"{name}: {failed.reason}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            reasons.append(f"{name}: {error or type(error).__name__}")
    raise Stop(
        f"Fashion-MNIST could not be had ({'; '.join(reasons)}). With the four .gz files at hand: "
        "python3 -m scripts.fetch_data --from FOLDER_OR_ADDRESS"
    )


def fetch(folder: Path, base: str | None, python: Path) -> None:
    """Makes `folder` hold the four files; leaves alone those that are there and right.

    Raises:
      Stop: they could not be had or are not what was expected, or other data have their names (MNIST's files are called
        so, too); `folder` is as it was before.
    """
    reasons = {file: problem(folder / file.name, file) for file in FILES}
    wanted = [file for file in FILES if reasons[file]]
    if not wanted:
        return
    if others := [file for file in wanted if reasons[file].others]:
        raise Stop(
            f"{folder / others[0].name} {reasons[others[0]]}: it is of other data. Move those into a folder of their "
            'own (make run ARGS="--data-dir FOLDER" takes them there), or delete them.'
        )
    for file in wanted:
        if reasons[file] != MISSING:
            print(f"data: {folder / file.name} {reasons[file]}; fetching it again", flush=True)
    arriving = folder / ".arriving"
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir()
    try:
        source = arrive(base, python, wanted, arriving)
        for file in wanted:
            if wrong := problem(arriving / file.name, file):
                raise Stop(
                    f"{file.name} from {source} {wrong}. Nothing was changed in {folder}; "
                    "take it from another place with: python3 -m scripts.fetch_data --from ..."
                )
        for file in wanted:
            (arriving / file.name).replace(folder / file.name)
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
    print(f"data: {folder} holds 60,000 + 10,000 images, checked", flush=True)


def main(argv: list[str] | None = None) -> int:
    description = "Puts the four Fashion-MNIST files into a folder, checked."
    parser = argparse.ArgumentParser(prog="python3 -m scripts.fetch_data", description=description)
    parser.add_argument("--to", type=Path, default=ROOT / "data", help="default: data")
    parser.add_argument("--from", dest="base", help="take them from this folder or address")
    python = "a Python with Keras, for where there is no apt (default: that of .venv)"
    parser.add_argument("--python", type=Path, default=ROOT / ".venv/bin/python", help=python)
    args = parser.parse_args(argv)
    try:
        args.to.mkdir(parents=True, exist_ok=True)
        with only_one(args.to, "data"):
            fetch(args.to, args.base, args.python)
    except OSError as error:
        raise Stop(f"{args.to}: {error.strerror}; name another folder with --to.") from error
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("data", main))
