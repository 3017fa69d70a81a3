"""Has a fresh process serve a model, and refuses one that cannot be served.

Synopsis:

    serve_once(saved_model, examples)["latency_ms"]["predict_images"]["1"]      # e.g. 0.99
"""

import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.errors import InputError, ModelRefused, PipelineError, refused_by_disk
from components.infra_validator import client
from components.shards import check_count, read_batches
from models import ENVIRONMENT
from models.examples import Examples
from models.features import TEST
from models.memory import inference_rows
from models.plain_paths import plain

# Enough to find a model that cannot be served, and as long however many there are. The first: shards are shuffled.
MOST_ASKED = 1_000
# LiteRT sums in another order. Of a good model up to one image in 1,000 falls on the other side of a boundary; that six
# of 1,000 do happens to it once in 1,700 times, and that five at most do to one that is wrong in 2 % once in 14,000.
DISAGREEMENT_LIMIT = 0.005
# A fresh process that hangs is ended; one that answers takes up to 0.03 s for a large image, and twice.
_TIMEOUT_SECONDS, _SECONDS_AN_IMAGE = 600, 0.2
# What ends a process from outside; a model at which a server crashes ends it by another signal.
_KILLED = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What is told where memory runs out, by Python, TensorFlow and C++.
_NO_MEMORY = ("MemoryError", "ResourceExhaustedError", "std::bad_alloc")
# The text that was imported and is part of the cache key; the file may be another by the time it is needed.
_CLIENT = inspect.getsource(client)


def serve_once(saved_model: Path, examples: Examples, scratch: Path | None = None) -> dict:
    """Asks a model about test images, `MOST_ASKED` at most, in a fresh process.

    Args:
      saved_model: its folder.
      examples: with a split `test`.
      scratch: where its pixels are written to for the while, the system's temporary folder by default.

    Returns:
      What `client.py` measured: size in bytes, latency in milliseconds by signature and batch size, the number
      of images that LiteRT takes for another class.

    Raises:
      ModelRefused: an answer is missing, wrong or late.
      PipelineError: the process was killed, or had no memory, which is none of the model's faults.
      DataRefused: a test shard is damaged.
      InputError: there is no room for the pixels, or for what the process writes.
    """
    size = min(MOST_ASKED, examples.counts[TEST])
    with tempfile.TemporaryDirectory(dir=scratch) as folder, plain(saved_model) as named:
        images, report = Path(folder, "images.npy"), Path(folder, "report.json")
        try:
            _write_images(images, examples, size)
        except OSError as error:
            raise InputError(
                f"{folder}: the test images cannot be written there ({error.strerror}). Free some space or choose "
                "another --output-root."
            ) from error
        # Isolated: neither the environment nor the current folder puts anything on its path.
        command = [sys.executable, "-I", "-c", _CLIENT, str(named), str(images), str(report)]
        command += [str(inference_rows(examples.image_shape)), examples.compression, *map(str, examples.shards(TEST))]
        # A model server has TensorFlow as that is.
        environment = {name: value for name, value in os.environ.items() if ENVIRONMENT.get(name) != value}
        timeout = _TIMEOUT_SECONDS + _SECONDS_AN_IMAGE * size
        try:
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise ModelRefused(
                f"{saved_model}: expected answers to {size:,} images within {timeout:.0f} s, found none."
            ) from None
        if -done.returncode in _KILLED:
            name = signal.Signals(-done.returncode).name
            raise PipelineError(
                f"{saved_model}: the process that asks it was killed ({name}), as where memory runs out. Free some, "
                "and run again."
            )
        if done.returncode or not report.exists():
            # Libraries warn on standard error as well; the verdict is what comes last.
            reason = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1].strip()
            if line := refused_by_disk(OSError(reason)):
                raise InputError(f"{saved_model}: it cannot be asked: {line}")
            if any(told in done.stderr for told in _NO_MEMORY):
                raise PipelineError(
                    f"{saved_model}: there was no memory for the process that asks it ({reason}). Free some, and run "
                    "again."
                )
            raise ModelRefused(f"{saved_model}: the model cannot be served: {reason}.")
        measured = json.loads(report.read_text())
    allowed = int(DISAGREEMENT_LIMIT * size)
    if measured["litert_disagreements"] > allowed:
        raise ModelRefused(
            f"{saved_model}: expected the portable model to take at most {allowed} of {size:,} images for "
            f"another class, found {measured['litert_disagreements']}."
        )
    return measured


def _write_images(path: Path, examples: Examples, size: int) -> None:
    """Writes the first images of the test split as a .npy file of uint8 [size, *image_shape], some at a time.

    Raises:
      DataRefused: a shard is damaged, or there are fewer.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": (size, *examples.image_shape)}
    rows, written = inference_rows(examples.image_shape), 0

    def parse(records: tf.Tensor) -> tf.Tensor:
        return examples.parse(records)[0]

    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for shard in examples.shards(TEST):
            for images in read_batches(shard, examples.compression, rows, parse, most=size - written):
                file.write(images.numpy())
                written += len(images)
    if written < size:
        check_count(examples.split_folder(TEST), examples.counts[TEST], written)
