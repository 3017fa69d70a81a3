"""Asks a candidate, and the baseline that it is compared with, about the test split, once; see `inference.py`.

A baseline that cannot be compared with is left out, which is said.
"""

import json
import logging
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import path_utils

from components.artifacts import Artifacts, Predictions, open_examples, single
from components.bulk_inferrer.inference import comparable, predict
from components.prediction_columns import BASELINE_FILE, PREDICTIONS_FILE
from components.properties import BASELINE_ID
from models.features import TEST

progress = logging.getLogger("progress")


class _Executor(base_beam_executor.BaseBeamExecutor):
    """Unpacks the artifacts, calls `predict`, and records what whoever reads the predictions has to know."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        examples = open_examples(single(input_dict, "examples"))
        predictions, notes = single(output_dict, "predictions"), []
        models = {PREDICTIONS_FILE: _saved_model(single(input_dict, "model"))}
        for baseline in input_dict.get("baseline_model") or []:
            if obstacle := comparable(_saved_model(baseline), examples):
                notes.append(f"model {baseline.id} is no baseline: {obstacle}; judged by the floors alone")
                progress.warning("BulkInferrer: %s", notes[-1])
            else:
                models[BASELINE_FILE] = _saved_model(baseline)
                predictions.set_int_custom_property(BASELINE_ID, baseline.id)
        targets = {Path(predictions.uri, name): model for name, model in models.items()}
        predictions.set_int_custom_property("examples", predict(examples, targets, self._make_beam_pipeline()))
        spans = list(dict.fromkeys(filter(None, examples.spans(TEST))))
        told = {"class_names": examples.class_names, "notes": notes, "spans": spans}
        for name, value in told.items():
            predictions.set_string_custom_property(name, json.dumps(value))


def _saved_model(model: types.Artifact) -> Path:
    return Path(path_utils.serving_model_path(model.uri))


class BulkInferrerSpec(component_spec.ComponentSpec):
    """Interface of `BulkInferrer`."""

    PARAMETERS = {}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {"predictions": component_spec.ChannelParameter(type=Predictions)}


class BulkInferrer(base_beam_component.BaseBeamComponent):
    """Keeps the answers for the test split; see the module's docstring."""

    SPEC_CLASS = BulkInferrerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)

    def __init__(
        self, *, examples: types.BaseChannel, model: types.BaseChannel, baseline_model: types.BaseChannel | None = None
    ) -> None:
        super().__init__(
            BulkInferrerSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                predictions=types.Channel(type=Predictions),
            )
        )
