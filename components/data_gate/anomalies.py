"""Finds what is wrong with a data set, and refuses it.

ExampleValidator writes the anomalies of each split. Added is what TFDV can tell only with two sets of
statistics (skew between the splits, drift against the data accepted before) and what it cannot tell at all (the same
image twice).

Synopsis:

    found = find_anomalies(validated, statistics, schema, examples, accepted)
    refuse(found, "error")
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.data_gate.anomaly import Anomaly
from components.data_gate.duplicates import Table, find_duplicates
from components.errors import DataRefused
from models.examples import Examples
from models.features import SEVERITIES, TRAIN

_Type = anomalies_pb2.AnomalyInfo.Type
_COMPARISONS = {number for name, number in _Type.items() if name.startswith("COMPARATOR_")}
_STANDARD = statistics_pb2.Histogram.STANDARD
# A number outside of the feature's domain.
_RANGES = {
    number
    for name, number in _Type.items()
    if name.endswith(("_OUT_OF_RANGE", "_SMALL_INT", "_BIG_INT", "_SMALL_FLOAT", "_BIG_FLOAT"))
}


def schema_anomalies(
    split: str,
    anomalies: anomalies_pb2.Anomalies,
    schema: schema_pb2.Schema,
    compared: str | None = None,
    class_names: Sequence[str] = (),
) -> Iterator[Anomaly]:
    """Yields what TFDV found in one split.

    Args:
      split: its name.
      anomalies: as TFDV tells them.
      schema: that they are of.
      compared: the severity of what only a second set of statistics shows, skew or drift, and nothing else is yielded;
        None yields all with TFDV's own severity.
      class_names: by label.
    """
    features = {feature.name: feature for feature in schema.feature}
    infos = [*sorted(anomalies.anomaly_info.items()), ("", anomalies.dataset_anomaly_info)]
    for name, info in infos:
        own = "warning" if info.severity == anomalies_pb2.AnomalyInfo.WARNING else "error"
        for reason in info.reason:
            # A comparison repeats the checks that need no second set of statistics.
            if compared and reason.type not in _COMPARISONS:
                continue
            expected = _domain(features.get(name)) if reason.type in _RANGES else ""
            found = " ".join(reason.description.split())
            text = f"{reason.short_description}: {expected}{found}"
            if reason.type in _COMPARISONS:
                text = _compared(anomalies, name, found, class_names) or text
            yield Anomaly(severity=compared or own, split=split, feature=name, text=text)


def find_anomalies(
    validated: dict[str, anomalies_pb2.Anomalies],
    statistics: dict[str, statistics_pb2.DatasetFeatureStatisticsList],
    schema: schema_pb2.Schema,
    examples: Examples,
    accepted: dict[str, statistics_pb2.DatasetFeatureStatisticsList],
    *,
    tables: dict[str, Table] | None = None,
    duplicate_tolerance: float = 0.0,
    skew_severity: str = "error",
) -> list[Anomaly]:
    """Gathers the anomalies of a data set.

    Args:
      validated: what ExampleValidator found, by split.
      statistics: by split.
      schema: in force; its skew comparators hold between train and the other splits, its drift comparators between
        each split and the data accepted before.
      examples: the records themselves.
      accepted: statistics of the data accepted before, by split; empty on a first run.
      tables: of the records, if they are known (`digest_tables`).
      duplicate_tolerance: the share of a split's images that may be in another split too, or have two labels; up to
        there it is a warning.
      skew_severity: of a split that is not as train is.

    Returns:
      Errors first. Drift is a warning: data may change on purpose.
    """
    found = [
        anomaly for split, anomalies in validated.items() for anomaly in schema_anomalies(split, anomalies, schema)
    ]
    for split, current in statistics.items():
        comparisons = []
        if split != TRAIN:
            train, serving = (_bucketed_alike(*pair) for pair in permutations((statistics[TRAIN], current)))
            skew = tfdv.validate_statistics(train, schema, serving_statistics=serving)
            comparisons.append((skew, skew_severity))
        if split in accepted:
            now, before = (_bucketed_alike(*pair) for pair in permutations((current, accepted[split])))
            drift = tfdv.validate_statistics(now, schema, previous_statistics=before)
            comparisons.append((drift, "warning"))
        for anomalies, severity in comparisons:
            found.extend(schema_anomalies(split, anomalies, schema, severity, examples.class_names))
    for duplicates in find_duplicates(examples, tables):
        severity = "error" if duplicates.share > duplicate_tolerance else "warning"
        found.append(Anomaly(severity=severity, split=duplicates.split, feature="image", text=duplicates.text))
    return errors_first(found)


def _bucketed_alike(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, other: statistics_pb2.DatasetFeatureStatisticsList
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Returns statistics in which a feature of one value alone has that in the bucket which it has in the other.

    Its own bucket is a point, which TFDV takes for something else than any bucket: one black pixel in one of 240 images
    made a divergence of 1 from those that have none.
    """
    theirs = {tuple(f.path.step): f.num_stats for dataset in other.datasets for f in dataset.features}
    found = statistics_pb2.DatasetFeatureStatisticsList.FromString(statistics.SerializeToString())
    for feature in (feature for dataset in found.datasets for feature in dataset.features):
        own, wide = feature.num_stats, theirs.get(tuple(feature.path.step))
        if not feature.HasField("num_stats") or own.min != own.max or wide is None:
            continue
        buckets = (b for histogram in wide.histograms if histogram.type == _STANDARD for b in histogram.buckets)
        place = next((b for b in buckets if b.low_value <= own.min <= b.high_value), None)
        for bucket in (b for histogram in own.histograms if histogram.type == _STANDARD for b in histogram.buckets):
            if place is not None:
                bucket.low_value, bucket.high_value = place.low_value, place.high_value
    return found


