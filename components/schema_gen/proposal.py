"""Infers a schema from the training split.

Synopsis:

    proposal = propose_schema(statistics, class_count=10)            # of TFDV, by split
"""

import math
from collections.abc import Mapping

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.statistics_gen.image_statistics import SHAPE_FEATURES
from models.features import IMAGE, LABEL, TRAIN

# How far two sets of examples may be apart: that much on purpose, and what so few examples differ by anyway.
# Jensen-Shannon divergence of two samples of one distribution goes with the sum of 1/n, the largest difference of a
# share with its root; the factors hold 99 of 100 samples from 20 to 10,000 images (docs/LOG.md). Hardly any image has
# saturated pixels, so that two samples differ most in their share.
_LABEL_SHIFT, _LABEL_NOISE = 0.02, 3.5
_DIVERGENCE, _DIVERGENCE_NOISE = 0.045, 7.0
_SATURATED_DIVERGENCE, _SATURATED_NOISE = 0.2, 14.0
# The values that each derived feature can take at all.
_RANGES = {
    "image_mean": (0.0, 255.0),
    "image_stddev": (0.0, 127.5),
    "image_black": (0.0, 1.0),
    "image_saturated": (0.0, 1.0),
}


def propose_schema(
    statistics: Mapping[str, statistics_pb2.DatasetFeatureStatisticsList], class_count: int
) -> schema_pb2.Schema:
    """Infers a schema from the statistics of the training split.

    Args:
      statistics: as `ImageStatisticsGen` writes them, by split; of the others than train the number of examples counts.
      class_count: labels lie in 0 to `class_count` - 1.

    Returns:
      TFDV's inference with the domains that it cannot know (image bytes, classes, one shape, ranges of the pixels) and
      comparators for skew and drift, as wide as so few examples make them.
    """
    sizes = {split: found.datasets[0].num_examples for split, found in statistics.items()}
    noise = 1 / sizes[TRAIN] + 1 / min(sizes.values())
    statistics = statistics[TRAIN]
    schema = tfdv.infer_schema(statistics)
    # TFDV gives an integer category a domain of strings, which its own validation then refuses.
    del schema.string_domain[:]
    (top,) = [found.string_stats.top_values for found in statistics.datasets[0].features if found.path.step[0] == LABEL]
    observed = {feature.path.step[0]: feature.num_stats for feature in statistics.datasets[0].features}
    for feature in schema.feature:
        if feature.name == IMAGE:
            feature.image_domain.SetInParent()
        elif feature.name == LABEL:
            feature.int_domain.CopyFrom(schema_pb2.IntDomain(min=0, max=class_count - 1, is_categorical=True))
            share = max((value.frequency for value in top), default=0) / sizes[TRAIN]
            limit = min(1.0, _LABEL_SHIFT + _LABEL_NOISE * math.sqrt(share * (1 - share) * noise))
            for comparator in (feature.skew_comparator, feature.drift_comparator):
                comparator.infinity_norm.threshold = round(limit, 4)
        elif feature.name in SHAPE_FEATURES:
            stats = observed[feature.name]
            feature.int_domain.CopyFrom(schema_pb2.IntDomain(min=int(stats.min), max=int(stats.max)))
        elif feature.name in _RANGES:
            low, high = _RANGES[feature.name]
            feature.float_domain.CopyFrom(schema_pb2.FloatDomain(min=low, max=high))
            limit = _DIVERGENCE + _DIVERGENCE_NOISE * noise
            if feature.name == "image_saturated":
                limit = _SATURATED_DIVERGENCE + _SATURATED_NOISE * noise
            limit = min(1.0, limit)
            for comparator in (feature.skew_comparator, feature.drift_comparator):
                comparator.jensen_shannon_divergence.threshold = round(limit, 4)
    return schema
