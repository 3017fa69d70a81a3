"""What the sections on gates, comparison and provenance say, as plain values.

Synopsis:

    gates(facts)[0].result, compare(facts)["columns"]       # "passed", ["this run", "previous run"]
"""

import dataclasses
import json
from pathlib import Path

from pipeline.metadata.text import flatten
from pipeline.report.collect import Facts
from pipeline.report.formats import count, figure, percent, seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """A place where a run can be stopped: its node, "passed", "refused", "not reached" or "left out", and why."""

    node: str
    asks: str
    result: str
    reasons: list[str]


def gates(facts: Facts) -> list[Gate]:
    """Returns the gates in the order of the run."""
    summary, states = facts.summary, {node.id: node.state for node in facts.nodes}

    def ended(node: str) -> str:
        state = states.get(node, "skipped")
        if state == "skipped":
            order = list(states.items())
            before = order[: list(states).index(node)] if node in states else order
            return "not reached" if "failed" in (state for _, state in before) else "left out"
        return "refused" if state == "failed" else "passed"

    failure = summary.get("failure") or {}
    told = {failure.get("node"): (failure.get("message") or "").splitlines()}
    found = [f"{a['severity']}: {a['split']}: {a['feature']}: {a['text']}" for a in facts.anomalies]
    clean = ["no anomaly, no skew, no image in two splits"]
    data = found or told.get("DataGate") or (clean if ended("DataGate") == "passed" else [])
    served = summary.get("served") or {}
    canary = told.get("Canary", [])
    if served.get("latency_ms"):
        one = served["latency_ms"].get("predict_images", {}).get("1")
        canary = [f"loaded in {served['load_seconds']:.1f} s, one image in {one:.1f} ms in a fresh process"]
    evaluator = ended("Evaluator")
    if evaluator == "passed" and summary.get("blessed") is False:
        evaluator = "refused"
    verdict = [summary["verdict"].split(": ", 1)[-1]] if summary.get("verdict") else told.get("Evaluator", [])
    if evaluator in ("passed", "refused"):
        verdict += [reason for reason in summary.get("blessing_reasons") or [] if reason not in verdict]
    pushed = summary.get("pushed_model")
    pusher = "passed" if pushed else "refused" if ended("Pusher") == "passed" else ended("Pusher")
    return [
        Gate(node="DataGate", asks="Are the data what training may rest on?", result=ended("DataGate"), reasons=data),
        Gate(node="Canary", asks="Does a fresh process serve the model?", result=ended("Canary"), reasons=canary),
        Gate(
            node="Evaluator",
            asks="Is the model good enough, and no worse than the last?",
            result=evaluator,
            reasons=verdict,
        ),
        Gate(
            node="Pusher",
            asks="Is it published?",
            result=pusher,
            reasons=[f"as {'/'.join(Path(pushed).parts[-3:])}"] if pushed else [],
        ),
    ]


def compare(facts: Facts) -> dict:
    """Returns the columns and rows that put the run beside the previous and the served one."""
    columns = {"this run": facts.summary, **{f"{name} run": other for name, other in facts.others.items()}}
    rows = []
    for told, path, form in _COMPARED:
        values = [_at(summary, path) for summary in columns.values()]
        if any(value is not None for value in values):
            rows.append({"name": told, "values": ["" if value is None else form(value) for value in values]})
    settings = [flatten(_at(summary, ("provenance", "settings")) or {}) for summary in columns.values()]
    names = sorted(set().union(*settings)) if all(settings) else []
    different = [name for name in names if len({json.dumps(s.get(name)) for s in settings}) > 1]
    return {
        "columns": list(columns),
        "ids": [summary.get("run_id", facts.run.id) for summary in columns.values()],
        "rows": rows,
        "settings": [{"name": name, "values": [figure(s.get(name)) for s in settings]} for name in different],
    }


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


def _at(summary: dict, path: tuple[str, ...]) -> object:
    value: object = summary
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


_COMPARED = (
    ("started", ("run_id",), lambda value: f"{value[:4]}-{value[4:6]}-{value[6:8]} {value[9:11]}:{value[11:13]}"),
    ("preset", ("preset",), str),
    ("seed", ("seed",), str),
    ("test accuracy", ("metrics", "test_accuracy"), lambda value: percent(value, 2)),
    ("test loss", ("metrics", "test_loss"), "{:.4f}".format),
    ("macro F1", ("metrics", "macro_f1"), "{:.4f}".format),
    ("right class among the first two", ("metrics", "top_2_accuracy"), lambda value: percent(value, 2)),
    ("calibration error", ("metrics", "expected_calibration_error"), lambda value: percent(value, 2)),
    ("validation accuracy", ("training", "val_accuracy"), lambda value: percent(value, 2)),
    ("blessed", ("blessed",), figure),
    ("parameters", ("training", "parameters"), count),
    ("multiply-adds an image", ("training", "multiply_adds"), count),
    ("epochs", ("training", "epochs"), str),
    ("images a second in training", ("training", "examples_per_second"), count),
    ("whole run", ("wall_seconds",), seconds),
)
