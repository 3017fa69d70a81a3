"""Each answer of `python -m pipeline.metadata` on 500 runs, and plain sqlite against the library of ML Metadata.

python -m benchmarks.metadata library DATABASE      # the graph of a database, in a process of its own; or: plain

These processes do without TFX: what writes the runs is imported where it does.
"""

import contextlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.process import ROOT
from benchmarks.report import table
from pipeline.metadata.cli import main
from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot

TITLE = "Answers from ML Metadata"
REPEATS = 5
_RUNS = 500
_COMMANDS = (
    ("runs",),
    ("show", "latest"),
    ("show", "a100"),
    ("lineage", "latest"),
    ("lineage", "a1", "--down"),
    ("lineage", "a1", "--down", "--format", "json"),
    ("diff", "20260101-000000", "latest"),
    ("why", "Pusher"),
    ("gc", "--keep", "5"),
)


def benchmark(repeats: int) -> str:
    """Returns the section's text."""
    from benchmarks.recorded_runs import dag

    # In memory where there is such a folder: ML Metadata waits for the disk after each of the 20,000 writes.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        output = Path(folder, "output")
        counts = _write(output)
        rows = [_measure(output, words, repeats) for words in _COMMANDS]
        database = str(OutputRoot(output).metadata)
        seconds = {
            way: [seconds_of_process(["-m", "benchmarks.metadata", way, database]) for _ in range(repeats)]
            for way in _WAYS
        }
        size = OutputRoot(output).metadata.stat().st_size / 2**20
    return "\n\n".join(
        [
            f"{_RUNS} runs of {len(dag())} nodes: every fifth has new data, the others another seed, another module or "
            f"nothing new; {counts['executions']:,} executions, {counts['artifacts']:,} artifacts, {size:.0f} MiB. "
            "Seconds, without and with the start of the process.",
            table(["command", "answer", "whole process"], rows),
            "All runs, executions with node and run, artifacts and events, whole process: plain sqlite (ours) "
            f"{statistics.median(seconds['plain']):.2f} s, the library of ML Metadata "
            f"{statistics.median(seconds['library']):.2f} s.",
        ]
    )


def _write(output: Path) -> dict[str, int]:
    from benchmarks.recorded_runs import RecordedRuns

    runs = RecordedRuns(output)
    modules = {f"components.module_{number}": f"{number:064x}" for number in range(40)}
    packages = {f"package-{number}": "1.2.3" for number in range(240)}
    for number in range(_RUNS):
        changed = ("ExampleGen", "Trainer", "", "Trainer", "Evaluator")[number % 5]
        if changed == "Evaluator":
            modules["components.module_3"] = f"{number:064x}"
        runs.add(
            f"20260101-{number:06d}-000",
            changed=changed,
            settings={"seed": number, "training": {"epochs": 8, "widths": [48, 96]}},
            modules=modules,
            packages=packages,
            blessed=number % 3 != 0,
            failed="Trainer" if number % 50 == 49 and number != _RUNS - 1 else "",
        )
    return {"executions": len(runs.store.get_executions()), "artifacts": len(runs.store.get_artifacts())}


def _measure(output: Path, words: tuple[str, ...], repeats: int) -> list[object]:
    arguments = [*words, "--output-root", str(output)]
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            status = main(arguments)
        seconds.append(time.perf_counter() - started)
        if status:
            raise RuntimeError(f"{' '.join(words)}: expected exit status 0, found {status}")
    whole = [seconds_of_process(["-m", "pipeline.metadata", *arguments]) for _ in range(repeats)]
    return [f"`{' '.join(words)}`", statistics.median(seconds), statistics.median(whole)]


def seconds_of_process(arguments: list[str]) -> float:
    """Returns how long a Python command takes from its start to its end."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _read_with_library(database: str) -> None:
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = database
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = metadata_store.MetadataStore(connection)
    executions = store.get_executions()
    store.get_artifacts()
    store.get_events_by_execution_ids([execution.id for execution in executions])
    for kind in ("pipeline_run", "node"):
        for context in store.get_contexts_by_type(kind):
            store.get_executions_by_context(context.id)


def _read_plainly(database: str) -> None:
    store = Store(Path(database))
    store.runs()
    _ = store.executions, store.artifacts, store.outputs


_WAYS = {"plain": _read_plainly, "library": _read_with_library}

if __name__ == "__main__":
    _, way, path = sys.argv
    _WAYS[way](path)
