"""The data gate: fails the run where ExampleValidator only takes note.

It stands behind ExampleValidator, tells each anomaly in a line and refuses the data. The nodes after it wait for it, so
that nothing is trained on data that did not pass.
"""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import path_utils

from components.artifacts import Artifacts, custom_properties, open_examples, single, split_folders, statistics_files
from components.data_gate.agreement import agreement
from components.data_gate.anomalies import errors_first, find_anomalies, refuse
from components.data_gate.duplicates import Table, digest_tables
from components.data_gate.earlier_spans import DIGESTS_FILE, Profile, as_when_new, compare_spans, seen_before
from components.data_gate.limits import GateLimits
from components.example_gen.spans import BEFORE
from components.properties import ASKED_MODEL, EXAMPLES_ID, PROFILE, SPAN_NUMBER, SPAN_VERSION
from components.schema_gen.component import CURATED
from models.examples import Examples
from models.features import ANOMALIES_FILE, SCHEMA_FILE
from models.files import replacing, write_text

REPORT_FILE = "anomalies.json"

progress = logging.getLogger("progress")


class _Executor(base_executor.BaseExecutor):
    """Unpacks the artifacts, calls `find_anomalies` and `refuse`, and blesses the data."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        statistics, blessing = single(input_dict, "statistics"), single(output_dict, "blessing")
        accepted = input_dict.get("accepted_statistics") or []
        schema_artifact, artifact = single(input_dict, "schema"), single(input_dict, "examples")
        schema = Path(schema_artifact.uri, SCHEMA_FILE).read_text(encoding="utf-8")
        examples, tolerance = open_examples(artifact), exec_properties["duplicate_tolerance"]
        tables = digest_tables(examples)
        anomalies = find_anomalies(
            {
                split: anomalies_pb2.Anomalies.FromString((folder / ANOMALIES_FILE).read_bytes())
                for split, folder in split_folders(single(input_dict, "anomalies")).items()
            },
            _load_statistics(statistics),
            text_format.Parse(schema, schema_pb2.Schema()),
            examples,
            _load_statistics(accepted[0]) if accepted else {},
            tables=tables,
            duplicate_tolerance=tolerance,
            # Nobody has said of an inferred schema how far the splits that a person gives may be apart.
            skew_severity="error" if custom_properties(schema_artifact).get(CURATED, 1) else "warning",
        )
        if examples.span_name:
            own = [_profile_of(found) for found in input_dict.get("own") or []]
            served = input_dict.get(ASKED_MODEL) if exec_properties["admitted"] != BEFORE else None
            profile = _profile(examples, statistics, served or [])
            earlier = [_profile_of(found) for found in input_dict.get("earlier") or []]
            limits = GateLimits(**json.loads(exec_properties["limits"]))
            anomalies += compare_spans(profile, earlier, examples.class_names, limits)
            anomalies += seen_before(examples, tables, earlier, tolerance)
            anomalies = errors_first(anomalies)
            _describe(blessing, artifact, as_when_new(profile, own), tables)
        if exec_properties["admitted"]:
            blessing.set_string_custom_property("admitted", exec_properties["admitted"])
        else:
            refuse(anomalies, exec_properties["severity"])
        for anomaly in anomalies:
            progress.warning("%s", anomaly)
        report = [dataclasses.asdict(anomaly) for anomaly in anomalies]
        write_text(Path(blessing.uri, REPORT_FILE), json.dumps(report, indent=2) + "\n")
        blessing.set_int_custom_property("blessed", 1)
        blessing.set_int_custom_property("warnings", len(anomalies))
        blessing.set_string_custom_property("anomalies", json.dumps(report))
        blessing.set_int_custom_property("current_statistics_id", statistics.id)
        blessing.set_int_custom_property(EXAMPLES_ID, artifact.id)


def _profile(examples: Examples, statistics: types.Artifact, served: list[types.Artifact]) -> Profile:
    """Returns what a new span is like, and what the served model says of its labels."""
    asked = agreement(Path(path_utils.serving_model_path(served[0].uri)), examples) if served else None
    found = json.loads(statistics.get_string_custom_property(PROFILE))
    return Profile(span=examples.span_name, agreement=asked, **found)


def _profile_of(blessing: types.Artifact) -> Profile:
    """Returns what a span that was let in is like."""
    return Profile.from_json(blessing.get_string_custom_property(PROFILE), Path(blessing.uri))


def _describe(blessing: types.Artifact, examples: types.Artifact, profile: Profile, tables: dict[str, Table]) -> None:
    """Has the blessing of a span say what later ones are compared with."""
    digests = np.sort(np.concatenate([digests for digests, _ in tables.values()]))
    Path(blessing.uri).mkdir(parents=True, exist_ok=True)
    with replacing(Path(blessing.uri, DIGESTS_FILE)) as partial, partial.open("wb") as stream:
        np.save(stream, digests)
    blessing.set_string_custom_property(PROFILE, profile.to_json())
    blessing.set_string_custom_property("span_name", profile.span)
    for name in (SPAN_NUMBER, SPAN_VERSION):
        blessing.set_int_custom_property(name, examples.get_int_custom_property(name))


def _load_statistics(artifact: types.Artifact) -> dict[str, statistics_pb2.DatasetFeatureStatisticsList]:
    return {split: tfdv.load_stats_binary(str(path)) for split, path in statistics_files(artifact).items()}


class DataBlessing(types.Artifact):
    """Says that a data set passed the gate; `anomalies.json` lists what was found and let pass."""

    TYPE_NAME = "DataBlessing"


class DataGateSpec(component_spec.ComponentSpec):
    """Interface of `DataGate`."""

    PARAMETERS = {
        "severity": component_spec.ExecutionParameter(type=str),
        "duplicate_tolerance": component_spec.ExecutionParameter(type=float),
        "limits": component_spec.ExecutionParameter(type=str),
        "admitted": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "accepted_statistics": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
        "earlier": component_spec.ChannelParameter(type=DataBlessing, optional=True),
        "own": component_spec.ChannelParameter(type=DataBlessing, optional=True),
        ASKED_MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
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
        severity: str,
        duplicate_tolerance: float = 0.0,
        accepted_statistics: types.BaseChannel | None = None,
        earlier: types.BaseChannel | None = None,
        own: types.BaseChannel | None = None,
        served_model: types.BaseChannel | None = None,
        limits: GateLimits | None = None,
        admitted: str = "",
    ) -> None:
        """Takes the data, what they are compared with, and how severe a judge it is to be.

        Args:
          examples, statistics, schema, anomalies: of the data.
          severity: the least that refuses the data, "error" or "warning".
          duplicate_tolerance: see `find_anomalies`.
          accepted_statistics: of the data that were let in before, of data that do not come in spans.
          earlier, own, served_model: of a span, the blessings of those before it and of what was in in its place, and
            the model that is served.
          limits: how far a span may be from those before it.
          admitted: why the data are let in whatever is found, "" where they are not.
        """
        super().__init__(
            DataGateSpec(
                examples=examples,
                statistics=statistics,
                schema=schema,
                anomalies=anomalies,
                accepted_statistics=accepted_statistics,
                earlier=earlier,
                own=own,
                served_model=served_model,
                severity=severity,
                duplicate_tolerance=float(duplicate_tolerance),
                limits=json.dumps(dataclasses.asdict(limits or GateLimits())),
                admitted=admitted,
                blessing=types.Channel(type=DataBlessing),
            )
        )
