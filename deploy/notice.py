"""What there is to tell of the end of a run, from what the pipeline tells a command (docs/unattended.md).

Standard library only: whatever Python runs it.
"""

import json
from collections.abc import Mapping
from pathlib import Path

# What a person reads of a run, the first that is there.
_READ = ("report.html", "log.txt")


def not_told(environ: Mapping[str, str]) -> str:
    """Returns a line for who calls a command without the pipeline, "" where the pipeline told it what there is."""
    if "PIPELINE_EXIT_STATUS" in environ:
        return ""
    return "PIPELINE_EXIT_STATUS: expected what --on-end tells, found nothing. Have the pipeline call this."


def notice(environ: Mapping[str, str]) -> dict:
    """Returns title, state, exit status and message, and the essentials of each run; plain values, for JSON."""
    runs = [essentials(Path(path)) for path in environ.get("PIPELINE_SUMMARIES", "").splitlines()]
    status, state = int(environ["PIPELINE_EXIT_STATUS"]), environ["PIPELINE_STATE"]
    last = runs[-1] if runs else {}
    if last.get("state") == "running":
        # The end of the run could not be recorded.
        last["state"] = state
    accuracy = last.get("test_accuracy")
    title = f"{last.get('published_as') or environ['PIPELINE_OUTPUT_ROOT']}: {state} (exit status {status})"
    return {
        "title": title if accuracy is None else f"{title}, accuracy {100 * accuracy:.2f} %",
        "state": state,
        "exit_status": status,
        "message": environ.get("PIPELINE_MESSAGE", ""),
        "output_root": environ["PIPELINE_OUTPUT_ROOT"],
        "runs": runs,
    }


def essentials(summary: Path) -> dict:
    """Returns of a run what a person wants to know first."""
    run = json.loads(summary.read_text(encoding="utf-8"))
    reasons = [reason for gate in run["gates"].values() if gate["result"] == "refused" for reason in gate["reasons"]]
    return {
        **{name: run.get(name) for name in ("run_id", "published_as", "state", "exit_status", "wall_seconds")},
        "span": (run.get("span") or {}).get("name"),
        "test_accuracy": (run.get("metrics") or {}).get("test_accuracy"),
        "examples": (run.get("data") or {}).get("splits"),
        "failure": (run.get("failure") or {}).get("message"),
        "refused_for": reasons,
        "served_model": run.get("served_model"),
        # Of a run that failed early, or on a full disk, the log is all there is.
        "report": next((str(path) for path in map(summary.with_name, _READ) if path.exists()), None),
    }


def text(told: dict) -> str:
    """Returns it for a person to read."""
    lines = [told["title"], *([told["message"]] if told["message"] else [])]
    for run in told["runs"]:
        span = f", span {run['span']}" if run["span"] else ""
        lines += ["", f"run {run['run_id']}{span}: {run['state']}, {run['wall_seconds']:.0f} s"]
        lines += [f"  {name}: {count}" for name, count in (run["examples"] or {}).items()]
        lines += [f"  {line}" for line in run["refused_for"] or (run["failure"] or "").splitlines()]
        lines += [f"  {run['report']}"] if run["report"] else []
    return "\n".join(lines) + "\n"
