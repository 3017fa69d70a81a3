"""Unpacks and describes the artifacts that TFX hands to an executor.

Synopsis:

    examples = open_examples(single(input_dict, "examples"))       # models.examples.Examples
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tfx import types
from tfx.types import artifact_utils

from models.examples import Examples
from models.features import STATISTICS_FILE
from models.plain_paths import plain

Artifacts = dict[str, list[types.Artifact]]


class Predictions(types.Artifact):
    """Answers of a model for the test split, and those of its baseline; see `components.prediction_columns`."""

    TYPE_NAME = "Predictions"


def single(artifacts: Artifacts, key: str) -> types.Artifact:
    """Returns the one artifact under `key`."""
    return artifact_utils.get_single_instance(artifacts[key])


def split_folders(artifact: types.Artifact) -> dict[str, Path]:
    """Returns the folder of each split of an artifact that has splits."""
    names = artifact_utils.decode_split_names(artifact.split_names)
    return {name: Path(artifact_utils.get_split_uri([artifact], name)) for name in names}


def statistics_files(artifact: types.Artifact) -> dict[str, Path]:
    """Returns the file of each split of an ExampleStatistics artifact."""
    return {split: folder / STATISTICS_FILE for split, folder in split_folders(artifact).items()}


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


@contextlib.contextmanager
def plainly_named(*artifacts: Artifacts) -> Iterator[None]:
    """Has the URIs of artifacts lead there by paths that are no patterns (`models.plain_paths`) within the block."""
    with contextlib.ExitStack() as stack:
        for artifact in (artifact for found in artifacts for listed in found.values() for artifact in listed):
            named = stack.enter_context(plain(Path(artifact.uri)))
            # Not where nothing changes: TFX compares the text.
            if named != Path(artifact.uri):
                stack.callback(setattr, artifact, "uri", artifact.uri)
                artifact.uri = str(named)
        yield