def errors_first(anomalies: Iterable[Anomaly]) -> list[Anomaly]:
    """Returns anomalies in the order in which they are told."""
    return sorted(anomalies, key=lambda anomaly: SEVERITIES.index(anomaly.severity), reverse=True)


def refuse(anomalies: list[Anomaly], severity: str) -> None:
    """Refuses the data if an anomaly is at least as severe as `severity`.

    Raises:
      DataRefused: the message holds a line for each anomaly.
    """
    limit = SEVERITIES.index(severity)
    if any(SEVERITIES.index(anomaly.severity) >= limit for anomaly in anomalies):
        raise DataRefused("\n".join(["the data gate refuses the data:", *map(str, anomalies)]))


def _compared(
    anomalies: anomalies_pb2.Anomalies, feature: str, description: str, class_names: Sequence[str]
) -> str | None:
    """Returns in words how far a feature is from what it is compared with, and how far it may be."""
    for info in anomalies.drift_skew_info:
        if ".".join(info.path.step) != feature:
            continue
        measured = [("skew", "train", entry) for entry in info.skew_measurements]
        measured += [("drift", "the data accepted before", entry) for entry in info.drift_measurements]
        for kind, other, entry in measured:
            if entry.value <= entry.threshold:
                continue
            if entry.type == anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY:
                label = re.search(r"difference is: (\S+)", description)
                return (
                    f"{kind}: the share of {_class(label[1], class_names) if label else 'a class'} differs by "
                    f"{100 * entry.value:.1f} points from that in {other}; {100 * entry.threshold:.1f} are allowed"
                )
            return (
                f"{kind}: its values are distributed otherwise than in {other}: Jensen-Shannon divergence "
                f"{entry.value:.3f} (0: alike, 1: nothing in common); {entry.threshold:.3f} is allowed"
            )
    return None


def _class(label: str, class_names: Sequence[str]) -> str:
    known = label.isdecimal() and int(label) < len(class_names)
    return f"'{class_names[int(label)]}'" if known else f"class {label}"


def _domain(feature: schema_pb2.Feature | None) -> str:
    """Returns "expected 0 to 9, found: " for a feature with a numeric domain."""
    kind = feature.WhichOneof("domain_info") if feature is not None else None
    if kind not in ("int_domain", "float_domain"):
        return ""
    domain = getattr(feature, kind)
    return f"expected {domain.min:g} to {domain.max:g}, found: "
