"""The gate's lines and its exit status, on anomalies made by hand and found by TFDV."""

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.data_gate.anomalies import Anomaly, find_anomalies, refuse, schema_anomalies
from components.errors import DataRefused
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


def found_by_tfdv(name: str, *reasons: tuple[str, ...], severity=ERROR) -> anomalies_pb2.Anomalies:
    """Returns anomalies of a feature; each reason is its short and its long description, and the name of its type."""
    anomalies = anomalies_pb2.Anomalies()
    info = anomalies.anomaly_info[name]
    info.severity = severity
    for short, text, *kind in reasons:
        info.reason.add(short_description=short, description=text, type=(kind or ["UNKNOWN_TYPE"])[0])
    return anomalies


@pytest.fixture(scope="module")
def even(fashion_images):
    """Statistics of 400 images with 40 labels of each class."""
    return statistics_of(fashion_images, EVEN)


@pytest.fixture(scope="module")
def uneven(fashion_images):
    """Of the same images with 80 labels of class 0: a distance of 0.1 from the even ones."""
    return statistics_of(fashion_images, np.where(EVEN == 1, 0, EVEN))


def gather(validated, statistics, artifact, accepted=()) -> list[str]:
    return [str(anomaly) for anomaly in find_anomalies(validated, statistics, SCHEMA, artifact, dict(accepted))]


DIVERGENCE = "jensen_shannon_divergence { threshold: 0.045 }"
BLACK = text_format.Parse(
    f"""feature {{ name: "image_black" type: FLOAT skew_comparator {{ {DIVERGENCE} }}
                   drift_comparator {{ {DIVERGENCE} }} }}""",
    schema_pb2.Schema(),
)


@pytest.mark.parametrize("odd", ["train", "val"])
@pytest.mark.parametrize(("black", "alike"), [(1, True), (200, False)])
def test_feature_of_one_value_alone_diverges_by_how_many_have_another(artifact, odd, black, alike):
    """A pixel that is black in one image, and in most; TFDV by itself takes both for nothing in common."""
    images = np.random.default_rng(0).integers(1, 256, (240, 8, 8)).astype(np.uint8)
    plain, spotted = images.copy(), images.copy()
    spotted[:black, 0, 0] = 0
    both = [statistics_of(given, np.arange(240) % 2) for given in (spotted, plain)]
    statistics = dict(zip(("train", "val") if odd == "train" else ("val", "train"), both, strict=True))
    accepted = {"train": statistics["val"]}
    found = [str(one) for one in find_anomalies({}, statistics, BLACK, artifact, accepted)]
    assert [line.split(":")[3].strip() for line in found] == ([] if alike else ["skew", "drift"])


PAIR = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)


@pytest.fixture
def artifact(examples):
    """Splits of two images without a duplicate."""
    return examples({"train": (PAIR, [0, 1]), "val": (PAIR + 8, [0, 1])})


def test_line_tells_severity_split_feature_domain_and_finding():
    reason = ("Out-of-range values", "Unexpectedly high\n  value: 230.5.", "FLOAT_TYPE_BIG_FLOAT")
    anomalies = found_by_tfdv("image_mean", reason)
    (anomaly,) = schema_anomalies("val", anomalies, SCHEMA)
    expected = "Out-of-range values: expected 4 to 200.5, found: Unexpectedly high value: 230.5."
    assert anomaly == Anomaly(severity="error", split="val", feature="image_mean", text=expected)
    assert str(anomaly) == f"error: val: image_mean: {expected}"


def test_divergence_says_what_it_is_and_how_far_it_may_be():
    anomalies = found_by_tfdv(
        "image_mean", ("High", "The approximate ...", "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH")
    )
    info = anomalies.drift_skew_info.add()
    info.path.step.append("image_mean")
    info.drift_measurements.add(type="JENSEN_SHANNON_DIVERGENCE", value=0.0736, threshold=0.045)
    (anomaly,) = schema_anomalies("val", anomalies, SCHEMA, "warning")
    assert anomaly.text == (
        "drift: its values are distributed otherwise than in the data accepted before: Jensen-Shannon divergence 0.074 "
        "(0: alike, 1: nothing in common); 0.045 is allowed"
    )


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


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("image_mean", "FLOAT_TYPE_SMALL_FLOAT", "expected 4 to 200.5, found: "),
        ("image_mean", "FLOAT_TYPE_BIG_FLOAT", "expected 4 to 200.5, found: "),
        ("label", "INT_TYPE_SMALL_INT", "expected 0 to 9, found: "),
        ("label", "INT_TYPE_BIG_INT", "expected 0 to 9, found: "),
        ("label", "FEATURE_TYPE_LOW_FRACTION_PRESENT", ""),
        ("label", "COMPARATOR_L_INFTY_HIGH", ""),
        ("unheard of", "INT_TYPE_BIG_INT", ""),
    ],
)
def test_value_out_of_its_domain_is_recognized_by_its_type_whatever_the_words(name, kind, expected):
    (anomaly,) = schema_anomalies("val", found_by_tfdv(name, ("Zu gross", "12 ist zu viel", kind)), SCHEMA)
    assert anomaly.text == f"Zu gross: {expected}12 ist zu viel"


