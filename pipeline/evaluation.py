"""What the Evaluator measures and which models it refuses."""

# From the module that defines them: the package itself has these names only once TFX is imported.
from tensorflow_model_analysis.proto import config_pb2

from models.features import LABEL
from pipeline.config import PipelineConfig

ACCURACY = "sparse_categorical_accuracy"
LOSS = "sparse_categorical_crossentropy"

OVERALL = config_pb2.SlicingSpec()
BY_CLASS = config_pb2.SlicingSpec(feature_keys=[LABEL])


def eval_config(config: PipelineConfig) -> config_pb2.EvalConfig:
    """Returns TFMA's configuration: overall and for each class, with the floors and the tolerance of `config`."""
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
    loss = config_pb2.MetricConfig(class_name="SparseCategoricalCrossentropy")
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                model_type="tf_generic",
                signature_name="serving_default",
                label_key=LABEL,
                prediction_key="probabilities",
            )
        ],
        slicing_specs=[OVERALL, BY_CLASS],
        metrics_specs=[
            config_pb2.MetricsSpec(metrics=[accuracy, loss, config_pb2.MetricConfig(class_name="ExampleCount")]),
        ],
    )
