"""What the Evaluator measures and which models it refuses."""

import json

# From the module that defines them: the package itself has these names only once TFX is imported.
from tensorflow_model_analysis.proto import config_pb2

from components.slices import BRIGHTNESS, CLASS
from models.features import LABEL
from pipeline.config import PipelineConfig

OVERALL = config_pb2.SlicingSpec()
BY_CLASS = config_pb2.SlicingSpec(feature_keys=[CLASS])
BY_BRIGHTNESS = config_pb2.SlicingSpec(feature_keys=[BRIGHTNESS])


def eval_config(config: PipelineConfig) -> config_pb2.EvalConfig:
    """Returns TFMA's configuration: the metrics, their slices, and the floors and the tolerance of `config`."""
    overall = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": config.accuracy_floor}),
        change_threshold=config_pb2.GenericChangeThreshold(
            direction=config_pb2.MetricDirection.HIGHER_IS_BETTER,
            absolute={"value": -config.accuracy_tolerance},
        ),
    )
    each_class = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": config.class_accuracy_floor})
    )
    accuracy = config_pb2.MetricConfig(
        class_name="SparseCategoricalAccuracy",
        # Not `threshold`: that one would hold for every slice as well.
        per_slice_thresholds=[
            config_pb2.PerSliceMetricThreshold(slicing_specs=[slicing], threshold=threshold)
            for slicing, threshold in ((OVERALL, overall), (BY_CLASS, each_class))
        ],
    )
    others = [
        config_pb2.MetricConfig(class_name="SparseCategoricalCrossentropy"),
        config_pb2.MetricConfig(
            class_name="SparseTopKCategoricalAccuracy", config=json.dumps({"k": 2, "name": "top_2_accuracy"})
        ),
        config_pb2.MetricConfig(
            # At a threshold of 0, the most probable class always counts.
            class_name="MultiClassConfusionMatrixAtThresholds",
            config=json.dumps({"thresholds": [0.0]}),
        ),
        config_pb2.MetricConfig(class_name="MacroF1", module="components.metrics"),
        config_pb2.MetricConfig(class_name="ExpectedCalibrationError", module="components.metrics"),
        config_pb2.MetricConfig(class_name="ExampleCount"),
    ]
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                model_type="tf_generic",
                signature_name="serving_default",
                label_key=LABEL,
                prediction_key="probabilities",
            )
        ],
        slicing_specs=[OVERALL, BY_CLASS, BY_BRIGHTNESS],
        metrics_specs=[config_pb2.MetricsSpec(metrics=[accuracy, *others])],
    )
