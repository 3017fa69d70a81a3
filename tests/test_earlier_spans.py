"""What the gate finds of a new span beside those that were let in before it."""

import dataclasses
import json

import numpy as np
import pytest

from components.data_gate.duplicates import digest_tables
from components.data_gate.earlier_spans import DIGESTS_FILE, Profile, as_when_new, compare_spans, seen_before
from components.data_gate.limits import GateLimits

NAMES = ("cat", "dog", "owl", "fox", "elk")
FEATURES = {"image_mean": (73.0, 45.0), "image_stddev": (85.0, 20.0)}
USUAL = Profile(span="1", images=1_000, labels=[250, 250, 250, 250, 0], features=FEATURES, agreement=(900, 1_000))


def nights(count=6):
    """Spans that differ by chance: the shares by a point, the brightness by one of 255."""
    rng = np.random.default_rng(7)
    found = []
    for number in range(count):
        labels = [*(250 + rng.integers(-10, 11, 4)).tolist(), 0]
        features = {"image_mean": (73.0 + rng.uniform(-1, 1), 45.0), "image_stddev": (85.0 + rng.uniform(-1, 1), 20.0)}
        found.append(
            Profile(
                span=str(number),
                images=sum(labels),
                labels=labels,
                features=features,
                agreement=(900 + int(rng.integers(-9, 10)), 1_000),
            )
        )
    return found


def told(limits=None, earlier=None, **changes):
    new = dataclasses.replace(USUAL, span="9", **changes)
    return [
        str(found)
        for found in compare_spans(new, nights() if earlier is None else earlier, NAMES, limits or GateLimits())
    ]


def test_a_usual_span_has_nothing_to_tell():
    assert told() == []


def test_the_first_span_has_nothing_to_be_compared_with():
    assert told(earlier=[], labels=[1_000, 0, 0, 0, 0]) == []


def test_a_doubled_class_is_an_error_with_its_name_and_both_shares():
    # 250 of 1,000 become 500 of 1,250: 15 points.
    (line, *others) = told(labels=[500, 250, 250, 250, 0], images=1_250)
    assert line.startswith("error: all splits: label: share of 'cat': 40.0 %, 2")
    assert "5 points more or less are allowed" in line
    assert all(other.startswith(("error", "warning")) and "share of" in other for other in others)


def test_a_small_shift_of_a_class_is_a_warning_only_where_it_is_no_chance():
    few = dict(labels=[30, 25, 25, 20, 0], images=100)
    assert [line for line in told(**few) if "share" in line] == []
    many = dict(labels=[28_500, 24_000, 24_000, 23_500, 0], images=100_000)
    assert [line.split(":")[0] for line in told(**many) if "'cat'" in line] == ["warning"]


def test_a_new_class_is_an_error_and_takes_no_share_from_the_others():
    (line,) = told(labels=[250, 250, 250, 250, 120], images=1_120)
    assert line == ("error: all splits: label: class: 'elk' is new, with 120 images; the 6 spans before have 4 classes")


def test_a_class_that_came_lately_is_compared_with_the_spans_since_then():
    with_it = dataclasses.replace(USUAL, span="9", labels=[220, 220, 220, 220, 120])
    assert told(earlier=[*nights(), with_it], labels=[222, 218, 221, 219, 120]) == []
    (line,) = [line for line in told(earlier=[*nights(), with_it], labels=[222, 218, 221, 219, 20]) if "'elk'" in line]
    assert "share of 'elk': 2.2 %, 12.0 % in the span before" in line


def test_inverted_images_are_an_error_in_standard_deviations_between_images():
    # 255 - 73 = 182: 109 away, of 45.
    (line,) = told(features=FEATURES | {"image_mean": (182.0, 45.0)})
    assert line.startswith("error: all splits: image: brightness: 182.0 in the mean, 7")
    assert "which is 2.4" in line


def test_a_drift_is_warned_of_long_before_it_is_refused():
    severities = [
        [line.split(":")[0] for line in told(features=FEATURES | {"image_mean": (73.0 + shift, 45.0)})]
        for shift in (2, 8, 15, 21, 24)
    ]
    assert severities == [[], ["warning"], ["warning"], ["warning"], ["error"]]


