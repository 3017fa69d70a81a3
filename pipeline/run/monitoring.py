"""How an output root stands, as Prometheus reads it: `metrics.prom`, for node_exporter's textfile collector.

Everything is read from the summaries of the runs and from the serving folders, but for what only the file itself
remembers: how often the pipeline ended how, and when it last went well; and which run came after which, which ML
Metadata knows. A metric of a run is that of the latest run of its model that got so far, so that a refused night does
not take the accuracy away.

Synopsis:

    root.make_run("20261123-200513-360")
    path = write_metrics(root, exit_status=0, now=1_795_894_488.0)
    path.read_text().splitlines()[0]     # "# HELP image_pipeline_ends_total ..."
"""

import collections
import contextlib
import datetime
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from components.errors import InputError
from components.evaluator.metrics import METRICS
from components.pusher.history import served_version, versions
from models.card import read_digest
from models.files import write_bytes
from models.host import take_lock
from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot
from pipeline.run.outcome import INTERRUPTED, RUNNING, STATES

_PREFIX = "image_pipeline_"
# A model that none of so many runs was of is told by what is served of it alone.
_LATEST_RUNS = 100


def write_metrics(root: OutputRoot, *, exit_status: int | None = None, now: float) -> Path:
    """Writes the metrics of an output root, whole or not at all, and returns their path.

    Args:
      root: that they are of.
      exit_status: of the process that ends; None where none does: what is served has changed.
      now: seconds since 1970.
    """
    with _alone(root.path):
        families = list(_ends(_remembered(root.metrics), exit_status, now))
        summaries = list(_summaries(root))
        families += _by_model(summaries[:_LATEST_RUNS])
        families += _served(root, summaries)
        registry = CollectorRegistry()
        registry.register(_Collected(families))
        write_bytes(root.metrics, generate_latest(registry))
    return root.metrics


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Has another process that ends now wait, so that neither forgets what the other counted.

    A lock of the folder itself: that of the output root is a run's, and a busy process writes beside it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Where there are no locks, a count may be lost.
        with contextlib.suppress(OSError):
            take_lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


class _Collected:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return [family for family in self._families if family.samples]


def _gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, text, labels=labels)


def _remembered(path: Path) -> dict[str, list]:
    """Returns the samples of the file as it is, by the names of their families; {} for one that is none."""
    try:
        return {
            family.name: family.samples for family in text_string_to_metric_families(path.read_text(encoding="utf-8"))
        }
    except (OSError, ValueError):
        return {}


def _ends(remembered: dict[str, list], exit_status: int | None, now: float) -> Iterator[Metric]:
    """Yields what a process leaves that ends, run or no run."""
    counts = collections.Counter(
        {sample.labels["exit_status"]: sample.value for sample in remembered.get(f"{_PREFIX}ends", [])}
    )
    last = {
        name: next((sample.value for sample in remembered.get(_PREFIX + name, [])), None)
        for name in ("last_end_timestamp_seconds", "last_exit_status", "last_success_timestamp_seconds")
    }
    if exit_status is not None:
        counts[str(exit_status)] += 1
        last |= {"last_end_timestamp_seconds": now, "last_exit_status": exit_status}
        if exit_status == 0:
            last["last_success_timestamp_seconds"] = now
    total = CounterMetricFamily(f"{_PREFIX}ends", "Processes of the pipeline by exit status.", labels=("exit_status",))
    for status, count in sorted(counts.items()):
        total.add_metric((status,), count)
    yield total
    texts = {
        "last_end_timestamp_seconds": "When the pipeline last ended.",
        "last_exit_status": "Exit status that it last ended with.",
        "last_success_timestamp_seconds": "When it last ended with status 0, with something new or without.",
    }
    for name, text in texts.items():
        if last[name] is not None:
            family = _gauge(name, text)
            family.add_metric((), last[name])
            yield family


def _summaries(root: OutputRoot) -> Iterator[dict]:
    """Yields the summaries of the runs that say what they are of, newest first."""
    numbers: dict[str, int] = {}
    # A database that cannot be read now takes no metric away: an id is the local time, which mostly ascends as well.
    with contextlib.suppress(InputError, OSError):
        numbers = Store(root.metadata).numbers()

    def order(path: Path) -> tuple[int, str]:
        # What ML Metadata does not know is of before it was begun anew.
        return numbers.get(path.parent.name, 0), path.parent.name

    over = not root.is_in_use()
    for path in sorted(root.path.glob("runs/*/summary.json"), key=order, reverse=True):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["published_as"]:
                if over and content.get("state") == RUNNING:
                    # Its end could not be recorded: what the next run will make of it.
                    content["state"] = INTERRUPTED
                yield content
        except (OSError, ValueError, KeyError, TypeError):
            continue


def _started(summary: dict) -> float | None:
    """Returns when a run began, in seconds since 1970: its id is the local time, and in a shared database more."""
    moment = "-".join(summary["run_id"].split("-")[:3])
    try:
        return datetime.datetime.strptime(moment, "%Y%m%d-%H%M%S-%f").timestamp()
    except ValueError:
        return None


def _anomalies(summary: dict) -> dict[tuple[str, ...], int] | None:
    """Returns how many anomalies the data gate told, by severity; None where it was not asked."""
    gate = summary["gates"].get("DataGate")
    if gate is None:
        return None
    begun = [line.split(":")[0] for line in gate["reasons"]]
    return {(severity,): begun.count(severity) for severity in ("error", "warning")}


