"""The whole run of the preset `fast` against TFX's MNIST example on the same images, whole processes in turn."""

import dataclasses
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.data_plane import node_seconds
from benchmarks.process import measure, medians
from benchmarks.report import accuracies_line, table

TITLE = "Whole run: `python local_runner.py` against TFX's MNIST example"
REPEATS = 3


def benchmark(repeats: int) -> str:
    """Returns the section's text."""
    runs = {"peer": [], "ours": []}
    accuracies, nodes = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        measure(["-m", "benchmarks.peer", "records", str(folder / "records")], folder / "records.log")
        for repeat in range(repeats):
            peer, ours = folder / f"peer{repeat}", folder / f"ours{repeat}"
            commands = {
                "peer": ["-m", "benchmarks.peer", "run", str(folder / "records"), str(peer), "whole"],
                "ours": ["local_runner.py", "--output-root", str(ours), "--seed", str(repeat)],
            }
            for name, command in commands.items():
                runs[name].append(measure(command, folder / f"{name}{repeat}.log"))
                print(f"{name} {repeat + 1}/{repeats}: {dataclasses.asdict(runs[name][-1])}", flush=True)
            (summary,) = ours.glob("runs/*/summary.json")
            accuracies.append(json.loads(summary.read_text())["metrics"]["test_accuracy"])
            nodes.append(node_seconds(peer / "metadata.db"))
    middle = {name: medians(measured) for name, measured in runs.items()}
    rows = []
    for label, field in (("whole process, s", "wall"), ("CPU, s", "cpu"), ("peak memory, MiB", "peak_mib")):
        peer, ours = getattr(middle["peer"], field), getattr(middle["ours"], field)
        rows.append([label, peer, ours, peer / ours])
    by_node = {node: statistics.median(run[node] for run in nodes) for node in nodes[0]}
    listed = ", ".join(f"{node} {seconds:.1f} s" for node, seconds in by_node.items())
    return "\n\n".join(
        [
            table([f"{repeats} runs each", "TFX's MNIST example", "ours", "ratio"], rows),
            accuracies_line(accuracies),
            f"Where the example's time goes: {listed}.",
        ]
    )
