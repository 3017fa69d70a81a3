"""Several spans made one: which they are, their examples, their statistics."""

import dataclasses
import json
import re

import apache_beam as beam
import numpy as np
import pytest
import tensorflow_data_validation as tfdv
from tfx.types import standard_artifacts

from components.artifacts import describe_examples, open_examples
from components.data_gate.component import DataBlessing
from components.properties import EXAMPLES_ID, SPAN_NUMBER, SPAN_VERSION
from components.span_window.choosing import EarlierSpans, WindowOfSpans
from components.span_window.joining import join_examples
from components.statistics_gen.statistics import merge_statistics, profile_of, write_statistics
from models.features import SPLITS
from models.origins import Origins, read_origins, write_origins


def numbered(kind, number, uri, **properties):
    artifact = kind()
    artifact.id, artifact.uri = number, str(uri)
    for name, value in properties.items():
        set_property = (
            artifact.set_int_custom_property if isinstance(value, int) else artifact.set_string_custom_property
        )
        set_property(name, value)
    return artifact


@pytest.fixture
def span(examples):
    """Writes the examples of a span, whose images hold its number, with their origins."""

    def write(number, *, sizes=(6, 2, 3), classes=4):
        splits = {
            split: (np.full((size, 4, 4), number, np.uint8), np.arange(size) % classes)
            for split, size in zip(SPLITS, sizes, strict=True)
        }
        written = examples(splits, name=f"span-{number}", classes=classes)
        origins = {
            split: Origins.of(
                written.folder,
                [written.folder / f"{split}-{n}.png" for n in range(size)],
                [None] * size,
                np.arange(size),
            )
            for split, size in zip(SPLITS, sizes, strict=True)
        }
        write_origins(written.folder, origins)
        return dataclasses.replace(written, span_name=str(number), digest=str(number) * 64)

    return write


def test_joined_spans_hold_the_records_of_all_in_their_order(span, tmp_path):
    joined = join_examples([span(1), span(2, sizes=(4, 3, 2))], tmp_path / "window")
    assert joined.counts == {"train": 10, "val": 5, "test": 5}
    for split, ones in (("train", 6), ("val", 2), ("test", 3)):
        images = [joined.parse(record)[0].numpy() for record in joined.records(split).batch(1)]
        assert [image.flat[0] for image in images] == [1] * ones + [2] * (joined.counts[split] - ones)
        assert joined.spans(split) == ("1", "1", "2", "2")


def test_joining_copies_no_byte_and_outlives_the_span(span, tmp_path):
    first = span(1)
    joined = join_examples([first], tmp_path / "window")
    (shard, *_), (source, *_) = joined.shards("train"), first.shards("train")
    assert shard.stat().st_ino == source.stat().st_ino
    source.unlink()
    assert len(list(joined.records("train"))) == 6


