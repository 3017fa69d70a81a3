"""Makes the spans that a model is trained on one: their examples joined, their statistics merged.

The work of each span (reading, splitting, looking at it) was done when it came; here nothing but links and sums.
"""

import json
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.artifacts import Artifacts, describe_examples, open_examples, single, statistics_files
from components.errors import PipelineError
from components.properties import EXAMPLES_ID, PROFILE, SPAN_NUMBER, SPAN_VERSION
from components.span_window.joining import join_examples
from components.statistics_gen.statistics import merge_statistics, profile_of
from models.features import SPLITS

WINDOW = "window"


class _Executor(base_executor.BaseExecutor):
    """Unpacks the artifacts of the spans, calls `join_examples` and `merge_statistics`, and tells which they are."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        examples, statistics = single(output_dict, "examples"), single(output_dict, "statistics")
        spans = sorted(input_dict["spans"], key=lambda found: found.get_int_custom_property(SPAN_NUMBER))
        if not spans:
            raise PipelineError("expected spans that passed the gate and are stored alike, found none. Run again.")
        of = {found.get_int_custom_property(EXAMPLES_ID): found for found in input_dict["span_statistics"]}
        opened = [open_examples(span) for span in spans]
        for artifact in (examples, statistics):
            artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        joined = join_examples(opened, Path(examples.uri))
        targets = statistics_files(statistics)
        for target in targets.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        files = [statistics_files(of[span.id]) for span in spans]
        classes = len(joined.class_names)
        merge_statistics(list(zip(opened, files, strict=True)), targets, classes)
        statistics.set_string_custom_property(PROFILE, json.dumps(profile_of(targets, classes)))
        examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        describe_examples(examples, joined)
        told = [
            {
                "name": found.span_name,
                "number": span.get_int_custom_property(SPAN_NUMBER),
                "version": span.get_int_custom_property(SPAN_VERSION),
                "examples": sum(found.counts.values()),
            }
            for span, found in zip(spans, opened, strict=True)
        ]
        examples.set_string_custom_property(WINDOW, json.dumps(told))


class SpanWindowSpec(component_spec.ComponentSpec):
    """Interface of `SpanWindow`."""

    PARAMETERS = {}
    INPUTS = {
        "spans": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "span_statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }
    OUTPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }


class SpanWindow(base_component.BaseComponent):
    """Makes several spans one; see the module's docstring."""

    SPEC_CLASS = SpanWindowSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(self, *, spans: types.BaseChannel, span_statistics: types.BaseChannel) -> None:
        """Takes the examples and the statistics of the spans, in any order."""
        super().__init__(
            SpanWindowSpec(
                spans=spans,
                span_statistics=span_statistics,
                examples=types.Channel(type=standard_artifacts.Examples),
                statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
            )
        )