def _shown(metrics: dict | None) -> dict[str, float]:
    found = {metric.key: (metrics or {}).get(metric.key) for metric in METRICS.values()}
    return {key: value for key, value in found.items() if value is not None}


def _spans(summary: dict, name: str) -> dict[tuple[str, ...], float] | None:
    spans = ((summary.get("metrics") or {}).get("slices") or {}).get("span")
    return spans and {(span,): values[name] for span, values in spans.items() if values.get(name) is not None}


def _total(summary: dict, key: str) -> dict | None:
    window = summary.get("window")
    return None if window is None else {(): len(window) if key == "spans" else sum(span[key] for span in window)}


def _is_refused(run: dict) -> bool:
    """Whether data or model were refused; a shard that was damaged behind the gate is no answer of its."""
    passed = run["gates"].get("DataGate", {}).get("result") == "passed"
    return run["state"] == "not blessed" or (run["state"] == "data refused" and not passed)


def _one(value: float | None) -> dict | None:
    return None if value is None else {(): value}


# By name: what it tells, the labels beside the model, and its values in a summary by those; None: the run ended before.
_OF_RUNS: dict[str, tuple[str, tuple[str, ...], Callable[[dict], dict | None]]] = {
    "run_start_timestamp_seconds": ("When the latest run began.", (), lambda run: _one(_started(run))),
    "run_duration_seconds": ("How long it took.", (), lambda run: _one(run["wall_seconds"])),
    "run_peak_memory_bytes": ("Its peak resident memory.", (), lambda run: _one(run["peak_rss_mib"] * 2**20)),
    "run_state": (
        "1 for the state of the latest run, 0 for the others.",
        ("state",),
        lambda run: {(state,): int(state == run["state"]) for state in STATES},
    ),
    "run_refused": (
        "1 if the latest run was refused: its data, or its model.",
        (),
        lambda run: _one(int(_is_refused(run))),
    ),
    "node_duration_seconds": (
        "How long each node of the latest run took; next to nothing for one from the cache.",
        ("node",),
        lambda run: {(node["id"],): node["seconds"] for node in run["nodes"]},
    ),
    "gate_passed": (
        "1 if the gate passed the latest run that reached it, else 0.",
        ("gate",),
        lambda run: {(node,): int(gate["result"] == "passed") for node, gate in run["gates"].items()} or None,
    ),
    "anomalies": ("What the data gate last found.", ("severity",), _anomalies),
    "examples": (
        "Examples of the latest data.",
        ("split",),
        lambda run: run["data"]["splits"] and {(split,): count for split, count in run["data"]["splits"].items()},
    ),
    "span_number": ("The span that was taken up last.", (), lambda run: _one((run.get("span") or {}).get("number"))),
    "window_spans": ("Spans that were trained on.", (), lambda run: _total(run, "spans")),
    "window_examples": ("Examples in them.", (), lambda run: _total(run, "examples")),
    "span_accuracy_ratio": (
        "Accuracy of the latest model on the test examples of a span.",
        ("span",),
        lambda run: _spans(run, "accuracy"),
    ),
}


def _by_model(summaries: list[dict]) -> Iterator[Metric]:
    """Yields what is known from runs: of each model from its latest run that says it."""
    models = list(dict.fromkeys(summary["published_as"] for summary in summaries))
    of = {model: [summary for summary in summaries if summary["published_as"] == model] for model in models}
    for name, (text, labels, read) in _OF_RUNS.items():
        family = _gauge(name, text, ("model", *labels))
        for model in models:
            for key, value in next(filter(None, (_told(read, summary) for summary in of[model])), {}).items():
                family.add_metric((model, *key), value)
        yield family
    for metric in METRICS.values():
        family = _gauge(_name(metric), f"Of the latest evaluated model: {metric.label}.", ("model",))
        for model in models:
            found = next(filter(None, (_shown(summary.get("metrics")) for summary in of[model])), {})
            if metric.key in found:
                family.add_metric((model,), found[metric.key])
        yield family


def _told(read: Callable[[dict], dict | None], summary: dict) -> dict | None:
    """Returns what a summary says; None for one that an older version wrote without it."""
    try:
        return read(summary)
    except KeyError:
        return None


def _name(metric) -> str:
    return f"{metric.key}_ratio" if metric.format == "percent" else metric.key


def _served(root: OutputRoot, summaries: list[dict]) -> Iterator[Metric]:
    """Yields what is served: since when, how old it is, and how good it was on the test examples."""
    since = _gauge("served_since_timestamp_seconds", "Since when the served version is served.", ("model",))
    pushed = _gauge("served_model_timestamp_seconds", "When the served model was first published.", ("model",))
    accuracy = _gauge("served_accuracy_ratio", "Test accuracy of the served model.", ("model",))
    for folder in root.serving_folders():
        version = served_version(folder)
        if version is None:
            continue
        # A version is numbered by the second in which it was published.
        since.add_metric((folder.name,), version)
        pushed.add_metric((folder.name,), versions(folder)[version])
        digest = read_digest(folder / str(version))
        made = (run for run in summaries if digest and run.get("model_digest") == digest and run["metrics"])
        if run := next(made, None):
            accuracy.add_metric((folder.name,), run["metrics"]["test_accuracy"])
    yield from (since, pushed, accuracy)
