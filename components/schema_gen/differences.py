"""Tells where a curated schema says otherwise than an inferred one; imports neither TensorFlow nor TFDV.

Synopsis:

    schema_differences(curated, proposal)      # a line for each difference
"""

from tensorflow_metadata.proto.v0 import schema_pb2


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
