"""Infers a schema from the training split, and tells where a curated one says otherwise.

Synopsis:

    proposal = propose_schema(statistics["train"], class_count=10)
    schema_differences(curated, proposal)      # a line for each difference
"""

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.statistics_gen.image_statistics import SHAPE_FEATURES
from models.features import IMAGE, LABEL

# The values that each derived feature can take at all.
_RANGES = {
    "image_mean": (0.0, 255.0),
    "image_stddev": (0.0, 127.5),
    "image_black": (0.0, 1.0),
    "image_saturated": (0.0, 1.0),
}


def propose_schema(statistics: statistics_pb2.DatasetFeatureStatisticsList, class_count: int) -> schema_pb2.Schema:
    """Infers a schema from the statistics of the training split.

    Args:
      statistics: as `ImageStatisticsGen` writes them.
      class_count: labels lie in 0 to `class_count` - 1.

    Returns:
      TFDV's inference with the domains that it cannot know: image bytes, classes, one shape, ranges of the pixels.
    """
    schema = tfdv.infer_schema(statistics)
    # TFDV gives an integer category a domain of strings, which its own validation then refuses.
    del schema.string_domain[:]
    observed = {feature.path.step[0]: feature.num_stats for feature in statistics.datasets[0].features}
    for feature in schema.feature:
        if feature.name == IMAGE:
            feature.image_domain.SetInParent()
        elif feature.name == LABEL:
            feature.int_domain.CopyFrom(schema_pb2.IntDomain(min=0, max=class_count - 1, is_categorical=True))
        elif feature.name in SHAPE_FEATURES:
            stats = observed[feature.name]
            feature.int_domain.CopyFrom(schema_pb2.IntDomain(min=int(stats.min), max=int(stats.max)))
        elif feature.name in _RANGES:
            low, high = _RANGES[feature.name]
            feature.float_domain.CopyFrom(schema_pb2.FloatDomain(min=low, max=high))
    return schema


def schema_differences(curated: schema_pb2.Schema, proposal: schema_pb2.Schema) -> list[str]:
    """Tells where the curated schema says another thing about the data than the inferred one.

    Compared are the features, their types, and the domains of whole numbers (classes and shape). Ranges and comparators
    are for the curated schema to decide; data outside of them are anomalies.

    Returns:
      A line for each difference; empty where there is none.
    """
    sides = [{feature.name: feature for feature in schema.feature} for schema in (curated, proposal)]
    lines = []
    for name in sorted(sides[0].keys() | sides[1].keys()):
        told = [_essence(side.get(name)) for side in sides]
        if told[0] != told[1]:
            lines.append(f"{name}: the curated schema says {told[0]}, the data {told[1]}")
    return lines


def _essence(feature: schema_pb2.Feature | None) -> str:
    if feature is None:
        return "nothing"
    domain = feature.int_domain
    limits = f" in {domain.min} to {domain.max}" if feature.HasField("int_domain") else ""
    return schema_pb2.FeatureType.Name(feature.type) + limits
