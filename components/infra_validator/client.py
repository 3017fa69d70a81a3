"""What a stranger does with a pushed model: a program of its own, with TensorFlow and LiteRT, without this project.

    python -I client.py MODEL IMAGES REPORT ROWS COMPRESSION SHARD...

It asks the portable model before TensorFlow is imported, then the SavedModel through both signatures, and writes what
it measured as JSON. IMAGES is a .npy file of uint8, those of the first records of the SHARDs; never more than ROWS of
it, and of the answers, are in memory. Where an answer is missing or wrong it ends with status 1 and one line on
standard error.
"""

import gc
import json
import math
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

LATENCY_BATCHES = (1, 64)
_CALLS = {1: 50, 64: 10}
# Float32 sums in another order.
_CLOSE = 1e-5


class Refused(Exception):
    """The model does not answer as a served model has to."""


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    # Imports of this project end in an ImportError, even where it is installed.
    sys.modules.update(dict.fromkeys(("components", "models", "pipeline")))
    model, images, report_path, rows, compression, *shards = arguments
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    try:
        with tempfile.TemporaryFile(dir=Path(report_path).parent) as answers:
            report = {"litert": ask_litert(Path(model), Path(images), int(rows), answers)}
            answers.seek(0)
            report |= ask_saved_model(Path(model), Path(images), shards, compression, int(rows), answers)
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:  # whatever a broken model fails with
        told = next(filter(None, map(str.strip, str(error).splitlines())), "it said no more")
        print(f"{type(error).__name__}: {told}", file=sys.stderr)
        return 1
    Path(report_path).write_text(json.dumps(report, indent=2) + "\n")
    return 0


def end_with(parent: int) -> None:
    """Ends this process when the one that started it is no more, killed perhaps: nobody waits for an answer then."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def read_images(path: Path, rows: int) -> Iterator[np.ndarray]:
    """Yields the images of a .npy file, uint8 [n, ...], up to `rows` at a time."""
    # Read and not mapped: a touched page of a map counts as memory of the process.
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        (count, *shape), _, _ = np.lib.format.read_array_header_1_0(file)
        for start in range(0, count, rows):
            part = min(rows, count - start)
            yield np.fromfile(file, np.uint8, part * math.prod(shape)).reshape(part, *shape)


def ask_litert(model: Path, images: Path, rows: int, answers: BinaryIO) -> dict:
    """Returns size and latency of the portable model, asked without TensorFlow.

    Its probabilities, float32 [images, classes], go to the file `answers`.
    """
    from ai_edge_litert.interpreter import Interpreter

    path = model / "assets.extra" / "model.tflite"
    if not path.is_file():
        raise Refused(f"expected a portable model {path.relative_to(model)}, found none")
    runner = Interpreter(str(path)).get_signature_runner()
    first = next(read_images(images, rows))
    latency = latencies(lambda count: runner(images=first[:count]), len(first))
    names: set = set()
    for batch in read_images(images, rows):
        found = runner(images=batch)
        check_answers(found, len(batch), names)
        answers.write(found["probabilities"].astype(np.float32))
    if "tensorflow" in sys.modules:
        raise Refused("expected LiteRT to answer without TensorFlow, which something imported")
    return {"bytes": path.stat().st_size, "latency_ms": latency}


def ask_saved_model(
    model: Path, images: Path, shards: list[str], compression: str, rows: int, portable: BinaryIO
) -> dict:
    """Returns size and latency of the SavedModel after checking its answers, alone and against the portable model's."""
    # What is imported stays: without looking for garbage among it this takes a fifth less.
    gc.disable()
    import tensorflow as tf

    gc.freeze()
    gc.enable()
    started = time.monotonic()
    signatures = tf.saved_model.load(str(model)).signatures
    load_seconds = time.monotonic() - started
    missing = {"serving_default", "predict_images"} - set(signatures)
    if missing:
        raise Refused(f"expected the signatures serving_default and predict_images, found no {', '.join(missing)}")
    # A map, for its length; its pixels are left alone.
    asked = len(np.load(images, mmap_mode="r"))
    records = tf.data.TFRecordDataset(shards, compression).take(asked).batch(rows)
    first, first_records = next(read_images(images, rows)), next(iter(records))
    count, disagreements, largest, names = 0, 0, 0.0, set()
    for batch, serialized in zip(read_images(images, rows), records, strict=True):
        by_image = _as_numpy(signatures["predict_images"](images=tf.constant(batch)))
        check_answers(by_image, len(batch), names)
        check_agreement(by_image, _as_numpy(signatures["serving_default"](examples=serialized)), names)
        probabilities = by_image["probabilities"]
        others = np.fromfile(portable, np.float32, probabilities.size).reshape(probabilities.shape)
        count += len(batch)
        disagreements += int((others.argmax(axis=-1) != by_image["class_id"]).sum())
        largest = max(largest, float(np.abs(others - probabilities).max()))
    try:
        signatures["predict_images"](images=tf.zeros([1, *(size + 1 for size in first.shape[1:])], tf.uint8))
    except (tf.errors.InvalidArgumentError, TypeError):
        pass
    else:
        raise Refused("expected an image of another shape to be an error, found an answer")
    return {
        "load_seconds": round(load_seconds, 3),
        "bytes": sum(path.stat().st_size for path in model.rglob("*") if path.is_file()),
        "examples": count,
        "warmup_requests": replay_warmup(model, signatures),
        "latency_ms": {
            "predict_images": latencies(
                lambda count: signatures["predict_images"](images=tf.constant(first[:count])), len(first)
            ),
            "serving_default": latencies(
                lambda count: signatures["serving_default"](examples=first_records[:count]), len(first)
            ),
        },
        "litert_disagreements": disagreements,
        "litert_largest_difference": largest,
    }


