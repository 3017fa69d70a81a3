"""Measures a candidate with TFMA on the test split, beside the baseline, and blesses or refuses it with its reasons.

TFX's Evaluator leaves the verdict in files that only TFMA reads, and fails when the baseline cannot be loaded or
answers about other classes. Here metrics, verdict and reasons become properties of the artifacts, slices have names,
and a baseline that cannot be compared with is left out, which is said.
"""

import json
import logging
from pathlib import Path
from typing import Any

from tensorflow_model_analysis.proto import config_pb2
from tfx.components.evaluator import component, constants
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.types import standard_component_specs
from tfx.utils import path_utils, proto_utils

from components.artifacts import Artifacts, open_examples, single
from components.evaluator.evaluation import comparable, evaluate
from components.evaluator.results import read_metrics
from components.evaluator.verdict import describe_verdict, refusal_reasons
from models.features import TEST
from models.files import write_text
from models.plain_paths import plain

progress = logging.getLogger("progress")


class _Executor(base_beam_executor.BaseBeamExecutor):
    """Unpacks the artifacts, calls `evaluate`, and records metrics and verdict."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        examples = open_examples(single(input_dict, standard_component_specs.EXAMPLES_KEY))
        candidate = single(input_dict, standard_component_specs.MODEL_KEY)
        baselines = input_dict.get(standard_component_specs.BASELINE_MODEL_KEY) or []
        evaluation = single(output_dict, standard_component_specs.EVALUATION_KEY)
        blessing = single(output_dict, standard_component_specs.BLESSING_KEY)
        compared, compared_id, notes = None, None, []
        for baseline in baselines:
            path = Path(path_utils.serving_model_path(baseline.uri))
            if obstacle := comparable(path, examples):
                notes.append(f"model {baseline.id} is no baseline: {obstacle}; judged by the floors alone")
                progress.warning("Evaluator: %s", notes[-1])
            else:
                compared, compared_id = path, baseline.id
                blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)
        config, results = config_pb2.EvalConfig(), Path(evaluation.uri)
        proto_utils.json_to_proto(exec_properties[standard_component_specs.EVAL_CONFIG_KEY], config)
        model = Path(path_utils.serving_model_path(candidate.uri))
        evaluate(config, model, compared, examples, results, self._make_beam_pipeline())
        with plain(results) as named:
            metrics = read_metrics(named, examples.class_names, list(dict.fromkeys(filter(None, examples.spans(TEST)))))
            reasons = refusal_reasons(named, config, metrics)
        evaluation.set_string_custom_property("metrics", json.dumps(metrics))
        evaluation.set_float_custom_property("test_accuracy", metrics["test_accuracy"])
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, candidate.id)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(not reasons))
        blessing.set_string_custom_property("reasons", json.dumps(reasons))
        blessing.set_string_custom_property("verdict", describe_verdict(metrics, reasons, notes, compared_id))
        name = constants.NOT_BLESSED_FILE_NAME if reasons else constants.BLESSED_FILE_NAME
        write_text(Path(blessing.uri, name), "".join(f"{reason}\n" for reason in reasons))


class ReportingEvaluator(component.Evaluator):
    """TFX's Evaluator with another executor; see the module's docstring."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)
