"""ExampleGen to Transform: ours against TFX's MNIST example, whole processes in turn.

python -m benchmarks.data_plane OUTPUT      # ours alone, 60,000 images
"""

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.process import ROOT, measure, medians
from benchmarks.report import table

REPEATS = 3
TITLE = "Data plane: 60,000 images, statistics, schema, validation, transform"


def run_ours(output: Path) -> None:
    """Runs our nodes up to Transform on 60,000 images."""
    from components.example_gen.dataset import inspect_dataset
    from pipeline.metadata.library import connection_to
    from pipeline.output_root import OutputRoot
    from pipeline.pipeline import create_pipeline
    from pipeline.presets import preset
    from pipeline.run.database import check_database
    from pipeline.run.record import RunRecord, opening
    from pipeline.run.runner import ReportingRunner
    from pipeline.settings import Settings

    settings = Settings.of(preset("fast", output_root=output, split_sizes=(45_000, 5_000, 10_000)))
    root, dataset = OutputRoot(output), inspect_dataset(ROOT / "data")
    folder, connection = root.make_run("bench"), connection_to(root)
    check_database(connection)
    record = RunRecord(folder, connection, opening("bench", settings, dataset, {}))
    runner = ReportingRunner(record, lambda node: None, lambda entry: None)
    runner.run(create_pipeline(settings.config, dataset, last_node="Transform"))
    if failure := record.content["failure"]:
        raise RuntimeError(failure["message"])


def benchmark(repeats: int) -> str:
    """Returns the section's text."""
    walls, nodes = {"peer": [], "ours": []}, {"peer": [], "ours": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        measure(["-m", "benchmarks.peer", "records", str(folder / "records")], folder / "records.log")
        for repeat in range(repeats):
            for name, command in (
                ("peer", ["-m", "benchmarks.peer", "run", str(folder / "records")]),
                ("ours", ["-m", "benchmarks.data_plane"]),
            ):
                output = folder / f"{name}{repeat}"
                arguments = [*command, str(output), *(["data"] if name == "peer" else [])]
                walls[name].append(measure(arguments, folder / f"{name}{repeat}.log"))
                nodes[name].append(node_seconds(output / "metadata.db"))
                print(f"{name} {repeat + 1}/{repeats}: {dataclasses.asdict(walls[name][-1])}", flush=True)
    return _describe(walls, nodes)


def node_seconds(metadata_path: Path) -> dict[str, float]:
    """Returns the wall time of each node of a run, read from its database by a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peer", "nodes", str(metadata_path)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def _describe(walls: dict, nodes: dict) -> str:
    sums = {name: statistics.median(sum(run.values()) for run in runs) for name, runs in nodes.items()}
    middle = {name: medians(runs) for name, runs in walls.items()}
    rows = [["nodes, s", sums["peer"], sums["ours"], sums["peer"] / sums["ours"]]]
    for label, field in (("whole process, s", "wall"), ("CPU, s", "cpu"), ("peak memory, MiB", "peak_mib")):
        peer, ours = getattr(middle["peer"], field), getattr(middle["ours"], field)
        rows.append([label, peer, ours, peer / ours])
    by_node = {
        name: {node: statistics.median(run[node] for run in runs) for node in runs[0]} for name, runs in nodes.items()
    }
    lists = [
        f"{name}: " + ", ".join(f"{node} {seconds:.1f} s" for node, seconds in seconds_by_node.items())
        for name, seconds_by_node in by_node.items()
    ]
    header = [f"{len(walls['ours'])} runs each", "TFX's MNIST example", "ours", "ratio"]
    return table(header, rows) + "\n\n" + "\n".join(f"- {line}" for line in lists)


if __name__ == "__main__":
    run_ours(Path(sys.argv[1]))