def check_answers(answers: dict, count: int, names: set | None = None) -> None:
    """Raises `Refused` unless there is one well-formed answer an image.

    `names` has the pairs of class and name of the batches before, to which it adds those of this one.
    """
    missing = {"class_id", "class_name", "probabilities"} - set(answers)
    if missing:
        raise Refused(f"expected class_id, class_name and probabilities, found no {', '.join(sorted(missing))}")
    probabilities = answers["probabilities"]
    if len(probabilities) != count:
        raise Refused(f"expected {count} answers, found {len(probabilities)}")
    if not np.isfinite(probabilities).all() or np.abs(probabilities.sum(axis=-1) - 1).max() > 1e-4:
        raise Refused("expected probabilities that add up to 1, found others")
    if (answers["class_id"] != probabilities.argmax(axis=-1)).any():
        raise Refused("expected class_id to be the most probable class, found others")
    names = set() if names is None else names
    names.update(zip(answers["class_id"].tolist(), answers["class_name"].tolist(), strict=True))
    if len(names) != len(dict(names)) or not all(name for _, name in names):
        raise Refused("expected one name for each class, found others")


def check_agreement(by_image: dict, by_example: dict, names: set) -> None:
    """Raises `Refused` unless the other signature's answers are well-formed and the same; `names` as above."""
    check_answers(by_example, len(by_image["probabilities"]), names)
    difference = float(np.abs(by_image["probabilities"] - by_example["probabilities"]).max())
    if difference > _CLOSE:
        raise Refused(f"expected both signatures to agree to {_CLOSE:g}, found probabilities {difference:g} apart")


def replay_warmup(model: Path, signatures: dict) -> int:
    """Answers the warm-up requests as TensorFlow Serving does before it serves, and returns their number."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    path = model / "assets.extra" / "tf_serving_warmup_requests"
    if not path.is_file():
        raise Refused(f"expected warm-up requests {path.relative_to(model)}, found none")
    count = 0
    for log in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(log).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        signatures[request.model_spec.signature_name](**inputs)
        count += 1
    return count


def latencies(call: Callable[[int], object], available: int) -> dict[str, float]:
    """Returns the median milliseconds of a call with each batch size that there are images for."""
    found = {}
    for count in (size for size in LATENCY_BATCHES if size <= available):
        call(count)
        seconds = []
        for _ in range(_CALLS[count]):
            started = time.perf_counter()
            call(count)
            seconds.append(time.perf_counter() - started)
        found[str(count)] = round(1000 * statistics.median(seconds), 3)
    return found


def _as_numpy(answers: dict) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in answers.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
