"""Reads a recorded profile without a browser: step time, the share spent waiting for input, the costliest operations.

Synopsis:

    read_profile(log_dir)      # e.g. {"step_ms": 31.4, "input_share": 0.002, "top_operations": [["Conv2D", 0.41], ...]}
"""

import json
import os
from pathlib import Path

INPUT_SHARE_LIMIT = 0.05
_TOP = 5


def read_profile(log_dir: Path) -> dict | None:
    """Reads the newest profile below `log_dir`.

    Returns:
      `step_ms`: mean step time in milliseconds; `input_share`: part of it spent waiting for input, 0 to 1;
      `top_operations`: pairs of an operation's type and its part of the self time of all. None without a profile.
    """
    planes = sorted(log_dir.rglob("*.xplane.pb"), key=os.path.getmtime)
    if not planes:
        return None
    from xprof.convert import raw_to_tool_data

    def tool(name: str) -> list:
        content, _ = raw_to_tool_data.xspace_to_tool_data([str(planes[-1])], name, {"use_saved_result": False})
        return json.loads(content)

    steps = tool("input_pipeline_analyzer")[1]["p"]
    step_ms = float(steps["steptime_ms_average"])
    return {
        "step_ms": step_ms,
        "input_share": float(steps["infeed_time_ms_avg"]) / step_ms if step_ms else 0.0,
        "top_operations": _top_operations(tool("framework_op_stats")),
    }


def _top_operations(tables: list) -> list[list]:
    """Adds up the self time by type of operation."""
    table = tables[0]
    columns = [column["id"] for column in table["cols"]]
    kind, self_time = columns.index("type"), columns.index("total_self_time")
    totals: dict[str, float] = {}
    for row in table["rows"]:
        name = row["c"][kind]["v"]
        if name != "IDLE":
            totals[name] = totals.get(name, 0.0) + float(row["c"][self_time]["v"])
    whole = sum(totals.values()) or 1.0
    return [[name, round(time / whole, 4)] for name, time in sorted(totals.items(), key=lambda pair: -pair[1])[:_TOP]]
