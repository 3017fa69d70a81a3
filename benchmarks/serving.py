"""Latency and size of the served model: SavedModel and LiteRT, alone and in batches, in turn."""

import gzip
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.process import ROOT, measure
from benchmarks.report import table
from components.infra_validator.client import LATENCY_BATCHES, latencies

TITLE = "The served model: latency and size"
REPEATS = 5


def benchmark(repeats: int) -> str:
    """Returns the section's text; trains and pushes a model with the preset `fast` first."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch, "output")
        measure(["local_runner.py", "--output-root", str(output)], Path(scratch, "run.log"))
        (summary,) = output.glob("runs/*/summary.json")
        summary = json.loads(summary.read_text())
        served = summary["served"]
        rows = _latencies(Path(summary["pushed_model"]), repeats)
    return "\n\n".join(
        [
            "Milliseconds a call, median of the calls of each run, then of the runs:",
            table([f"{repeats} runs each", *(f"batch {size}" for size in LATENCY_BATCHES)], rows),
            f"The whole version takes {served['bytes'] / 1024:,.0f} KiB on disk, of which the LiteRT model "
            f"{served['litert']['bytes'] / 1024:,.0f}; the SavedModel loads in {served['load_seconds']:.2f} s. Of "
            f"{served['examples']:,} test images LiteRT takes {served['litert_disagreements']} for another class; the "
            f"largest difference between two probabilities is {served['litert_largest_difference']:.1g}.",
        ]
    )


def _latencies(model: Path, repeats: int) -> list[list]:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    with gzip.open(ROOT / "data" / "t10k-images-idx3-ubyte.gz") as stream:
        images = np.frombuffer(stream.read()[16:], np.uint8).reshape(-1, 28, 28)[: max(LATENCY_BATCHES)]
    features = [
        tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.io.serialize_tensor(image).numpy()]))
        for image in images
    ]
    examples = np.array(
        [
            tf.train.Example(features=tf.train.Features(feature={"image": feature})).SerializeToString()
            for feature in features
        ],
        object,
    )
    signatures = tf.saved_model.load(str(model)).signatures
    portable = Interpreter(str(model / "assets.extra" / "model.tflite")).get_signature_runner()
    calls = {
        "SavedModel, `predict_images`": lambda count: signatures["predict_images"](images=tf.constant(images[:count])),
        "SavedModel, `serving_default`": lambda count: signatures["serving_default"](
            examples=tf.constant(examples[:count])
        ),
        "LiteRT, one thread": lambda count: portable(images=images[:count]),
    }
    measured = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            measured[name].append(latencies(call, len(images)))
    return [
        [name, *(f"{statistics.median(run[str(size)] for run in runs):.2f}" for size in LATENCY_BATCHES)]
        for name, runs in measured.items()
    ]
