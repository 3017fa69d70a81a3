"""The gate's lines and its exit status, on anomalies made by hand and found by TFDV."""

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.data_gate.component import Anomaly, find_anomalies, refuse, schema_anomalies
from components.errors import DataRefused
from components.example_gen.records import ShardFormat, write_shard
from tests.test_schema_gen import statistics_of

SCHEMA = text_format.Parse(
    """
    feature { name: "label" type: INT int_domain { min: 0 max: 9 is_categorical: true }
              skew_comparator { infinity_norm { threshold: 0.05 } }
              drift_comparator { infinity_norm { threshold: 0.05 } } }
    feature { name: "image_mean" type: FLOAT float_domain { min: 4 max: 200.5 } }
    """,
    schema_pb2.Schema(),
)
ERROR, WARNING = anomalies_pb2.AnomalyInfo.ERROR, anomalies_pb2.AnomalyInfo.WARNING
EVEN = np.arange(400) % 10


def found_by_tfdv(name: str, *reasons: tuple[str, str], severity=ERROR) -> anomalies_pb2.Anomalies:
    anomalies = anomalies_pb2.Anomalies()
    info = anomalies.anomaly_info[name]
    info.severity = severity
    for short, text in reasons:
        info.reason.add(short_description=short, description=text)
    return anomalies


@pytest.fixture(scope="module")
def even(fashion_images):
    """Statistics of 400 images with 40 labels of each class."""
    return statistics_of(fashion_images, EVEN)


@pytest.fixture(scope="module")
def uneven(fashion_images):
    """Of the same images with 80 labels of class 0: a distance of 0.1 from the even ones."""
    return statistics_of(fashion_images, np.where(EVEN == 1, 0, EVEN))


def gather(validated, statistics, shards, accepted=()) -> list[str]:
    return [str(anomaly) for anomaly in find_anomalies(validated, statistics, SCHEMA, shards, dict(accepted))]


@pytest.fixture
def shards(tmp_path):
    """Splits without a duplicate: one shard of two images each."""
    paths = {}
    for number, split in enumerate(("train", "val")):
        paths[split] = [tmp_path / split]
        images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2) + 8 * number
        write_shard(tmp_path / split, [(images, np.array([0, 1]))], ShardFormat(encoding="tensor", compression=""))
    return paths


def test_line_tells_severity_split_feature_domain_and_finding():
    anomalies = found_by_tfdv("image_mean", ("Out-of-range values", "Unexpectedly high\n  value: 230.5."))
    (anomaly,) = schema_anomalies("val", anomalies, SCHEMA)
    expected = "Out-of-range values: expected 4 to 200.5, found: Unexpectedly high value: 230.5."
    assert anomaly == Anomaly(severity="error", split="val", feature="image_mean", text=expected)
    assert str(anomaly) == f"error: val: image_mean: {expected}"


def test_each_reason_is_a_line_and_tfdvs_warning_stays_one():
    anomalies = found_by_tfdv("label", ("a", "first"), ("b", "second"), severity=WARNING)
    assert [str(anomaly) for anomaly in schema_anomalies("test", anomalies, SCHEMA)] == [
        "warning: test: label: a: first",
        "warning: test: label: b: second",
    ]


def test_anomaly_of_all_examples_is_told():
    anomalies = anomalies_pb2.Anomalies()
    anomalies.dataset_anomaly_info.severity = ERROR
    anomalies.dataset_anomaly_info.reason.add(short_description="Low num examples", description="too few")
    assert [str(anomaly) for anomaly in schema_anomalies("train", anomalies, SCHEMA)] == [
        "error: train: all examples: Low num examples: too few"
    ]


def test_sound_data_have_no_anomaly(even, shards):
    validated = {split: anomalies_pb2.Anomalies() for split in shards}
    assert gather(validated, {"train": even, "val": even}, shards, {"train": even, "val": even}) == []


def test_labels_distributed_otherwise_than_in_training_are_an_error(even, uneven, shards):
    (line,) = gather({}, {"train": even, "val": uneven}, shards)
    assert line.startswith("error: val: label: ")
    assert "0.1" in line
    assert "0.05" in line


def test_labels_distributed_otherwise_than_before_are_a_warning(even, uneven, shards):
    lines = gather({}, {"train": uneven, "val": uneven}, shards, {"train": even, "val": even})
    assert [line.split(":")[:3] for line in lines] == [
        ["warning", " train", " label"],
        ["warning", " val", " label"],
    ]


def test_errors_come_before_warnings_whatever_their_split(shards):
    validated = {
        "train": found_by_tfdv("label", ("w", "w"), severity=WARNING),
        "val": found_by_tfdv("label", ("e", "e")),
    }
    assert gather(validated, {}, shards) == ["error: val: label: e: e", "warning: train: label: w: w"]


def test_image_of_training_in_another_split_is_an_error(shards):
    lines = gather({}, {}, {"train": shards["train"], "val": shards["train"]})
    assert lines == ["error: val: image: expected no image that is in train too, found 2: records 0, 1"]


WARNED = [Anomaly(severity="warning", split="val", feature="label", text="drifts")]
FAILED = [Anomaly(severity="error", split="test", feature="", text="is wrong"), *WARNED]


def test_refusal_holds_a_line_for_each_anomaly_and_ends_3():
    with pytest.raises(DataRefused) as raised:
        refuse(FAILED, "error")
    assert str(raised.value).splitlines() == [
        "the data gate refuses the data:",
        "error: test: all examples: is wrong",
        "warning: val: label: drifts",
    ]
    assert raised.value.exit_status == 3


@pytest.mark.parametrize(
    ("anomalies", "severity", "refused"),
    [
        ([], "warning", False),
        (WARNED, "error", False),
        (WARNED, "warning", True),
        (FAILED, "error", True),
        (FAILED, "warning", True),
    ],
)
def test_severity_decides_whether_a_warning_refuses_the_data(anomalies, severity, refused):
    if refused:
        with pytest.raises(DataRefused):
            refuse(anomalies, severity)
    else:
        refuse(anomalies, severity)
