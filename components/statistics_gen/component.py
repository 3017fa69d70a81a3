"""StatisticsGen that looks inside the images and writes the standard ExampleStatistics artifact."""

import json
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts import Artifacts, open_examples, single, statistics_files
from components.properties import EXAMPLES_ID, PROFILE
from components.statistics_gen.statistics import profile_of, write_statistics


class _Executor(base_beam_executor.BaseBeamExecutor):
    """Unpacks the examples and calls `write_statistics`."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        examples, statistics = single(input_dict, "examples"), single(output_dict, "statistics")
        statistics.split_names = examples.split_names
        targets = statistics_files(statistics)
        for target in targets.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        opened = open_examples(examples)
        write_statistics(opened, targets, self._make_beam_pipeline())
        statistics.set_int_custom_property(EXAMPLES_ID, examples.id)
        statistics.set_string_custom_property("class_names", json.dumps(opened.class_names))
        statistics.set_string_custom_property(PROFILE, json.dumps(profile_of(targets, len(opened.class_names))))


class ImageStatisticsGenSpec(component_spec.ComponentSpec):
    """Interface of `ImageStatisticsGen`."""

    PARAMETERS = {}
    INPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics)}


class ImageStatisticsGen(base_beam_component.BaseBeamComponent):
    """Computes statistics of records and images; see the module's docstring."""

    SPEC_CLASS = ImageStatisticsGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)

    def __init__(self, *, examples: types.BaseChannel) -> None:
        super().__init__(
            ImageStatisticsGenSpec(
                examples=examples,
                statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
            )
        )
