"""What a list of runs shows of a record beside its figures: one property of ML Metadata, so that no summary is read.

Synopsis:

    listed({"blessed": False, "blessing_reasons": ["too low"]})      # {"reasons": ["too low"]}
"""

from pipeline.run.outcome import INTERRUPTED, NODE_CACHED, NODE_RAN, NODE_SKIPPED, RUNNING

# Of the reasons and warnings of one run; its report has them all.
_LINES, _LETTERS = 6, 300
LISTED = "listed"


def listed(content: dict) -> dict:
    """Returns what a list shows of a run's record; what the record lacks, or an older one never had, is left out.

    `examples` tested, `images` of the data that it took up by split and altogether, their `digest`, `labels` (images by
    class) and `pixels` (`mean`, `std`), `reasons` why it was refused or failed, `warnings` of the data gate,
    `disk_bytes`, the `node` that it was interrupted in, and of a part of the DAG that ended, as `part`, the nodes that
    ran or came from the cache.
    """
    data = content.get("data") or {}
    splits = data.get("splits") or {}
    nodes = content.get("nodes") or []
    ended = [node["id"] for node in nodes if node["state"] in (NODE_RAN, NODE_CACHED)]
    skipped = sum(node["state"] == NODE_SKIPPED for node in nodes)
    found = {
        "examples": (content.get("metrics") or {}).get("examples"),
        "images": sum(splits.values()) or None,
        "digest": data.get("digest"),
        "labels": data.get("labels"),
        "pixels": data.get("pixels"),
        "reasons": _shortened(_reasons(content)),
        "warnings": _shortened(_warnings(content)),
        "disk_bytes": content.get("disk_bytes"),
        "node": next((node["id"] for node in nodes if node["state"] in (INTERRUPTED, RUNNING)), None),
        "part": ended if skipped and skipped + len(ended) == len(nodes) else None,
    }
    return {name: value for name, value in found.items() if value not in (None, [], {})}


def _reasons(content: dict) -> list[str]:
    failure, gates = content.get("failure"), content.get("gates") or {}
    if not failure:
        return content.get("blessing_reasons") or [] if content.get("blessed") is False else []
    reasons = (gates.get(failure["node"]) or {}).get("reasons") or []
    # The first line of a data gate says that it refuses, which the state of the run does as well.
    if len(reasons) > 1 and reasons[0].endswith(":"):
        return reasons[1:]
    return reasons or [f"{failure['node']}: {failure['message']}"]


def _warnings(content: dict) -> list[str]:
    gate = (content.get("gates") or {}).get("DataGate") or {}
    # Errors as well: of a span that was admitted.
    told = (gate.get("reasons") or []) if gate.get("result") == "passed" else []
    return [reason for reason in told if reason.startswith(("warning:", "error:"))]


def _shortened(lines: list[str]) -> list[str]:
    told = [line if len(line) <= _LETTERS else line[: _LETTERS - 1] + "…" for line in lines[:_LINES]]
    return [*told, f"{len(lines) - _LINES} more"] if len(lines) > _LINES else told
