"""What deterministic operations cost: the same training steps in fresh processes, with and without, in turn.

python -m benchmarks.determinism on|off FOLDER      # one of them; prints images a second and a digest of the weights
"""

import dataclasses
import hashlib
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.process import ROOT
from benchmarks.report import table

TITLE = "Deterministic training"
REPEATS = 5
_STEPS = 100


def benchmark(repeats: int) -> str:
    """Returns the section's text."""
    from benchmarks.input_pipeline import write_records

    runs = {"on": [], "off": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_records(Path(scratch)).folder
        for _ in range(repeats):
            for name, measured in runs.items():
                command = [sys.executable, "-m", "benchmarks.determinism", name, str(folder)]
                done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
                measured.append(json.loads(done.stdout.splitlines()[-1]))
                print(name, measured[-1], flush=True)
    rows = []
    for name, measured in runs.items():
        digests = {run["digest"] for run in measured}
        same = "yes" if len(digests) == 1 else f"no, {len(digests)} results"
        rows.append([name, f"{statistics.median(run['rate'] for run in measured):,.0f}", same])
    pairs = zip(runs["on"], runs["off"], strict=True)
    ratio = statistics.median(on["rate"] / off["rate"] for on, off in pairs)
    return "\n\n".join(
        [
            f"{_STEPS} steps of the preset `fast` with one seed, each run in a process of its own:",
            table(["deterministic operations", "images/s", f"the same weights in all {repeats} runs"], rows),
            f"Images a second with against without, pair by pair: median {ratio:.3f}. On is what the Trainer does.",
        ]
    )


def _train(deterministic: bool, folder: Path) -> dict:
    """Trains for some steps and returns the speed and a digest of the weights."""
    import keras
    import numpy as np
    import tensorflow as tf

    from benchmarks.input_pipeline import open_records
    from models.features import TRAIN
    from models.input_pipeline import open_split
    from models.recipe import augmented_batches, compile_model
    from pipeline.presets import preset

    keras.utils.set_random_seed(0)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    config = dataclasses.replace(preset("fast").training, flip=True)
    split = open_split(open_records(folder), TRAIN, memory=math.inf, scratch=folder)
    pixels = split.images.astype(np.float64)
    model = compile_model(config, split, mean=pixels.mean(0), variance=pixels.var(0), seed=0)
    batches = augmented_batches(split, config, seed=0)
    model.fit(batches, steps_per_epoch=5, verbose=0)
    started = time.monotonic()
    model.fit(batches, steps_per_epoch=_STEPS, verbose=0)
    seconds = time.monotonic() - started
    weights = b"".join(np.ascontiguousarray(weight).tobytes() for weight in model.get_weights())
    return {"rate": round(_STEPS * config.batch_size / seconds), "digest": hashlib.sha256(weights).hexdigest()[:16]}


if __name__ == "__main__":
    print(json.dumps(_train(sys.argv[1] == "on", Path(sys.argv[2]))))
