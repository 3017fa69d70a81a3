"""The page of all runs: how long it takes to make, and how large it is."""

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.metadata import seconds_of_process
from benchmarks.recorded_nights import record_nights
from benchmarks.report import table
from pipeline.output_root import OutputRoot
from pipeline.report.index_page import write_index

TITLE = "The page of all runs"
REPEATS = 5
_RUNS, _CLASSES = (30, 500), 100


def benchmark(repeats: int) -> str:
    """Returns the section's text."""
    rows = [_measure(runs, repeats) for runs in _RUNS]
    return "\n\n".join(
        [
            f"Nights of {_CLASSES} classes, each with a span of its own; seconds, without and with the start of the "
            "process. A run waits at its end for the first.",
            table(["runs", "making it", "whole process", "size, kB"], rows),
        ]
    )


def _measure(runs: int, repeats: int) -> list[object]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "output")
        record_nights(output, runs, classes=_CLASSES)
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            page = write_index(OutputRoot(output))
            seconds.append(time.perf_counter() - started)
        whole = [
            seconds_of_process(["-m", "pipeline.report", "--index", "--output-root", str(output)]) for _ in seconds
        ]
        return [runs, statistics.median(seconds), statistics.median(whole), round(page.stat().st_size / 1000)]