def test_where_there_are_no_hard_links_shards_are_copied(span, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", refuse)
    joined = join_examples([span(1)], tmp_path / "window")
    assert len(list(joined.records("train"))) == 6


def test_a_record_is_named_with_its_span(span, tmp_path):
    joined = join_examples([span(1), span(2)], tmp_path / "window")
    assert read_origins(joined.folder, "val").names([0, 3]) == ["1/val-0.png", "2/val-1.png"]


def test_a_class_that_came_later_stands_behind_the_others(span, tmp_path):
    joined = join_examples([span(1), span(2, classes=5), span(3)], tmp_path / "window")
    assert joined.class_names == ("0", "1", "2", "3", "4")


def test_the_digest_follows_the_spans_and_the_artifact_tells_what_it_holds(span, tmp_path):
    spans = [span(1), span(2)]
    first, second = join_examples(spans, tmp_path / "a"), join_examples(spans, tmp_path / "b")
    assert first.digest == second.digest != join_examples(spans[:1], tmp_path / "c").digest
    artifact = numbered(standard_artifacts.Examples, 1, first.folder)
    describe_examples(artifact, first)
    assert open_examples(artifact) == first


@pytest.fixture
def store(tmp_path):
    """Artifacts of spans as the resolvers see them: `add(id, number)` adds examples, statistics and a blessing."""
    artifacts = {"examples": [], "statistics": [], "blessing": []}

    def add(first, number, *, version=0, blessed=1, encoding="tensor", classes=(0, 1)):
        (tmp_path / str(first)).mkdir()
        place = {SPAN_NUMBER: number, SPAN_VERSION: version}
        form = {"image_shape": "[4, 4]", "image_fit": "pad", "encoding": encoding, "compression": ""}
        found = numbered(
            standard_artifacts.Examples, first, tmp_path / str(first), **place, **form, class_values=json.dumps(classes)
        )
        artifacts["examples"].append(found)
        artifacts["statistics"].append(numbered(standard_artifacts.ExampleStatistics, first + 1, tmp_path / str(first)))
        ids = {EXAMPLES_ID: first, "current_statistics_id": first + 1}
        artifacts["blessing"].append(
            numbered(DataBlessing, first + 2, tmp_path / str(first), **place, **ids, blessed=blessed)
        )
        return found

    return artifacts, add


def chosen(artifacts, candidate, window=0, last=-1):
    found = WindowOfSpans(window, last).resolve_artifacts(None, {**artifacts, "candidate": [candidate]})
    assert [a.id + 1 for a in found["examples"]] == [a.id for a in found["statistics"]]
    return [a.id for a in found["examples"]]


def test_the_window_holds_the_latest_spans_by_their_numbers_whenever_they_came(store):
    artifacts, add = store
    for first, number in ((10, 1), (20, 3), (30, 4), (40, 2)):
        candidate = add(first, number)
    assert chosen(artifacts, candidate) == [10, 40, 20, 30]
    assert chosen(artifacts, candidate, window=2) == [20, 30]
    assert chosen(artifacts, candidate, window=9) == [10, 40, 20, 30]
    assert chosen(artifacts, candidate, window=2, last=3) == [40, 20]


def test_a_refused_span_takes_no_place_in_the_window(store):
    artifacts, add = store
    add(10, 1)
    add(20, 2, blessed=0)
    assert chosen(artifacts, add(30, 3), window=2) == [10, 30]


def test_a_correction_replaces_the_span_and_a_refused_one_does_not(store):
    artifacts, add = store
    add(10, 1, version=1)
    add(20, 1, version=2)
    candidate = add(30, 2)
    assert chosen(artifacts, candidate) == [20, 30]
    add(40, 1, version=3, blessed=0)
    assert chosen(artifacts, candidate) == [20, 30]


def test_of_examples_of_one_span_the_latest_count_and_those_stored_otherwise_are_none(store, tmp_path):
    artifacts, add = store
    add(10, 1)
    add(20, 1)
    add(30, 2, encoding="png")
    candidate = add(40, 3)
    assert chosen(artifacts, candidate) == [20, 40]
    (tmp_path / "20").rmdir()
    assert chosen(artifacts, candidate) == [10, 40]


def test_a_span_whose_classes_are_numbered_otherwise_is_not_in_the_window(store):
    """Its labels would be taken for those of other classes."""
    artifacts, add = store
    add(10, 1, classes=("a", "c", "b"))
    add(20, 2, classes=("a",))
    add(30, 3, classes=("a", "b", "c", "d"))
    assert chosen(artifacts, add(40, 4, classes=("a", "b", "c"))) == [20, 30, 40]


def earlier(artifacts, candidate, **more):
    found = EarlierSpans().resolve_artifacts(None, {**artifacts, "candidate": [candidate], **more})
    return [a.id for a in found["blessing"]], [a.id for a in found["model"]]


def test_a_span_is_compared_with_all_others_that_are_in_and_not_with_itself(store):
    artifacts, add = store
    add(10, 1)
    add(20, 2, version=1)
    # Not yet blessed.
    candidate = numbered(standard_artifacts.Examples, 30, "x", **{SPAN_NUMBER: 2, SPAN_VERSION: 2})
    assert earlier(artifacts, candidate) == ([12], [])


def test_what_came_after_a_span_changes_nothing_of_its_comparison(store, tmp_path):
    artifacts, add = store
    add(10, 1)
    candidate = add(20, 2)
    models = [numbered(standard_artifacts.Model, 5, tmp_path), numbered(standard_artifacts.Model, 26, tmp_path)]
    pushed = [
        numbered(standard_artifacts.PushedModel, 6, "", pushed=1, model_id=5),
        numbered(standard_artifacts.PushedModel, 27, "", pushed=1, model_id=26),
    ]
    before = earlier(artifacts, candidate, model=models, pushed=pushed)
    assert before == ([12], [5])
    newer = add(30, 3)
    assert earlier(artifacts, candidate, model=models, pushed=pushed) == before
    assert earlier(artifacts, newer, model=models, pushed=pushed) == ([12, 22], [26])


def test_a_span_is_asked_of_the_model_that_is_served_also_where_a_rollback_before_it_was_recorded_later(
    store, tmp_path
):
    artifacts, add = store
    add(10, 1)
    models = [numbered(standard_artifacts.Model, number, tmp_path) for number in (5, 15)]
    pushed = [
        numbered(standard_artifacts.PushedModel, number, "", pushed=1, model_id=model, pushed_version=version)
        for number, model, version in ((6, 5, "8"), (16, 15, "11"), (17, 5, "9"))
    ]
    assert earlier(artifacts, add(30, 2), model=models, pushed=pushed) == ([12], [15])


def test_of_examples_that_were_blessed_again_the_first_blessing_counts(store, tmp_path):
    """The later one has not asked the model, which may have seen them by then."""
    artifacts, add = store
    first = add(10, 1)
    again = {SPAN_NUMBER: 1, SPAN_VERSION: 0, EXAMPLES_ID: 10, "current_statistics_id": 11, "blessed": 1}
    artifacts["blessing"].append(numbered(DataBlessing, 15, tmp_path / "10", **again))
    assert earlier(artifacts, add(20, 2)) == ([12], [])
    assert chosen(artifacts, first) == [10, 20]
    # Not of examples that others took the place of in between.
    add(30, 1)
    artifacts["blessing"].append(numbered(DataBlessing, 35, tmp_path / "10", **again))
    assert chosen(artifacts, first) == [10, 20]


def test_what_was_in_in_the_place_of_a_span_is_told_apart(store):
    """The served model has seen it: how far it agrees with it tells nothing of the labels."""
    artifacts, add = store
    add(10, 1)
    add(20, 2)
    again = add(30, 1)

    def own(candidate):
        found = EarlierSpans(window=1).resolve_artifacts(None, {**artifacts, "own": [], "candidate": [candidate]})
        return [a.id for a in found["blessing"]], [a.id for a in found["own"]]

    assert own(again) == ([22], [12])
    assert own(add(40, 3)) == ([22], [])
    assert own(numbered(standard_artifacts.Examples, 50, "x", **{SPAN_NUMBER: 2, SPAN_VERSION: 1})) == ([42], [22])


def test_a_model_that_was_not_pushed_or_is_gone_is_not_asked(store, tmp_path):
    artifacts, add = store
    add(10, 1)
    candidate = numbered(standard_artifacts.Examples, 30, "x", **{SPAN_NUMBER: 2, SPAN_VERSION: 0})
    models = [numbered(standard_artifacts.Model, 5, tmp_path / "gone"), numbered(standard_artifacts.Model, 7, tmp_path)]
    pushed = [
        numbered(standard_artifacts.PushedModel, 6, "", pushed=1, model_id=5),
        numbered(standard_artifacts.PushedModel, 8, "", pushed=0, model_id=7),
    ]
    assert earlier(artifacts, candidate, model=models, pushed=pushed) == ([12], [])


def told(files):
    """Statistics as text; the last bits of a deviation follow from the order of the sums."""
    texts = {split: str(tfdv.load_stats_binary(str(path))) for split, path in files.items()}
    return {s: re.sub(r"std_dev: (\S+)", lambda m: f"{float(m[1]):.12g}", text) for s, text in texts.items()}


def test_merged_statistics_are_those_of_all_records_at_once(span, tmp_path):
    spans = [span(1), span(2, sizes=(5, 3, 4), classes=5)]
    joined = join_examples(spans, tmp_path / "window")

    def targets(name):
        found = {split: tmp_path / name / split / "FeatureStats.pb" for split in SPLITS}
        for path in found.values():
            path.parent.mkdir(parents=True)
        return found

    def computed(examples, name):
        found = targets(name)
        write_statistics(examples, found, beam.Pipeline(runner="FnApiRunner"))
        return found

    sources = [(one, computed(one, f"statistics-{one.span_name}")) for one in spans]
    merged, whole = targets("merged"), computed(joined, "whole")
    merge_statistics(sources, merged, 5)
    assert told(merged) == told(whole)
    # By hand: the images of a span hold its number.
    profile = profile_of(merged, 5)
    assert profile["images"] == 11 + 12
    assert profile["features"]["image_mean"][0] == pytest.approx((11 * 1 + 12 * 2) / 23)
    assert (
        profile["labels"]
        == np.bincount(
            np.concatenate([np.arange(size) % 4 for size in (6, 2, 3)] + [np.arange(size) % 5 for size in (5, 3, 4)])
        ).tolist()
    )
    # What another version of TFDV left is computed anew.
    for path in sources[0][1].values():
        path.with_name("accumulator.pickle").write_bytes(b"of another version")
    again = targets("again")
    merge_statistics(sources, again, 5)
    assert told(again) == told(whole)
    assert json.dumps(profile_of(again, 5)) == json.dumps(profile)
