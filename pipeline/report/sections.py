"""What the sections on gates, comparison and provenance say, as plain values.

Synopsis:

    gates(facts)[0].result, compare(facts)["columns"]       # "passed", ["this run", "previous run"]
"""

import base64
import dataclasses
import json
from collections.abc import Callable

from components.evaluator.metrics import METRICS, Metric
from pipeline.metadata.text import flatten
from pipeline.nodes import NODES
from pipeline.report.collect import Facts
from pipeline.report.formats import count, figure, percent, seconds
from pipeline.report.predictions import smoothed_loss
from pipeline.run.outcome import (
    FAILED,
    INTERRUPTED,
    NODE_CACHED,
    NODE_FAILED,
    NODE_RAN,
    NODE_SKIPPED,
    RUNNING,
    WAITING,
)

_TIMED = (NODE_RAN, NODE_FAILED)
# Of a run or a node: it is not at its end, or came to none.
_UNENDED = (FAILED, INTERRUPTED, RUNNING)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """A place where a run can be stopped; `result` is of a gate, or "not reached" or "left out"."""

    node: str
    asks: str
    result: str
    reasons: list[str]


def gates(facts: Facts) -> list[Gate]:
    """Returns the gates in the order of the run, as its record tells them."""
    # A run that was killed between two nodes has none that says so.
    begun = [number for number, node in enumerate(facts.nodes) if node.state not in (WAITING, NODE_SKIPPED)]
    is_unended = facts.summary.get("state") in _UNENDED or any(node.state in _UNENDED for node in facts.nodes)
    found = []
    for number, node in enumerate(facts.nodes):
        gate = NODES[node.id].gate if node.id in NODES else None
        if gate is None:
            continue
        told = facts.summary.get("gates", {}).get(node.id)
        is_behind = node.state in (WAITING, *_UNENDED) or (is_unended and number > max(begun, default=-1))
        missed = "not reached" if is_behind else "left out"
        result, reasons = (told["result"], told["reasons"]) if told else (missed, [])
        found.append(Gate(node=node.id, asks=gate.question, result=result, reasons=reasons))
    return found


def loss(facts: Facts) -> dict:
    """Returns what the loss of the curves is: `smoothing`, `members`, and `test`, the same of the test split."""
    training = facts.summary.get("training") or {}
    settings = (kept_provenance(facts).get("settings") or {}).get("training") or {}
    smoothing = settings.get("label_smoothing")
    known = facts.predictions is not None and smoothing is not None and training.get("temperature")
    return {
        "smoothing": smoothing,
        "members": (settings.get("network") or {}).get("members", 1),
        "test": smoothed_loss(facts.predictions, training["temperature"], smoothing) if known else None,
    }


def class_counts(facts: Facts) -> list[dict]:
    """Returns for each class its `name`, and by split `counts` and `shares` of the largest; [] if nobody knows."""
    splits = [split for split in facts.statistics if split.classes]
    found = []
    for label, name in enumerate(facts.class_names if splits else ()):
        counts = [split.classes.get(label, 0) for split in splits]
        shares = [n / max(split.classes.values()) for n, split in zip(counts, splits, strict=True)]
        found.append({"name": name, "counts": counts, "shares": shares})
    return found


def rest_seconds(facts: Facts) -> float | None:
    """Returns the time of the run in which no node ran: imports, the look at the data."""
    whole = facts.summary.get("wall_seconds")
    return None if not whole else max(0.0, whole - sum(node.seconds or 0 for node in facts.nodes))


def compare(facts: Facts) -> dict:
    """Returns the columns and rows that put the run beside the previous and the served one.

    Times are of what ran: the whole of a run is told only where nothing of it came from the cache.
    """
    columns = {"this run": facts.summary, **{f"{name} run": other for name, other in facts.others.items()}}
    rows = []
    for told, path, form in _COMPARED:
        values = [path(summary) if callable(path) else _at(summary, path) for summary in columns.values()]
        if any(value is not None for value in values):
            rows.append({"name": told, "values": ["" if value is None else form(value) for value in values]})
    settings = [flatten(_at(summary, ("provenance", "settings")) or {}) for summary in columns.values()]
    names = sorted(set().union(*settings)) if all(settings) else []
    different = [name for name in names if len({json.dumps(s.get(name)) for s in settings}) > 1]
    return {
        "columns": list(columns),
        "ids": [summary.get("run_id", facts.run.id) for summary in columns.values()],
        "rows": rows,
        "times": _times(list(columns.values())),
        "settings": [{"name": name, "values": [figure(s.get(name)) for s in settings]} for name in different],
    }


