"""The preset `best`, whole processes, a seed each: test accuracy, wall time and memory."""

import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.process import measure, medians
from benchmarks.report import accuracies_line, table

TITLE = "The preset `best`: accuracy and time of whole runs"
REPEATS = 3


def benchmark(repeats: int) -> str:
    """Returns the section's text; the first run's seed is 0."""
    runs, summaries = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(repeats):
            output = Path(scratch, str(seed))
            command = ["local_runner.py", "--preset", "best", "--seed", str(seed), "--output-root", str(output)]
            runs.append(measure(command, Path(scratch, f"{seed}.log")))
            (summary,) = output.glob("runs/*/summary.json")
            summaries.append(json.loads(summary.read_text()))
            print(f"seed {seed}: {runs[-1]}, test accuracy {summaries[-1]['metrics']['test_accuracy']}", flush=True)
    rows = [
        [f"seed {seed}", summary["training"]["val_accuracy"], summary["metrics"]["test_accuracy"], run.wall, run.cpu]
        for seed, (run, summary) in enumerate(zip(runs, summaries, strict=True))
    ]
    cells = [[name, f"{val:.2%}", f"{test:.2%}", wall, cpu] for name, val, test, wall, cpu in rows]
    training, minutes = summaries[0]["training"], [run.wall / 60 for run in runs]
    return "\n\n".join(
        [
            table(["python local_runner.py --preset best", "validation", "test", "whole process, s", "CPU, s"], cells),
            accuracies_line([test for _, _, test, _, _ in rows]),
            f"{training['parameters']:,} parameters, {training['multiply_adds'] / 1e6:.1f} M multiply-adds an image, "
            f"{training['epochs']} epochs, trained in {training['precision']}. The longest run took {max(minutes):.1f} "
            f"minutes, the median one {statistics.median(minutes):.1f}; peak memory {medians(runs).peak_mib:,.0f} MiB.",
        ]
    )
