"""What the Evaluator measures and which models it refuses."""

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from models.features import LABEL
from pipeline.config import PipelineConfig

ACCURACY = "sparse_categorical_accuracy"
LOSS = "sparse_categorical_crossentropy"

OVERALL = tfma.SlicingSpec()
BY_CLASS = tfma.SlicingSpec(feature_keys=[LABEL])


def eval_config(config: PipelineConfig) -> tfma.EvalConfig:
    """Returns TFMA's configuration: overall and for each class, with the floors and the tolerance of `config`."""
    overall = tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(lower_bound={"value": config.accuracy_floor}),
        change_threshold=tfma.GenericChangeThreshold(
            direction=tfma.MetricDirection.HIGHER_IS_BETTER,
            absolute={"value": -config.accuracy_tolerance},
        ),
    )
    each_class = tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(lower_bound={"value": config.class_accuracy_floor})
    )
    accuracy = tfma.MetricConfig(
        class_name="SparseCategoricalAccuracy",
        # Not `threshold`: that one would hold for every slice as well.
        per_slice_thresholds=[
            config_pb2.PerSliceMetricThreshold(slicing_specs=[slicing], threshold=threshold)
            for slicing, threshold in ((OVERALL, overall), (BY_CLASS, each_class))
        ],
    )
    loss = tfma.MetricConfig(class_name="SparseCategoricalCrossentropy")
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                model_type="tf_generic",
                signature_name="serving_default",
                label_key=LABEL,
                prediction_key="probabilities",
            )
        ],
        slicing_specs=[OVERALL, BY_CLASS],
        metrics_specs=[
            tfma.MetricsSpec(metrics=[accuracy, loss, tfma.MetricConfig(class_name="ExampleCount")]),
        ],
    )
