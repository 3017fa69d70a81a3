"""Measures a candidate with TFMA from its predictions, beside the baseline's, and blesses or refuses it with reasons.

TFX's Evaluator loads the models and answers the split anew, leaves the verdict in files that only TFMA reads, and fails
when the baseline cannot be loaded or answers about other classes. Here metrics, verdict and reasons become properties
of the artifacts, slices have names, and the answers are the BulkInferrer's, which says what could not be compared with.
"""

import json
from pathlib import Path
from typing import Any

from tensorflow_model_analysis.proto import config_pb2
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import proto_utils

from components.artifacts import Artifacts, Predictions, custom_properties, single
from components.evaluator.eval_config import bound_change, has_bound_of_change
from components.evaluator.evaluation import evaluate, tolerance_by_chance
from components.evaluator.results import read_metrics
from components.evaluator.verdict import describe_verdict, refusal_reasons
from components.prediction_columns import BASELINE_FILE, PREDICTIONS_FILE
from components.properties import BASELINE_ID
from models.files import write_text
from models.plain_paths import plain


class _Executor(base_beam_executor.BaseBeamExecutor):
    """Unpacks the artifacts, calls `evaluate`, and records metrics and verdict."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        predictions = single(input_dict, "predictions")
        evaluation, blessing = single(output_dict, "evaluation"), single(output_dict, "blessing")
        answers, told = Path(predictions.uri), custom_properties(predictions)
        class_names, notes, spans = (json.loads(told[name]) for name in ("class_names", "notes", "spans"))
        baseline_id = told.get(BASELINE_ID)
        config, results = config_pb2.EvalConfig(), Path(evaluation.uri)
        proto_utils.json_to_proto(exec_properties["eval_config"], config)
        baseline = answers / BASELINE_FILE if baseline_id else None
        by_chance = baseline is not None and not has_bound_of_change(config)
        if by_chance:
            bound_change(config, tolerance_by_chance(answers / PREDICTIONS_FILE, baseline))
        evaluate(config, answers / PREDICTIONS_FILE, baseline, class_names, results, self._make_beam_pipeline())
        with plain(results) as named:
            metrics = read_metrics(named, class_names, spans)
            reasons = refusal_reasons(named, config, metrics, by_chance=by_chance)
        evaluation.set_string_custom_property("metrics", json.dumps(metrics))
        evaluation.set_float_custom_property("test_accuracy", metrics["test_accuracy"])
        candidate = single(input_dict, "model").id
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, candidate)
        if baseline_id:
            blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline_id)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(not reasons))
        blessing.set_string_custom_property("reasons", json.dumps(reasons))
        verdict = describe_verdict(metrics, reasons, notes, baseline_id, class_names)
        blessing.set_string_custom_property("verdict", verdict)
        name = constants.NOT_BLESSED_FILE_NAME if reasons else constants.BLESSED_FILE_NAME
        write_text(Path(blessing.uri, name), "".join(f"{reason}\n" for reason in reasons))


class EvaluatorSpec(component_spec.ComponentSpec):
    """Interface of `Evaluator`."""

    PARAMETERS = {"eval_config": component_spec.ExecutionParameter(type=config_pb2.EvalConfig)}
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "predictions": component_spec.ChannelParameter(type=Predictions),
    }
    OUTPUTS = {
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Evaluator(base_beam_component.BaseBeamComponent):
    """Blesses or refuses a model; see the module's docstring."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)

    def __init__(
        self, *, model: types.BaseChannel, predictions: types.BaseChannel, eval_config: config_pb2.EvalConfig
    ) -> None:
        """Takes the model by which the blessing is known, its predictions, and what they are measured with."""
        super().__init__(
            EvaluatorSpec(
                model=model,
                predictions=predictions,
                eval_config=eval_config,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