def _times(summaries: list[dict]) -> list[dict]:
    """Returns a row for each node that ran in one of the runs: its seconds, or the state that tells why not."""
    nodes = [{node["id"]: node for node in summary.get("nodes") or []} for summary in summaries]
    names = list(dict.fromkeys(name for known in nodes for name in known))
    rows = []
    for name in names:
        found = [known.get(name) or {} for known in nodes]
        if any(node.get("state") in _TIMED for node in found):
            values = [
                seconds(node["seconds"]) if node.get("state") in _TIMED else node.get("state", "") for node in found
            ]
            rows.append({"name": name, "values": values})
    return rows


def _whole_time(summary: dict) -> str | None:
    """Returns the time of a run, and, as it cannot be compared then, how much of it came from the cache."""
    nodes, whole = summary.get("nodes") or [], summary.get("wall_seconds")
    cached = sum(node["state"] == NODE_CACHED for node in nodes)
    if not whole:
        return None
    return f"{seconds(whole)}, {cached} of {len(nodes)} nodes cached" if cached else seconds(whole)


def _data(summary: dict) -> str | None:
    """Returns name, size and the beginning of the digest of a run's data."""
    data = summary.get("data") or {}
    if not summary.get("name"):
        return None
    splits = f", {count(sum(data['splits'].values()))} images" if data.get("splits") else ""
    return f"{summary['name']}{splits}" + (f" ({data['digest'][:8]})" if data.get("digest") else "")


def provenance(facts: Facts) -> dict[str, str]:
    """Returns what the run was made of, apart from settings and packages, in words."""
    kept, summary = kept_provenance(facts), facts.summary
    git, code, data = kept.get("git") or {}, kept.get("code") or {}, kept.get("data") or {}
    machine = kept.get("machine") or {}
    revision = f"{git['revision']}{'' if git.get('clean') else ', with changes'}" if git.get("revision") else None
    found = {
        "command": " ".join(kept.get("command") or []),
        "git revision": revision,
        "code": code.get("digest"),
        "data": data.get("folder"),
        "digest of the input files": data.get("digest"),
        "digest of the examples": (summary.get("data") or {}).get("digest"),
        "machine": ", ".join(str(machine[name]) for name in ("cpu", "system") if machine.get(name)),
        "cores, memory": f"{machine['cores']} cores, {machine['memory_gib']} GiB" if machine.get("cores") else None,
        **{name: value for name, value in (summary.get("environment") or {}).items()},
    }
    return {name: value for name, value in found.items() if value}


def kept_provenance(facts: Facts) -> dict:
    """Returns what the run itself recorded, from its summary or else from ML Metadata."""
    return facts.summary.get("provenance") or facts.run.properties


def headline(metrics: dict) -> list[tuple[str, str]]:
    """Returns value and label of the metrics that the report begins with."""
    shown = [metric for metric in METRICS.values() if metric.headline and metric.shown(metrics) is not None]
    return [(formatted(metric)(metrics[metric.key]), metric.label) for metric in shown]


def formatted(metric: Metric) -> Callable[[float], str]:
    """Returns how a metric's value is written."""
    return (lambda value: percent(value, 2)) if metric.format == "percent" else "{:.4f}".format


def logged(summary: dict) -> list[dict]:
    """Returns what nodes logged of their own: for each output that has some, `title`, `figures`, `tables`, `plots`.

    A plot is somebody's SVG: as the source of an image it can run nothing and reach nothing.
    """
    return [
        {
            "title": f"{node}, {key}",
            **found,
            "plots": {title: _as_source(svg) for title, svg in found["plots"].items()},
        }
        for node, outputs in summary.get("logged", {}).items()
        for key, found in outputs.items()
    ]


def _as_source(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _at(summary: dict, path: tuple[str, ...]) -> object:
    value: object = summary
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _measured(metric: Metric) -> Callable[[dict], float | None]:
    return lambda summary: metric.shown(summary.get("metrics") or {})


_COMPARED = (
    ("started", ("run_id",), lambda value: f"{value[:4]}-{value[4:6]}-{value[6:8]} {value[9:11]}:{value[11:13]}"),
    ("data", _data, str),
    ("preset", ("preset",), str),
    ("seed", ("seed",), str),
    *((metric.label, _measured(metric), formatted(metric)) for metric in METRICS.values()),
    ("validation accuracy", ("training", "val_accuracy"), lambda value: percent(value, 2)),
    ("blessed", ("blessed",), figure),
    ("parameters", ("training", "parameters"), count),
    ("multiply-adds an image", ("training", "multiply_adds"), count),
    ("epochs", ("training", "epochs"), str),
    ("images a second in training", ("training", "examples_per_second"), count),
    ("whole run", _whole_time, str),
)