def test_a_slow_drift_is_told_though_each_span_is_like_those_before_it():
    # A ninth of what is refused at once, each night: from the fourth night on it shows.
    drift = [0, 0, 0, 0, 2.5, 5, 7.5, 10, 12.5]
    rng = np.random.default_rng(3)
    spans = [
        dataclasses.replace(USUAL, span=str(n), features=FEATURES | {"image_mean": (73 + d + rng.normal(0, 1), 45.0)})
        for n, d in enumerate(drift)
    ]
    warned = [
        any("drift" in str(found) for found in compare_spans(spans[n], spans[max(0, n - 8) : n], NAMES, GateLimits()))
        for n in range(1, len(spans))
    ]
    assert warned == [False] * 6 + [True] * 2
    line = next(str(f) for f in compare_spans(spans[-1], spans[:-1], NAMES, GateLimits()) if "drift" in str(f))
    assert line.startswith(
        "warning: all splits: image: brightness: a drift: it has risen over the last 7 spans, from 7"
    )


def test_noise_is_no_drift():
    rng = np.random.default_rng(5)
    told = 0
    for _ in range(200):
        means = 73 + rng.normal(0, 1.4, 9)
        spans = [dataclasses.replace(USUAL, features=FEATURES | {"image_mean": (mean, 45.0)}) for mean in means]
        told += any("drift" in str(found) for found in compare_spans(spans[-1], spans[:-1], NAMES, GateLimits()))
    assert told == 0


def test_wrong_labels_show_in_what_the_served_model_says():
    (line,) = told(agreement=(815, 1_000))
    assert line.startswith("error: all splits: label: labels: the served model agrees with 81.5 % of 1,000, with 89.")
    assert told(agreement=(885, 1_000)) == []
    # Better than before is nothing to worry about.
    assert told(agreement=(1_000, 1_000)) == []


def test_without_a_model_nothing_is_said_of_the_labels():
    assert told(agreement=None) == []
    alone = [dataclasses.replace(span, agreement=None) for span in nights()]
    assert told(agreement=(100, 1_000), earlier=alone) == []


@pytest.mark.parametrize(
    ("images", "severity"), [(450, "warning"), (2_300, "warning"), (90, "error"), (12_000, "error")]
)
def test_a_span_of_another_size_is_told(images, severity):
    labels = [images // 4] * 4 + [0]
    lines = [line for line in told(images=images, labels=labels) if "size:" in line]
    assert [line.split(":")[0] for line in lines] == [severity]


def test_limits_are_the_callers():
    wide = GateLimits(class_shift=1.0, pixel_shift=9.0, size_ratio=99.0, agreement_drop=1.0)
    changes = dict(
        images=90, labels=[90, 0, 0, 0, 0], agreement=(10, 90), features=FEATURES | {"image_mean": (182.0, 45.0)}
    )
    assert {line.split(":")[0] for line in told(wide, **changes)} == {"warning"}


def test_an_odd_span_that_was_let_in_widens_nothing():
    odd = dataclasses.replace(USUAL, span="odd", features=FEATURES | {"image_mean": (182.0, 45.0)}, images=10)
    assert told(earlier=[*nights(), odd], features=FEATURES | {"image_mean": (100.0, 45.0)})[0].startswith("error")


def test_images_of_earlier_spans_are_named_with_their_span(examples, tmp_path):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    split = {"train": (images[:20], np.arange(20) % 4), "val": (images[20:30], np.arange(10) % 4)}
    again = {"train": (images[30:], np.arange(10) % 4), "val": (images[[5, 25, 31]], np.arange(3) % 4)}
    first, second = (examples(part, name=name) for name, part in (("first", split), ("second", again)))
    digests = np.concatenate([table for table, _ in digest_tables(first).values()])
    np.save(tmp_path / DIGESTS_FILE, np.sort(digests))
    earlier = [dataclasses.replace(USUAL, span="7", folder=tmp_path)]
    tables = digest_tables(second)
    (found,) = seen_before(second, tables, earlier, tolerance=0.1)
    assert str(found) == (
        "error: val: image: expected no image that was in a span before, found 2: record 0 was in span 7, "
        "record 1 was in span 7"
    )
    (found,) = seen_before(second, tables, earlier, tolerance=0.7)
    assert found.severity == "warning"


def test_a_profile_survives_its_text():
    kept = Profile.from_json(USUAL.to_json())
    assert json.loads(kept.to_json()) == json.loads(USUAL.to_json())


def test_limits_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"size_ratio: expected a finite number from 1, found 0\.5"):
        GateLimits(size_ratio=0.5)


def test_what_comes_again_counts_as_when_it_was_new():
    """The served model learned it meanwhile: no new span would agree as much."""
    again = dataclasses.replace(USUAL, agreement=(999, 1_000))
    assert as_when_new(again, [USUAL]).agreement == USUAL.agreement
    assert as_when_new(again, [dataclasses.replace(USUAL, agreement=None)]).agreement is None
    assert as_when_new(again, []) is again
