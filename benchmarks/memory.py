"""ExampleGen on ten times the images: time and memory must not grow faster than the data.

python -m benchmarks.memory FOLDER OUTPUT      # ExampleGen alone on the data set in FOLDER
"""

import dataclasses
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.process import ROOT, measure
from benchmarks.report import table

TITLE = "ExampleGen on 70,000 and on 700,000 images"
REPEATS = 3
_TIMES = 10


def run_example_gen(source: Path, output: Path) -> None:
    """Writes the examples of a data set and prints the seconds that took."""
    import time

    import apache_beam as beam

    from components.example_gen.dataset import inspect_dataset
    from components.example_gen.ingest import SplitSettings, write_examples

    settings = SplitSettings(
        sizes=(None, 5_000, None), shards=(4, 1, 2), seed=0, stratified=True, encoding="tensor", compression=""
    )
    (output / "plain").mkdir(parents=True)
    started = time.monotonic()
    pipeline = beam.Pipeline(argv=["--runner=FnApiRunner"])
    write_examples(inspect_dataset(source), settings, output, output / "plain", pipeline)
    print(time.monotonic() - started)


def write_times(source: Path, target: Path, times: int) -> None:
    """Writes a data set `times` as large: the real images and labels, repeated."""
    from components.example_gen.idx import read_idx
    from components.example_gen.kinds.idx_folder import STEMS, find_files

    target.mkdir(parents=True)
    for role, path in find_files(source).items():
        values = read_idx(path)
        shape = (values.shape[0] * times, *values.shape[1:])
        header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in shape)
        with (target / STEMS[role]).open("wb") as file:
            file.write(header)
            for _ in range(times):
                file.write(values.tobytes())


def benchmark(repeats: int) -> str:
    """Returns the section's text."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_times(ROOT / "data", folder / "one", 1)
        write_times(ROOT / "data", folder / "ten", _TIMES)
        seconds, peaks = {"one": [], "ten": []}, {"one": [], "ten": []}
        for repeat in range(repeats):
            for name in seconds:
                log = folder / f"{name}{repeat}.log"
                command = ["-m", "benchmarks.memory", str(folder / name), str(folder / f"{name}-out{repeat}")]
                measured = measure(command, log)
                seconds[name].append(float(log.read_text().splitlines()[-1]))
                peaks[name].append(measured.peak_mib)
                print(
                    f"{name} {repeat + 1}/{repeats}: {seconds[name][-1]:.1f} s, {dataclasses.asdict(measured)}",
                    flush=True,
                )
    time_one, time_ten = (statistics.median(seconds[name]) for name in seconds)
    peak_one, peak_ten = (statistics.median(peaks[name]) for name in peaks)
    rows = [
        ["ExampleGen, s", time_one, time_ten, f"{time_ten / time_one:.2f} times"],
        ["peak memory, MiB", round(peak_one), round(peak_ten), f"{peak_ten - peak_one:+.0f} MiB"],
    ]
    return table([f"{repeats} runs each", "70,000", "700,000", "growth"], rows)


if __name__ == "__main__":
    run_example_gen(Path(sys.argv[1]), Path(sys.argv[2]))
