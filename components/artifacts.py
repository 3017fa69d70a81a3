"""Unpacks and describes the artifacts that TFX hands to an executor; what a node logs of its own goes through here too.

Synopsis:

    examples = open_examples(single(input_dict, "examples"))       # models.examples.Examples
    log(blessing, figures={"images": 10_000}, tables={"latency": {"columns": ["batch", "ms"], "rows": [[1, 0.99]]}})
"""

import json
from pathlib import Path

from tfx import types
from tfx.types import artifact_utils

from models.examples import Examples

LOGGED = "logged"
Artifacts = dict[str, list[types.Artifact]]


def single(artifacts: Artifacts, key: str) -> types.Artifact:
    """Returns the one artifact under `key`."""
    return artifact_utils.get_single_instance(artifacts[key])


def split_folders(artifact: types.Artifact) -> dict[str, Path]:
    """Returns the folder of each split of an artifact that has splits."""
    names = artifact_utils.decode_split_names(artifact.split_names)
    return {name: Path(artifact_utils.get_split_uri([artifact], name)) for name in names}


def custom_properties(artifact: types.Artifact) -> dict[str, object]:
    """Returns the custom properties of an artifact as plain values."""
    values = artifact.mlmd_artifact.custom_properties.items()
    return {name: getattr(value, value.WhichOneof("value")) for name, value in values if value.WhichOneof("value")}


def open_examples(artifact: types.Artifact) -> Examples:
    """Returns the examples that an Examples artifact holds and describes."""
    return Examples.open(artifact.uri, custom_properties(artifact))


def describe_examples(artifact: types.Artifact, examples: Examples) -> None:
    """Has an Examples artifact say what `open_examples` asks it."""
    for name, value in examples.properties().items():
        artifact.set_string_custom_property(name, value)


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
