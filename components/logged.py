"""What a node logs of its own: figures, tables and plots that summary, report and `show` have without knowing them.

Synopsis:

    log(artifact, figures={"images asked about": 10_000}, tables={"latency": {"columns": ["ms"], "rows": [[0.99]]}})
"""

import json

from tfx import types

LOGGED = "logged"


def log(
    artifact: types.Artifact,
    *,
    figures: dict[str, float] | None = None,
    tables: dict[str, dict] | None = None,
    plots: dict[str, str] | None = None,
) -> None:
    """Keeps what a node wants to be seen with an artifact of its own; summary, report and `show` pass it on as it is.

    Args:
      artifact: one of the node's outputs.
      figures: numbers by what they are.
      tables: by title `columns`, names, and `rows`, lists of plain values.
      plots: by title an `<svg>` element; the report shows it as a picture, in which no script runs.
    """
    logged = {"figures": figures or {}, "tables": tables or {}, "plots": plots or {}}
    artifact.set_string_custom_property(LOGGED, json.dumps(logged))
