"""The data gate: fails the run where ExampleValidator only takes note.

ExampleValidator writes the anomalies of each split and goes on. This component stands behind it, adds what TFDV can
tell only with two sets of statistics (skew between the splits, drift against the data accepted before) and what it
cannot tell at all (the same image twice), tells each anomaly in a line and refuses the data. The nodes after it wait
for it, so that nothing is trained on data that did not pass.
"""

import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.duplicates import find_duplicates
from components.errors import DataRefused
from components.schema_gen import FILE_NAME as SCHEMA_FILE
from components.statistics_gen import FILE_NAME as STATISTICS_FILE
from models.features import SEVERITIES, TRAIN

ANOMALIES_FILE = "SchemaDiff.pb"
REPORT_FILE = "anomalies.json"

progress = logging.getLogger("progress")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Anomaly:
    """Something about the data that should not be.

    Attributes:
      severity: "error" or "warning".
      split: where.
      feature: of what; "" for the examples as a whole.
      text: what was expected and what was found.
    """

    severity: str
    split: str
    feature: str
    text: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.split}: {self.feature or 'all examples'}: {self.text}"


def schema_anomalies(
    split: str, anomalies: anomalies_pb2.Anomalies, schema: schema_pb2.Schema, severity: str | None = None
) -> Iterator[Anomaly]:
    """Yields what TFDV found in one split; `severity` overrides TFDV's own."""
    features = {feature.name: feature for feature in schema.feature}
    infos = [*sorted(anomalies.anomaly_info.items()), ("", anomalies.dataset_anomaly_info)]
    for name, info in infos:
        own = "warning" if info.severity == anomalies_pb2.AnomalyInfo.WARNING else "error"
        for reason in info.reason:
            expected = _domain(features.get(name)) if "ange" in reason.short_description else ""
            found = " ".join(reason.description.split())
            text = f"{reason.short_description}: {expected}{found}"
            yield Anomaly(severity=severity or own, split=split, feature=name, text=text)


def find_anomalies(
    validated: dict[str, anomalies_pb2.Anomalies],
    statistics: dict[str, statistics_pb2.DatasetFeatureStatisticsList],
    schema: schema_pb2.Schema,
    shards: dict[str, list[Path]],
    accepted: dict[str, statistics_pb2.DatasetFeatureStatisticsList],
) -> list[Anomaly]:
    """Gathers the anomalies of a data set.

    Args:
      validated: what ExampleValidator found, by split.
      statistics: by split.
      schema: in force; its skew comparators hold between train and the other splits, its drift comparators between
        each split and the data accepted before.
      shards: the TFRecord files, by split.
      accepted: statistics of the data accepted before, by split; empty on a first run.

    Returns:
      Errors first. Drift is a warning: data may change on purpose.
    """
    found = [
        anomaly for split, anomalies in validated.items() for anomaly in schema_anomalies(split, anomalies, schema)
    ]
    for split, current in statistics.items():
        comparisons = []
        if split != TRAIN:
            skew = tfdv.validate_statistics(statistics[TRAIN], schema, serving_statistics=current)
            comparisons.append((skew, "error"))
        if split in accepted:
            drift = tfdv.validate_statistics(current, schema, previous_statistics=accepted[split])
            comparisons.append((drift, "warning"))
        for anomalies, severity in comparisons:
            for anomaly in schema_anomalies(split, anomalies, schema, severity):
                # Each comparison repeats the checks that need no second set of statistics.
                if "distance" in anomaly.text or "divergence" in anomaly.text:
                    found.append(anomaly)
    found.extend(
        Anomaly(severity="error", split=split, feature="image", text=text) for split, text in find_duplicates(shards)
    )
    return sorted(found, key=lambda anomaly: SEVERITIES.index(anomaly.severity), reverse=True)


def refuse(anomalies: list[Anomaly], severity: str) -> None:
    """Refuses the data if an anomaly is at least as severe as `severity`.

    Raises:
      DataRefused: the message holds a line for each anomaly.
    """
    limit = SEVERITIES.index(severity)
    if any(SEVERITIES.index(anomaly.severity) >= limit for anomaly in anomalies):
        raise DataRefused("\n".join(["the data gate refuses the data:", *map(str, anomalies)]))


def _domain(feature: schema_pb2.Feature | None) -> str:
    """Returns "expected 0 to 9, found: " for a feature with a numeric domain."""
    kind = feature.WhichOneof("domain_info") if feature is not None else None
    if kind not in ("int_domain", "float_domain"):
        return ""
    domain = getattr(feature, kind)
    return f"expected {domain.min:g} to {domain.max:g}, found: "


class _Executor(base_executor.BaseExecutor):
    """Unpacks the artifacts, calls `find_anomalies` and `refuse`, and blesses the data."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        statistics = artifact_utils.get_single_instance(input_dict["statistics"])
        accepted = input_dict.get("accepted_statistics") or []
        schema_path = Path(artifact_utils.get_single_uri(input_dict["schema"]), SCHEMA_FILE)
        anomalies = find_anomalies(
            {
                split: anomalies_pb2.Anomalies.FromString((folder / ANOMALIES_FILE).read_bytes())
                for split, folder in _split_folders(artifact_utils.get_single_instance(input_dict["anomalies"]))
            },
            _load_statistics(statistics),
            text_format.Parse(schema_path.read_text(), schema_pb2.Schema()),
            {split: sorted(folder.glob("data_tfrecord-*")) for split, folder in _split_folders(examples)},
            _load_statistics(accepted[0]) if accepted else {},
        )
        refuse(anomalies, exec_properties["severity"])
        for anomaly in anomalies:
            progress.warning("%s", anomaly)
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        report = [dataclasses.asdict(anomaly) for anomaly in anomalies]
        Path(blessing.uri, REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n")
        blessing.set_int_custom_property("blessed", 1)
        blessing.set_int_custom_property("warnings", len(anomalies))
        blessing.set_int_custom_property("current_statistics_id", statistics.id)


def _split_folders(artifact: types.Artifact) -> Iterator[tuple[str, Path]]:
    for split in artifact_utils.decode_split_names(artifact.split_names):
        yield split, Path(artifact_utils.get_split_uri([artifact], split))


def _load_statistics(artifact: types.Artifact) -> dict[str, statistics_pb2.DatasetFeatureStatisticsList]:
    return {split: tfdv.load_stats_binary(str(folder / STATISTICS_FILE)) for split, folder in _split_folders(artifact)}


class DataBlessing(types.Artifact):
    """Says that a data set passed the gate; `anomalies.json` lists what was found and let pass."""

    TYPE_NAME = "DataBlessing"


class DataGateSpec(component_spec.ComponentSpec):
    """Interface of `DataGate`."""

    PARAMETERS = {"severity": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "accepted_statistics": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=DataBlessing)}


class DataGate(base_component.BaseComponent):
    """Refuses data with anomalies; see the module's docstring."""

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        anomalies: types.BaseChannel,
        accepted_statistics: types.BaseChannel,
        severity: str,
    ) -> None:
        """`severity` is the least that refuses the data: "error" or "warning"."""
        super().__init__(
            DataGateSpec(
                examples=examples,
                statistics=statistics,
                schema=schema,
                anomalies=anomalies,
                accepted_statistics=accepted_statistics,
                severity=severity,
                blessing=types.Channel(type=DataBlessing),
            )
        )
