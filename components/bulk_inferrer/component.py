"""Keeps a candidate's predictions for the test split; see `components.bulk_inferrer.inference`."""

import json
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import path_utils

from components.artifacts import Artifacts, open_examples, single
from components.bulk_inferrer.inference import predict
from components.prediction_columns import PREDICTIONS_FILE
from models.features import TEST


class Predictions(types.Artifact):
    """Predictions of a model for the test split, `PREDICTIONS_FILE`."""

    TYPE_NAME = "Predictions"


class _Executor(base_beam_executor.BaseBeamExecutor):
    """Unpacks the artifacts and calls `predict`."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        examples = open_examples(single(input_dict, "examples"))
        predictions = single(output_dict, "predictions")
        rows = predict(
            Path(path_utils.serving_model_path(single(input_dict, "model").uri)),
            examples.shards(TEST),
            Path(predictions.uri, PREDICTIONS_FILE),
            self._make_beam_pipeline(),
            examples=examples,
        )
        predictions.set_int_custom_property("examples", rows)
        predictions.set_string_custom_property("class_names", json.dumps(examples.class_names))


class BulkInferrerSpec(component_spec.ComponentSpec):
    """Interface of `BulkInferrer`."""

    PARAMETERS = {}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"predictions": component_spec.ChannelParameter(type=Predictions)}


class BulkInferrer(base_beam_component.BaseBeamComponent):
    """Keeps a candidate's predictions for the test split; see the module's docstring."""

    SPEC_CLASS = BulkInferrerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)

    def __init__(self, *, examples: types.BaseChannel, model: types.BaseChannel) -> None:
        super().__init__(BulkInferrerSpec(examples=examples, model=model, predictions=types.Channel(type=Predictions)))
