"""What a stranger does with a pushed model: a program of its own, with TensorFlow and LiteRT, without this project.

    python -I client.py MODEL IMAGES REPORT COMPRESSION SHARD...

It asks the portable model before TensorFlow is imported, then the SavedModel through both signatures, and writes what
it measured as JSON. Where an answer is missing or wrong it ends with status 1 and one line on standard error.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

BATCH = 500
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
    model, images_path, report_path, compression, *shards = arguments
    images = np.load(images_path)
    try:
        report = {"litert": ask_litert(Path(model), images)}
        answers = report["litert"].pop("answers")
        report |= ask_saved_model(Path(model), images, shards, compression, answers)
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:  # whatever a broken model fails with
        print(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return 1
    Path(report_path).write_text(json.dumps(report, indent=2) + "\n")
    return 0


def ask_litert(model: Path, images: np.ndarray) -> dict:
    """Returns size, latency and answers of the portable model, asked without TensorFlow."""
    from ai_edge_litert.interpreter import Interpreter

    path = model / "assets.extra" / "model.tflite"
    if not path.is_file():
        raise Refused(f"expected a portable model {path.relative_to(model)}, found none")
    runner = Interpreter(str(path)).get_signature_runner()
    latency = latencies(lambda count: runner(images=images[:count]), len(images))
    answers = _batchwise(lambda part: runner(images=part), images)
    check_answers(answers, len(images))
    if "tensorflow" in sys.modules:
        raise Refused("expected LiteRT to answer without TensorFlow, which something imported")
    return {"bytes": path.stat().st_size, "latency_ms": latency, "answers": answers}


def ask_saved_model(model: Path, images: np.ndarray, shards: list[str], compression: str, portable: dict) -> dict:
    """Returns size and latency of the SavedModel after checking its answers, alone and against the portable model's."""
    import tensorflow as tf

    started = time.monotonic()
    signatures = tf.saved_model.load(str(model)).signatures
    load_seconds = time.monotonic() - started
    missing = {"serving_default", "predict_images"} - set(signatures)
    if missing:
        raise Refused(f"expected the signatures serving_default and predict_images, found no {', '.join(missing)}")
    examples = np.array(list(tf.data.TFRecordDataset(shards, compression).as_numpy_iterator()), object)
    by_image = _batchwise(lambda part: signatures["predict_images"](images=tf.constant(part)), images)
    by_example = _batchwise(lambda part: signatures["serving_default"](examples=tf.constant(part)), examples)
    check_answers(by_image, len(images))
    check_agreement(by_image, by_example)
    try:
        signatures["predict_images"](images=tf.zeros([1, *(size + 1 for size in images.shape[1:])], tf.uint8))
    except (tf.errors.InvalidArgumentError, TypeError):
        pass
    else:
        raise Refused("expected an image of another shape to be an error, found an answer")
    return {
        "load_seconds": round(load_seconds, 3),
        "bytes": sum(path.stat().st_size for path in model.rglob("*") if path.is_file()),
        "examples": len(images),
        "warmup_requests": replay_warmup(model, signatures),
        "latency_ms": {
            "predict_images": latencies(
                lambda count: signatures["predict_images"](images=tf.constant(images[:count])), len(images)
            ),
            "serving_default": latencies(
                lambda count: signatures["serving_default"](examples=tf.constant(examples[:count])), len(images)
            ),
        },
        "litert_disagreements": int((portable["class_id"] != by_image["class_id"]).sum()),
        "litert_largest_difference": float(np.abs(portable["probabilities"] - by_image["probabilities"]).max()),
    }


def check_answers(answers: dict, count: int) -> None:
    """Raises `Refused` unless there is one well-formed answer an image."""
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
    names = set(zip(answers["class_id"].tolist(), answers["class_name"].tolist(), strict=True))
    if len(names) != len(dict(names)) or not all(name for _, name in names):
        raise Refused("expected one name for each class, found others")


def check_agreement(by_image: dict, by_example: dict) -> None:
    """Raises `Refused` unless both signatures give the same answers."""
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


def _batchwise(ask: Callable[[np.ndarray], dict], values: np.ndarray) -> dict[str, np.ndarray]:
    parts = [ask(values[start : start + BATCH]) for start in range(0, len(values), BATCH)]
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
