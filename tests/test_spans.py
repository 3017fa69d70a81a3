"""Patterns of spans: which folders are which span."""

import datetime
import os
from pathlib import Path

import pytest

from components.errors import InputError
from components.example_gen.signature import signature
from components.example_gen.spans import SpanPattern


def make(folder, *names):
    for name in names:
        (folder / name).mkdir(parents=True)


def found(pattern):
    return [(span.name, span.number, span.version) for span in SpanPattern(str(pattern)).found()]


def test_numbers_are_ordered_as_numbers_with_a_width_or_without(tmp_path):
    make(tmp_path, "span-10", "span-9", "span-0011", "span-x", "other", "span-12.partial")
    assert found(tmp_path / "span-{SPAN}") == [("9", 9, 0), ("10", 10, 0), ("11", 11, 0)]


def test_a_width_admits_no_other(tmp_path):
    make(tmp_path, "span-07", "span-8", "span-123")
    assert found(tmp_path / "span-{SPAN:2}") == [("7", 7, 0)]


def test_a_date_is_numbered_by_the_days_since_1970_as_tfx_does(tmp_path):
    make(tmp_path, "2026-11-28", "2026-02-30", "2026-1-1")
    days = (datetime.date(2026, 11, 28) - datetime.date(1970, 1, 1)).days
    assert found(tmp_path / "{YYYY}-{MM}-{DD}") == [("2026-11-28", days, 0)]


def test_a_date_may_be_a_folder_in_a_folder(tmp_path):
    make(tmp_path, "2026/11/28/images", "2026/11/29/images", "2026/12")
    names = [name for name, *_ in found(tmp_path / "{YYYY}" / "{MM}" / "{DD}" / "images")]
    assert names == ["2026-11-28", "2026-11-29"]


def test_of_several_versions_the_highest_counts(tmp_path):
    make(tmp_path, "3/v1", "3/v10", "3/v2", "4/v1")
    assert found(tmp_path / "{SPAN}" / "v{VERSION}") == [("3", 3, 10), ("4", 4, 1)]


def test_a_span_may_be_a_file_and_tfx_own_ending_is_understood(tmp_path):
    (tmp_path / "day-1.npz").touch()
    make(tmp_path, "day-2")
    assert found(tmp_path / "day-{SPAN}.npz") == [("1", 1, 0)]
    assert found(tmp_path / "day-{SPAN}" / "*") == [("2", 2, 0)]


def test_two_folders_of_one_span_are_an_error_that_names_both(tmp_path):
    make(tmp_path, "span-1", "span-01")
    with pytest.raises(InputError, match=r"span-1: expected one folder for span 1, found .*span-01 too\. Rename one\."):
        found(tmp_path / "span-{SPAN}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("in/{Span}", r"found \{Span\}"),
        ("in/{YYYY}-{MM}", r"found \{YYYY\} and \{MM\}"),
        ("in/{SPAN}/{SPAN}", r"found \{SPAN\} again"),
        ("in/{VERSION}", r"found \{VERSION\}\. Name a number or a whole date"),
        ("in/{SPAN}/{YYYY}-{MM}-{DD}", "Name a number or a whole date"),
        ("in/{SPAN:0}", "of a width from 1 to 18, found 0"),
        ("in/{SPAN:4294967296}", "of a width from 1 to 18, found 4294967296"),
    ],
)
def test_what_is_no_pattern_is_told_in_a_line(text, told):
    with pytest.raises(InputError, match=told):
        SpanPattern(text)


def test_a_number_that_ml_metadata_cannot_hold_is_told_in_a_line(tmp_path):
    make(tmp_path, "span-1", f"span-{10**18}")
    with pytest.raises(InputError, match="expected a number of up to 18 digits, found more"):
        found(tmp_path / "span-{SPAN}")


def test_a_pattern_is_the_same_from_whichever_folder_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert SpanPattern.of(Path("in/{SPAN}")) == SpanPattern.of(tmp_path / "in" / "{SPAN}")


def test_a_folder_that_is_called_like_a_pattern_is_one_data_set(tmp_path):
    make(tmp_path, "span-{SPAN}")
    assert SpanPattern.of(tmp_path / "span-{SPAN}") is None
    assert SpanPattern.of(None) is None
    assert SpanPattern.of(tmp_path / "day-{SPAN}") == SpanPattern(str(tmp_path / "day-{SPAN}"))


@pytest.mark.parametrize(("name", "number"), [("7", 7), ("007", 7)])
def test_a_span_is_named_by_its_number(name, number):
    assert SpanPattern("in/{SPAN}").number(name) == number


@pytest.mark.parametrize(
    ("pattern", "name"), [("in/{SPAN}", "2026-11-28"), ("in/{YYYY}{MM}{DD}", "7"), ("in/{SPAN}", "-1")]
)
def test_another_name_is_told_what_is_expected(pattern, name):
    with pytest.raises(InputError, match=rf"span {name}: expected a (number|date such as 2026-11-28), as the spans of"):
        SpanPattern(pattern).number(name)


def test_a_number_has_the_name_that_leads_to_it():
    for pattern, name in (("in/{SPAN}", "12"), ("in/{YYYY}-{MM}-{DD}", "2026-11-28")):
        assert SpanPattern(pattern).name(SpanPattern(pattern).number(name)) == name


def test_a_signature_changes_with_a_file_and_stays_without_a_change(tmp_path):
    (tmp_path / "a").write_text("1")
    first = signature(tmp_path)
    assert signature(tmp_path) == first
    (tmp_path / "b").write_text("")
    second = signature(tmp_path)
    (tmp_path / "b").unlink()
    # As many bytes, and the time set back.
    before = (tmp_path / "a").stat()
    (tmp_path / "a").write_text("2")
    os.utime(tmp_path / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len({first, second, signature(tmp_path)}) == 3
