"""Time and memory of the data plane by size and number of the images, and of a whole run on large ones.

python -m benchmarks.memory FOLDER COUNT HEIGHT WIDTH CHANNELS      # writes the data set of one of the lines
"""

import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.process import ROOT, Measured, measure, medians
from benchmarks.report import table

TITLE = "Memory: images of 28x28 to 224x224x3, and 100 to 700,000 of them"
REPEATS = 3
_DATA_SETS = (
    (100, (28, 28)),
    (10_000, (28, 28)),
    (70_000, (28, 28)),
    (700_000, (28, 28)),
    (6_000, (96, 96, 3)),
    (6_000, (224, 224, 3)),
)
_TEST_SHARE, _BLOCK = 7, 500
# As large a network as trains on 224x224 in a minute: what it is measured for is the rest of the run.
_TINY = (
    "training.epochs=1",
    "training.batch_size=32",
    "training.network.widths=4,8",
    "training.network.blocks=0,0",
    "training.network.pools=true,true",
    "floors.accuracy=0",
    "floors.accuracy@class=0",
)


def write_enlarged(source: Path, target: Path, count: int, shape: tuple[int, ...]) -> None:
    """Writes a data set of `count` images of a shape, a seventh of them for the test: real ones enlarged, with noise.

    The noise makes each of them another image, so that nothing can be told from a repetition.
    """
    from components.example_gen.idx import read_idx
    from components.example_gen.kinds.idx_folder import STEMS, find_files
    from components.example_gen.kinds.registry import list_files

    target.mkdir(parents=True)
    (files, _), noise = find_files(source, list_files(source)), np.random.default_rng(0)
    for part, size in (("train", count - count // _TEST_SHARE), ("test", count // _TEST_SHARE)):
        images, labels = (read_idx(files[part, kind]) for kind in ("images", "labels"))
        numbers = np.arange(size) % len(images)
        with (target / STEMS[f"{part}_images"]).open("wb") as file:
            file.write(_header(size, *shape))
            for start in range(0, size, _BLOCK):
                block = _enlarged(images[numbers[start : start + _BLOCK]], shape).astype(np.int16)
                block += noise.integers(-8, 9, block.shape, np.int16)
                file.write(np.clip(block, 0, 255).astype(np.uint8).tobytes())
        (target / STEMS[f"{part}_labels"]).write_bytes(_header(size) + labels[numbers].tobytes())


def _header(*shape: int) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)


def _enlarged(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns images [n, 28, 28] as [n, *shape], each pixel repeated and each channel alike."""
    rows, columns = (np.arange(side) * images.shape[1] // side for side in shape[:2])
    images = images[:, rows][:, :, columns]
    return images if len(shape) == 2 else np.repeat(images[..., None], shape[2], axis=3)


def benchmark(repeats: int) -> str:
    """Returns the section's text."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for count, shape in _DATA_SETS:
            name = "x".join(map(str, shape))
            data = Path(scratch, f"{count}-{name}")
            # By a process of its own, so that the memory of this one is not that of the images.
            measure(["-m", "benchmarks.memory", str(data), str(count), *map(str, shape)], Path(scratch, "write.log"))
            runs = []
            for repeat in range(repeats):
                runs.append(_run(data, Path(scratch, "output"), "--to", "Transform"))
                print(f"{count} of {name}, {repeat + 1}/{repeats}: {runs[-1]}", flush=True)
            rows.append(_row(f"{count:,} of {name}, up to Transform", count, shape, runs))
        whole = [_run(data, Path(scratch, "output"), *(word for one in _TINY for word in ("--set", one)))]
        rows.append(_row(f"{count:,} of {name}, whole run", count, shape, whole))
    header = [
        f"{repeats} runs each, the whole run once",
        "pixels, MiB",
        "nodes, s",
        "whole process, s",
        "peak memory, MiB",
    ]
    command = f"    python local_runner.py --data-dir ... {' '.join(f'--set {one}' for one in _TINY)}"
    told = "Peak memory is that of the process and its children. The whole run trains one epoch of a tiny network:"
    return "\n\n".join([table(header, rows), told, command])


def _run(data: Path, output: Path, *options: str) -> tuple[Measured, float]:
    """Runs the pipeline once, a tenth of the training files its validation; returns the seconds of its nodes too."""
    command = ["local_runner.py", "--data-dir", str(data), "--output-root", str(output)]
    measured = measure([*command, "--set", "split_sizes=none,0.1,none", *options], output.with_suffix(".log"))
    (summary,) = output.glob("runs/*/summary.json")
    nodes = json.loads(summary.read_text())["nodes"]
    shutil.rmtree(output)
    return measured, sum(node["seconds"] or 0 for node in nodes)


def _row(label: str, count: int, shape: tuple[int, ...], runs: list[tuple[Measured, float]]) -> list[object]:
    middle = medians([measured for measured, _ in runs])
    pixels = f"{count * np.prod(shape) / 2**20:,.0f}"
    return [label, pixels, statistics.median(seconds for _, seconds in runs), middle.wall, f"{middle.peak_mib:,.0f}"]


if __name__ == "__main__":
    write_enlarged(ROOT / "data", Path(sys.argv[1]), int(sys.argv[2]), tuple(map(int, sys.argv[3:])))