def test_words_alone_make_nothing_a_range_or_a_comparison():
    anomalies = found_by_tfdv("label", ("Out-of-range values", "distance and divergence", "ENUM_TYPE_INVALID_UTF8"))
    (anomaly,) = schema_anomalies("val", anomalies, SCHEMA)
    assert anomaly.text == "Out-of-range values: distance and divergence"
    assert list(schema_anomalies("val", anomalies, SCHEMA, "error")) == []


@pytest.mark.parametrize("severity", ["error", "warning"])
@pytest.mark.parametrize(
    "kind",
    [
        "COMPARATOR_L_INFTY_HIGH",
        "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
        "COMPARATOR_NORMALIZED_ABSOLUTE_DIFFERENCE_HIGH",
        "COMPARATOR_CONTROL_DATA_MISSING",
        "COMPARATOR_TREATMENT_DATA_MISSING",
    ],
)
def test_comparison_is_recognized_by_its_type_and_has_the_severity_asked_for(kind, severity):
    reasons = [("Neu", "anders verteilt", kind), ("Alt", "auch ohne Vergleich", "INT_TYPE_BIG_INT")]
    anomalies = found_by_tfdv("label", *reasons, severity=WARNING if severity == "error" else ERROR)
    assert list(schema_anomalies("val", anomalies, SCHEMA, severity)) == [
        Anomaly(severity=severity, split="val", feature="label", text="Neu: anders verteilt")
    ]


def test_comparison_of_all_examples_is_recognized_too():
    anomalies = anomalies_pb2.Anomalies()
    for kind in ("COMPARATOR_LOW_NUM_EXAMPLES", "DATASET_LOW_NUM_EXAMPLES"):
        anomalies.dataset_anomaly_info.reason.add(short_description=kind, description="weniger", type=kind)
    assert [str(anomaly) for anomaly in schema_anomalies("train", anomalies, SCHEMA, "warning")] == [
        "warning: train: all examples: COMPARATOR_LOW_NUM_EXAMPLES: weniger"
    ]


@pytest.mark.parametrize(("side", "split"), [("serving_statistics", "val"), ("previous_statistics", "train")])
def test_skew_and_drift_are_told_by_type_though_tfdv_words_them_otherwise(monkeypatch, even, artifact, side, split):
    """TFDV's wording is no interface: an update may change it."""

    def reworded(statistics, schema, **others) -> anomalies_pb2.Anomalies:
        reason = ("Verteilung", "weit auseinander", "COMPARATOR_L_INFTY_HIGH")
        return found_by_tfdv("label", reason) if side in others else anomalies_pb2.Anomalies()

    monkeypatch.setattr("components.data_gate.anomalies.tfdv.validate_statistics", reworded)
    severity = "error" if split == "val" else "warning"
    assert gather({}, {"train": even, "val": even}, artifact, {"train": even}) == [
        f"{severity}: {split}: label: Verteilung: weit auseinander"
    ]


def test_sound_data_have_no_anomaly(even, artifact):
    validated = {split: anomalies_pb2.Anomalies() for split in artifact.counts}
    assert gather(validated, {"train": even, "val": even}, artifact, {"train": even, "val": even}) == []


def test_labels_distributed_otherwise_than_in_training_are_an_error(even, uneven, artifact):
    (line,) = gather({}, {"train": even, "val": uneven}, artifact)
    told = "skew: the share of '1' differs by 10.0 points from that in train; 5.0 are allowed"
    assert line == f"error: val: label: {told}"


def test_labels_distributed_otherwise_than_before_are_a_warning(even, uneven, artifact):
    lines = gather({}, {"train": uneven, "val": uneven}, artifact, {"train": even, "val": even})
    told = "drift: the share of '1' differs by 10.0 points from that in the data accepted before; 5.0 are allowed"
    assert lines == [f"warning: train: label: {told}", f"warning: val: label: {told}"]


def test_errors_come_before_warnings_whatever_their_split(artifact):
    validated = {
        "train": found_by_tfdv("label", ("w", "w"), severity=WARNING),
        "val": found_by_tfdv("label", ("e", "e")),
    }
    assert gather(validated, {}, artifact) == ["error: val: label: e: e", "warning: train: label: w: w"]


def test_image_of_training_in_another_split_is_an_error(examples):
    lines = gather({}, {}, examples({"train": (PAIR, [0, 1]), "val": (PAIR, [0, 1])}))
    assert lines == [
        "error: val: image: expected no image that is in train too, found 2: record 0 is record 0, record 1 is record 1"
    ]


def test_share_of_duplicates_that_is_tolerated_is_a_warning(examples):
    found = examples({"train": (PAIR, [0, 1]), "val": (PAIR, [0, 1])})
    severities = [
        find_anomalies({}, {}, schema_pb2.Schema(), found, {}, duplicate_tolerance=share)[0].severity
        for share in (0.99, 1.0)
    ]
    assert severities == ["error", "warning"]


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
