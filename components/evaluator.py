"""Measures a candidate with TFMA on the test split, beside the baseline, and blesses or refuses it with its reasons.

TFX's Evaluator leaves the verdict in files that only TFMA reads, and fails when the baseline cannot be loaded or
answers about other classes. Here metrics, verdict and reasons become properties of the artifacts, slices have names,
and a baseline that cannot be compared with is left out, which is said.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tfx import types
from tfx.components.evaluator import component, constants
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils, proto_utils
from tfx_bsl.tfxio import tf_example_record

from components.metrics import CALIBRATION_ERROR, MACRO_F1
from components.slices import BRIGHTNESS, CLASS, brightness
from models.features import IMAGE, LABEL, TEST

ACCURACY, LOSS, TOP_2 = "sparse_categorical_accuracy", "sparse_categorical_crossentropy", "top_2_accuracy"
CONFUSION_MATRIX = "multi_class_confusion_matrix_at_thresholds"
_COUNT = "example_count"

progress = logging.getLogger("progress")


def comparable(baseline: Path, record: bytes, class_names: list[str]) -> str:
    """Returns why a baseline cannot be compared with a model of these classes, "" if it can.

    Args:
      baseline: folder of its SavedModel.
      record: a serialized example of the test split.
      class_names: of the candidate.
    """
    try:
        answer = tf.saved_model.load(str(baseline)).signatures["serving_default"](examples=tf.constant([record]))
        found = answer["probabilities"].shape[-1]
    except Exception as error:  # whatever an older model fails with, the candidate must not fail with it
        return f"it cannot be asked ({type(error).__name__}: {str(error).splitlines()[0]})"
    return "" if found == len(class_names) else f"it tells {found} classes apart, the candidate {len(class_names)}"


def evaluate(
    eval_config: tfma.EvalConfig,
    candidate: Path,
    baseline: Path | None,
    shards: list[str],
    output: Path,
    pipeline: beam.Pipeline,
    *,
    class_names: list[str],
    image_shape: tuple[int, ...],
) -> None:
    """Measures a candidate with TFMA, and its change against a baseline.

    Args:
      eval_config: metrics, slices and thresholds for one model.
      candidate, baseline: folders of the SavedModels; without a baseline there is no change to bound.
      shards: TFRecord files of the test split.
      output: folder of TFMA's results.
      pipeline: where the work runs.
      class_names: the slices of `CLASS`.
      image_shape: of the records' images.
    """
    eval_config = tfma.utils.update_eval_config_with_defaults(
        eval_config, has_baseline=baseline is not None, rubber_stamp=True
    )
    shared = [
        tfma.default_eval_shared_model(
            eval_saved_model_path=str(baseline if spec.is_baseline else candidate),
            model_name=spec.name,
            eval_config=eval_config,
        )
        for spec in eval_config.model_specs
    ]
    shared = shared[0] if len(shared) == 1 else shared
    records = tf_example_record.TFExampleRecord(
        file_pattern=shards, raw_record_column_name=tfma.ARROW_INPUT_COLUMN, telemetry_descriptors=["Evaluator"]
    )
    extractors = tfma.default_extractors(eval_shared_model=shared, eval_config=eval_config)
    # Behind the first, which makes features of the records, and before the predictions, which need not wait for slices.
    extractors.insert(1, _slice_extractor(class_names, image_shape))
    with pipeline:
        _ = (
            pipeline
            | records.BeamSource()
            | tfma.ExtractEvaluateAndWriteResults(
                eval_config=eval_config, eval_shared_model=shared, extractors=extractors, output_path=str(output)
            )
        )


def _slice_extractor(class_names: list[str], image_shape: tuple[int, ...]) -> tfma.extractors.Extractor:
    names = np.array(class_names)

    def add(extracts: dict) -> dict:
        features = dict(extracts[tfma.FEATURES_KEY])
        images = [value.item() for value in features[IMAGE]]
        features[CLASS] = names[np.ravel(features[LABEL])]
        features[BRIGHTNESS] = brightness(images, image_shape)
        return {**extracts, tfma.FEATURES_KEY: features}

    return tfma.extractors.Extractor(stage_name="ExtractSlices", ptransform=beam.Map(add))


def read_metrics(evaluation: Path, class_names: list[str]) -> dict:
    """Reads TFMA's metrics of the candidate.

    Returns:
      `test_accuracy`, `test_loss`, `macro_f1`, `top_2_accuracy`, `expected_calibration_error`, `examples`;
      `confusion_matrix` as rows by actual class; `per_class_accuracy` by name; `slices`: by feature and value, their
      `examples`, `accuracy` and `expected_calibration_error`.
    """
    result = tfma.load_eval_result(str(evaluation))
    overall = result.get_metrics_for_slice(())

    def value(metrics: dict, name: str) -> float:
        return metrics[name]["doubleValue"]

    slices: dict[str, dict[str, dict]] = {CLASS: {}, BRIGHTNESS: {}}
    for (feature, name), metrics in _slices(result):
        slices[feature][name] = {
            "examples": int(value(metrics, _COUNT)),
            "accuracy": round(value(metrics, ACCURACY), 6),
            CALIBRATION_ERROR: value(metrics, CALIBRATION_ERROR),
        }
    slices[CLASS] = {name: slices[CLASS][name] for name in class_names if name in slices[CLASS]}
    matrix = np.zeros((len(class_names), len(class_names)), int)
    for entry in overall[CONFUSION_MATRIX]["multiClassConfusionMatrixAtThresholds"]["matrices"][0]["entries"]:
        # A field of value 0 is left out.
        matrix[entry.get("actualClassId", 0), entry.get("predictedClassId", 0)] = entry["numWeightedExamples"]
    return {
        # A ratio of counts: TFMA's own is rounded to float32.
        "test_accuracy": float(np.trace(matrix) / matrix.sum()),
        "test_loss": value(overall, LOSS),
        MACRO_F1: value(overall, MACRO_F1),
        TOP_2: value(overall, TOP_2),
        CALIBRATION_ERROR: value(overall, CALIBRATION_ERROR),
        "examples": int(value(overall, _COUNT)),
        "confusion_matrix": matrix.tolist(),
        "per_class_accuracy": {name: part["accuracy"] for name, part in slices[CLASS].items()},
        "slices": slices,
    }


def _slices(result: tfma.EvalResult) -> Iterator[tuple[tuple[str, str], dict]]:
    for name in result.get_slice_names():
        if name:
            yield name[0], result.get_metrics_for_slice(name)


def refusal_reasons(evaluation: Path) -> list[str]:
    """Returns a line for each threshold that the model failed: metric, slice, bound and value."""
    validation = tfma.load_validation_result(str(evaluation))
    reasons = []
    for slice_result in validation.metric_validations_per_slice:
        keys = slice_result.slice_key.single_slice_keys
        where = "overall" if not keys else f"{keys[0].column} {keys[0].bytes_value.decode()}"
        for failure in slice_result.failures:
            threshold = failure.metric_threshold
            if failure.metric_key.is_diff:
                wanted = f"at most {-threshold.change_threshold.absolute.value:g} below the latest other blessed model"
            else:
                wanted = f"at least {threshold.value_threshold.lower_bound.value:g}"
            found = failure.metric_value.double_value.value
            reasons.append(f"{failure.metric_key.name} ({where}): expected {wanted}, found {found:.4f}")
    if not validation.validation_ok and not reasons:
        reasons.append("the thresholds could not be checked, see the log")
    return reasons


def describe_verdict(metrics: dict, reasons: list[str], notes: list[str], baseline_id: int | None) -> str:
    """Returns the verdict and what it rests on, in a line."""
    accuracies = metrics["per_class_accuracy"]
    weakest = min(accuracies, key=accuracies.get)
    compared = notes or [f"compared with model {baseline_id}" if baseline_id else "no earlier model to compare with"]
    facts = [
        f"test accuracy {metrics['test_accuracy']:.4f}",
        f"weakest class {weakest} {accuracies[weakest]:.4f}",
        *compared,
    ]
    return f"{'refused' if reasons else 'blessed'}: " + "; ".join([*reasons, *facts])


class _Executor(base_beam_executor.BaseBeamExecutor):
    """Unpacks the artifacts, calls `evaluate`, and records metrics and verdict."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        examples = artifact_utils.get_single_instance(input_dict[standard_component_specs.EXAMPLES_KEY])
        candidate = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        baselines = input_dict.get(standard_component_specs.BASELINE_MODEL_KEY) or []
        evaluation = artifact_utils.get_single_instance(output_dict[standard_component_specs.EVALUATION_KEY])
        blessing = artifact_utils.get_single_instance(output_dict[standard_component_specs.BLESSING_KEY])
        class_names = json.loads(examples.get_string_custom_property("class_names"))
        shards = sorted(map(str, Path(artifact_utils.get_split_uri([examples], TEST)).glob("data_tfrecord-*")))
        compared, compared_id, notes = None, None, []
        for baseline in baselines:
            path = Path(path_utils.serving_model_path(baseline.uri))
            if obstacle := comparable(path, _first_record(shards), class_names):
                notes.append(f"model {baseline.id} is no baseline: {obstacle}; judged by the floors alone")
                progress.warning("Evaluator: %s", notes[-1])
            else:
                compared, compared_id = path, baseline.id
                blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)
        config = tfma.EvalConfig()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.EVAL_CONFIG_KEY], config)
        evaluate(
            config,
            Path(path_utils.serving_model_path(candidate.uri)),
            compared,
            shards,
            Path(evaluation.uri),
            self._make_beam_pipeline(),
            class_names=class_names,
            image_shape=tuple(json.loads(examples.get_string_custom_property("image_shape"))),
        )
        metrics, reasons = read_metrics(Path(evaluation.uri), class_names), refusal_reasons(Path(evaluation.uri))
        evaluation.set_string_custom_property("metrics", json.dumps(metrics))
        evaluation.set_float_custom_property("test_accuracy", metrics["test_accuracy"])
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, candidate.id)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(not reasons))
        blessing.set_string_custom_property("reasons", json.dumps(reasons))
        blessing.set_string_custom_property("verdict", describe_verdict(metrics, reasons, notes, compared_id))
        name = constants.NOT_BLESSED_FILE_NAME if reasons else constants.BLESSED_FILE_NAME
        Path(blessing.uri, name).write_text("".join(f"{reason}\n" for reason in reasons))


def _first_record(shards: list[str]) -> bytes:
    compression = "GZIP" if shards[0].endswith(".gz") else ""
    return next(tf.data.TFRecordDataset(shards, compression).as_numpy_iterator())


class ReportingEvaluator(component.Evaluator):
    """TFX's Evaluator with another executor; see the module's docstring."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)
