"""The data gate: fails the run where ExampleValidator only takes note.

ExampleValidator never fails a run, it writes the anomalies of each split and goes on. This component stands behind it,
tells each anomaly in a line and refuses the data. The nodes after it wait for it, so that nothing is trained on data
that did not pass.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.errors import DataRefused

_FILE_NAME = "SchemaDiff.pb"


def describe_anomalies(split: str, anomalies: anomalies_pb2.Anomalies) -> Iterator[str]:
    """Yields a line for each anomaly: split, feature, what was expected and what was found."""
    for feature, info in sorted(anomalies.anomaly_info.items()):
        for reason in info.reason or [info]:
            yield f"{split}: {feature}: {reason.short_description}: {_one_line(reason.description)}"
    if anomalies.HasField("dataset_anomaly_info"):
        for reason in anomalies.dataset_anomaly_info.reason:
            yield f"{split}: all examples: {reason.short_description}: {_one_line(reason.description)}"


def check_anomalies(files: dict[str, Path]) -> None:
    """Refuses the data if any split has an anomaly.

    Args:
      files: for each split the file that ExampleValidator wrote.

    Raises:
      DataRefused: there are anomalies; the message holds a line for each.
    """
    lines = []
    for split, file in files.items():
        anomalies = anomalies_pb2.Anomalies.FromString(file.read_bytes())
        lines.extend(describe_anomalies(split, anomalies))
    if lines:
        raise DataRefused("\n".join([f"the data gate found {len(lines)} anomalies:", *lines]))


def _one_line(text: str) -> str:
    return " ".join(text.split())


class _Executor(base_executor.BaseExecutor):
    """Unpacks the anomalies, calls `check_anomalies` and blesses the data."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        anomalies = artifact_utils.get_single_instance(input_dict["anomalies"])
        splits = artifact_utils.decode_split_names(anomalies.split_names)
        check_anomalies({split: Path(artifact_utils.get_split_uri([anomalies], split), _FILE_NAME) for split in splits})
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        Path(blessing.uri, "BLESSED").touch()
        blessing.set_int_custom_property("blessed", 1)


class DataBlessing(types.Artifact):
    """Says that a data set passed the gate."""

    TYPE_NAME = "DataBlessing"


class DataGateSpec(component_spec.ComponentSpec):
    """Interface of `DataGate`."""

    PARAMETERS = {}
    INPUTS = {"anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies)}
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=DataBlessing)}


class DataGate(base_component.BaseComponent):
    """Refuses data with anomalies; see the module's docstring."""

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(self, *, anomalies: types.BaseChannel) -> None:
        super().__init__(DataGateSpec(anomalies=anomalies, blessing=types.Channel(type=DataBlessing)))
