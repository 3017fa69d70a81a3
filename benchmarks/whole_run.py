"""The whole run of the preset `fast` against TFX's MNIST example on the same images, whole processes in turn.

Where the processor multiplies bfloat16, also as it runs where one does not.
"""

import dataclasses
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.data_plane import node_seconds
from benchmarks.process import measure, medians
from benchmarks.report import accuracies_line, table
from models.precision import trains_slowly
from pipeline.presets import WHERE_SLOW
from pipeline.settings import as_toml

TITLE = "Whole run: `python local_runner.py` against TFX's MNIST example"
REPEATS = 3
_PEER = "TFX's MNIST example"
_WITHOUT_BFLOAT16 = [
    argument
    for name, value in {"training.precision": "float32", **WHERE_SLOW["fast"]}.items()
    for argument in ("--set", f"{name}={as_toml(value)}")
]


def benchmark(repeats: int) -> str:
    """Returns the section's text."""
    kinds = {"ours": []} if trains_slowly() else {"ours": [], "ours as without bfloat16": _WITHOUT_BFLOAT16}
    runs, nodes = {name: [] for name in (_PEER, *kinds)}, []
    accuracies = {name: [] for name in kinds}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        measure(["-m", "benchmarks.peer", "records", str(folder / "records")], folder / "records.log")
        for repeat in range(repeats):
            outputs = {name: folder / f"{number} {repeat}" for number, name in enumerate(runs)}
            peer = ["-m", "benchmarks.peer", "run", str(folder / "records"), str(outputs[_PEER]), "whole"]
            commands = {_PEER: peer} | {
                name: ["local_runner.py", "--output-root", str(outputs[name]), "--seed", str(repeat), *settings]
                for name, settings in kinds.items()
            }
            for name, command in commands.items():
                runs[name].append(measure(command, folder / f"{outputs[name].name}.log"))
                print(f"{name} {repeat + 1}/{repeats}: {dataclasses.asdict(runs[name][-1])}", flush=True)
            for name, found in accuracies.items():
                (summary,) = outputs[name].glob("runs/*/summary.json")
                found.append(json.loads(summary.read_text())["metrics"]["test_accuracy"])
            nodes.append(node_seconds(outputs[_PEER] / "metadata.db"))
    middle = {name: medians(measured) for name, measured in runs.items()}
    rows = []
    for label, field in (("whole process, s", "wall"), ("CPU, s", "cpu"), ("peak memory, MiB", "peak_mib")):
        peer, *ours = (getattr(measured, field) for measured in middle.values())
        rows.append([label, peer, *(value for each in ours for value in (each, peer / each))])
    by_node = {node: statistics.median(run[node] for run in nodes) for node in nodes[0]}
    listed = ", ".join(f"{node} {seconds:.1f} s" for node, seconds in by_node.items())
    return "\n\n".join(
        [
            table([f"{repeats} runs each", _PEER, *(title for name in kinds for title in (name, "ratio"))], rows),
            *(accuracies_line(found, of=name) for name, found in accuracies.items()),
            f"Where the example's time goes: {listed}. It has oneDNN, as ours, whatever TensorFlow's default is here.",
        ]
    )
