"""What is to be done with each span, given what earlier runs decided."""

import dataclasses
import os
import shutil
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from components.errors import InputError
from components.example_gen.signature import signature
from components.example_gen.spans import BEFORE, BY_NAME, Span, SpanPattern
from components.properties import SPAN_NUMBER
from pipeline.config import PipelineConfig
from pipeline.metadata.store import Artifact, Run
from pipeline.run import decisions
from pipeline.run.decisions import UNREADABLE, Decision, Known
from pipeline.run.outcome import PASSED, REFUSED
from pipeline.run.uptake import (
    IN,
    NEW,
    SET_ASIDE,
    form_of,
    plan_uptake,
    read_span,
    settle,
)
from tests.forms import write_parquet


@pytest.fixture
def incoming(tmp_path, idx_file):
    """Writes a span of 30 images of a few classes, and gives the pattern."""

    def write(number, *, classes=3, seed=None, version="", shape=(6, 6)):
        rng = np.random.default_rng(number if seed is None else seed)
        folder = tmp_path / "incoming" / f"span-{number}{version}"
        idx_file(rng.integers(0, 256, (30, *shape)), "train-images-idx3-ubyte", folder)
        idx_file(np.arange(30) % classes, "train-labels-idx1-ubyte", folder)
        return folder

    return write


@pytest.fixture
def pattern(tmp_path):
    return SpanPattern(str(tmp_path / "incoming" / "span-{SPAN}"))


@pytest.fixture
def config(pattern, tmp_path):
    return PipelineConfig(data_dir=tmp_path / "incoming" / "span-{SPAN}")


def decided(config, pattern, number, verdict=PASSED, *, reasons=(), before=None, **changes):
    """A decision on a span as it lies there."""
    (found,) = [found for found in pattern.found() if found.number == number]
    span = Span(
        name=found.name,
        number=number,
        version=found.version,
        pattern=pattern.text,
        signature=signature(found.folder),
        form=form_of(config),
    )
    (plan,) = [plan for plan in plan_uptake(config, pattern, Known()) if plan.found.number == number]
    span = dataclasses.replace(span, judged=plan.span.judged, **changes)
    dataset = read_span(config, plan, before or Known())
    data = {name: getattr(dataset, name) for name in ("digest", "class_names", "class_values", "image_shape")}
    return Decision(run_id=f"run-{number}", verdict=verdict, span=span, data=data, reasons=reasons)


def known(*decisions):
    alive = {(one.span.number, one.span.version) for one in decisions if one.verdict == PASSED}
    return Known(decisions=decisions, alive=frozenset(alive))


def states(config, pattern, known):
    return [(plan.found.number, plan.state) for plan in plan_uptake(config, pattern, known)]


def test_what_no_run_decided_is_new(incoming, config, pattern):
    for number in (2, 1):
        incoming(number)
    assert states(config, pattern, Known()) == [(1, NEW), (2, NEW)]


def test_a_late_span_is_taken_up_behind_newer_ones(incoming, config, pattern):
    for number in (1, 2, 3):
        incoming(number)
    before = known(decided(config, pattern, 1), decided(config, pattern, 3))
    assert states(config, pattern, before) == [(1, IN), (2, NEW), (3, IN)]


def test_a_refused_span_is_set_aside_with_its_reason_until_it_is_admitted(incoming, config, pattern):
    incoming(1)
    before = known(decided(config, pattern, 1, REFUSED, reasons=("error: too bright", "error: too few")))
    (plan,) = plan_uptake(config, pattern, before)
    assert (plan.state, plan.why) == (SET_ASIDE, "refused by run run-1: error: too bright (and 1 more)")
    (plan,) = plan_uptake(dataclasses.replace(config, admit=("1",)), pattern, before)
    assert (plan.state, plan.span.admitted) == (NEW, BY_NAME)


def test_a_refused_span_that_changed_is_new(incoming, config, pattern):
    incoming(1)
    before = known(decided(config, pattern, 1, REFUSED))
    incoming(1, seed=99)
    (plan,) = plan_uptake(config, pattern, before)
    assert settle(plan, read_span(config, plan, before), before).state == NEW


def test_a_span_that_changed_in_its_place_is_taken_up_again(incoming, config, pattern):
    incoming(1)
    before = known(decided(config, pattern, 1))
    incoming(1, seed=99)
    (plan,) = plan_uptake(config, pattern, before)
    settled = settle(plan, read_span(config, plan, before), before)
    assert (settled.state, settled.span.admitted) == (NEW, "")


def test_a_span_that_was_only_copied_is_no_new_one(incoming, config, pattern):
    incoming(1)
    before = known(decided(config, pattern, 1, signature="of the disk before"))
    (plan,) = plan_uptake(config, pattern, before)
    assert plan.state == NEW
    assert settle(plan, read_span(config, plan, before), before).state == IN
    refused = known(decided(config, pattern, 1, REFUSED, signature="of the disk before"))
    assert settle(plan, read_span(config, plan, refused), refused).state == SET_ASIDE


def test_what_was_let_in_stays_in_when_settings_of_the_images_change(incoming, config, pattern):
    incoming(1)
    before = known(decided(config, pattern, 1))
    other = dataclasses.replace(config, image_encoding="png")
    (plan,) = plan_uptake(other, pattern, before)
    settled = settle(plan, read_span(other, plan, before), before)
    assert (settled.state, settled.span.admitted) == (NEW, BEFORE)
    # A setting of the training makes no other examples.
    assert states(dataclasses.replace(config, accuracy_tolerance=0.1), pattern, before) == [(1, IN)]


def test_a_span_whose_examples_are_gone_is_taken_up_again(incoming, config, pattern):
    incoming(1)
    before = dataclasses.replace(known(decided(config, pattern, 1)), alive=frozenset())
    (plan,) = plan_uptake(config, pattern, before)
    assert settle(plan, read_span(config, plan, before), before).span.admitted == BEFORE


def test_a_correction_is_another_version(incoming, tmp_path):
    config = PipelineConfig(data_dir=tmp_path / "incoming" / "span-{SPAN}-v{VERSION}")
    pattern = SpanPattern.of(config.data_dir)
    incoming(1, version="-v1")
    first = decided(config, pattern, 1)
    incoming(1, version="-v2", seed=99)
    assert [(plan.state, plan.found.version) for plan in plan_uptake(config, pattern, known(first))] == [(NEW, 2)]
    second = decided(config, pattern, 1)
    assert known(first, second).spans_in(form_of(config))[1].span.version == 2


def test_the_span_that_is_expected_and_late_is_an_error_that_names_the_latest(incoming, config, pattern):
    incoming(1)
    expected = dataclasses.replace(config, span="2")
    with pytest.raises(InputError, match=r"^span 2: expected it at .*found none, the latest is 1\. Wait for it"):
        plan_uptake(expected, pattern, Known())
    incoming(2)
    incoming(3)
    assert states(expected, pattern, Known()) == [(1, NEW), (2, NEW)]


def test_a_window_concerns_the_latest_spans_and_not_those_that_are_set_aside(incoming, config, pattern):
    for number in (1, 2, 3, 4):
        incoming(number)
    windowed = dataclasses.replace(config, window=2)
    assert states(windowed, pattern, Known()) == [(3, NEW), (4, NEW)]
    refused = known(decided(config, pattern, 4, REFUSED))
    assert states(windowed, pattern, refused) == [(2, NEW), (3, NEW), (4, SET_ASIDE)]


def test_a_span_that_is_in_as_it_was_before_keeps_its_place_in_the_window(incoming, config, pattern):
    """Without that the span before it would be taken up again each night, and cleared again."""
    for number in (1, 2):
        incoming(number)
    windowed = dataclasses.replace(config, window=1)
    before = decided(config, pattern, 2)
    incoming(2, seed=99)
    assert states(windowed, pattern, known(before, decided(config, pattern, 2, REFUSED))) == [(2, SET_ASIDE)]


def test_a_span_whose_files_are_gone_keeps_its_place_in_the_window(incoming, config, pattern):
    incoming(1)
    folder = incoming(2)
    before = known(decided(config, pattern, 2))
    shutil.rmtree(folder)
    assert states(dataclasses.replace(config, window=1), pattern, before) == []


def test_what_comes_back_in_the_place_of_other_content_is_taken_up_again(incoming, config, pattern):
    folder, other = incoming(1), incoming(9, seed=99)
    first = decided(config, pattern, 1)
    aside = folder.rename(folder.parent / "aside")
    other.rename(folder)
    second = decided(config, pattern, 1)
    shutil.rmtree(folder)
    aside.rename(folder)
    before = known(first, second)
    (plan,) = plan_uptake(config, pattern, before)
    settled = settle(plan, read_span(config, plan, before), before)
    # Made anew: what was made of it first would not count as the latest.
    assert (settled.state, settled.span.admitted, settled.span.changes) == (NEW, BEFORE, 2)


@pytest.mark.parametrize("changed", [{"image_size": (8, 8)}, {"seed": 7}], ids=str)
def test_spans_are_taken_up_again_where_settings_change_back(changed, incoming, config, pattern):
    """Examples of both forms are there, and those of the earlier one are no more the latest."""
    for number in (1, 2):
        incoming(number)
    other = dataclasses.replace(config, **changed)
    before = known(*(decided(asked, pattern, number) for asked in (config, other) for number in (1, 2)))
    assert states(other, pattern, before) == [(1, IN), (2, IN)]
    plans = plan_uptake(config, pattern, before)
    settled = [settle(plan, read_span(config, plan, before), before) for plan in plans]
    assert [(plan.state, plan.span.admitted, plan.span.changes) for plan in settled] == [(NEW, BEFORE, 2)] * 2
    # A copy of them is no more in than they are.
    copies = [dataclasses.replace(plan, span=dataclasses.replace(plan.span, signature="of a copy")) for plan in plans]
    assert [settle(plan, read_span(config, plan, before), before).state for plan in copies] == [NEW, NEW]
    again = [dataclasses.replace(decided(config, pattern, plan.found.number), span=plan.span) for plan in settled]
    assert states(config, pattern, known(*before.decisions, *again)) == [(1, IN), (2, IN)]
    assert {found.span.form for found in known(*before.decisions, *again).spans_in(form_of(config)).values()} == {
        form_of(config)
    }


@pytest.mark.parametrize("changed", ["the gate", "classes.txt"])
def test_a_refused_span_is_looked_at_again_when_what_it_is_judged_by_changes(changed, incoming, config, pattern):
    folder = incoming(1)
    before = known(decided(config, pattern, 1, REFUSED))
    assert states(config, pattern, before) == [(1, SET_ASIDE)]
    if changed == "the gate":
        config = dataclasses.replace(config, gate=dataclasses.replace(config.gate, pixel_shift=0.9))
    else:
        (folder.parent / "classes.txt").write_text("a\nb\nc\n")
    (plan,) = plan_uptake(config, pattern, before)
    assert settle(plan, read_span(config, plan, before), before).state == NEW


def test_a_span_that_could_not_be_read_for_a_file_beside_it_is_tried_again_when_that_changes(incoming, config, pattern):
    names = incoming(1).parent / "classes.txt"
    names.write_text("a\n")
    before = known(decided(config, pattern, 1, UNREADABLE))
    assert states(config, pattern, before) == [(1, SET_ASIDE)]
    names.write_text("a\nb\nc\n")
    assert states(config, pattern, before) == [(1, NEW)]


def test_a_span_of_another_size_is_tried_again_when_the_others_are_of_its_size(incoming, config, pattern):
    """The first span was the wrong one, and is mended: what it pinned is let go."""
    incoming(1, shape=(8, 8))
    incoming(2)
    wrong = decided(config, pattern, 1)
    second = decided(config, pattern, 2, UNREADABLE, before=known(wrong))
    assert states(config, pattern, known(wrong, second))[1] == (2, SET_ASIDE)
    incoming(1)
    plan = plan_uptake(config, pattern, known(wrong, second))[0]
    assert read_span(config, plan, known(wrong, second)).unreadable == ""
    right = decided(config, pattern, 1, before=known(wrong))
    assert states(config, pattern, known(wrong, second, right))[1] == (2, NEW)


def test_a_span_with_too_few_images_for_the_splits_cannot_be_used_and_stops_nobody(incoming, config, pattern):
    incoming(1)
    many = dataclasses.replace(config, split_sizes=(None, 20, 20))
    (plan,) = plan_uptake(many, pattern, Known())
    assert "split_sizes: expected at least one example" in read_span(many, plan, Known()).unreadable


def test_classes_keep_their_numbers_in_another_form(incoming, config, pattern):
    """Else examples of both forms, of one length and the same first class, would be read together."""
    incoming(1, classes=2)
    first = decided(config, pattern, 1)
    folder = incoming(2)
    labels = np.array([0, 2, 1] * 10, np.uint8)
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, 30) + (labels + 1).tobytes())
    both = known(first, decided(config, pattern, 2, before=known(first)))
    other = dataclasses.replace(config, image_encoding="png")
    plan = plan_uptake(other, pattern, both)[0]
    assert read_span(other, plan, both).class_names == ("0", "1", "2", "3")


def test_spans_that_are_stored_otherwise_are_not_in(incoming, config, pattern):
    """A span whose files are gone keeps its old form: it is no reason to train each night."""
    incoming(1)
    incoming(2)
    other = form_of(dataclasses.replace(config, image_encoding="png"))
    old = [dataclasses.replace(decided(config, pattern, number), stored=("tensor", "")) for number in (1, 2)]
    new = dataclasses.replace(old[1], span=dataclasses.replace(old[1].span, form=other), stored=("png", ""), number=3)
    assert list(known(*old).spans_in(form_of(config))) == [1, 2]
    assert list(known(*old, new).spans_in(other)) == [2]


@pytest.fixture
def store(monkeypatch, tmp_path):
    """A database of runs with the examples of a span each, as far as `Known.of` asks it."""

    class Stand:
        def __init__(self, *runs):
            self._runs = [
                Run(
                    number=number,
                    id=f"r{number}",
                    started=0,
                    properties={"span": {"name": "1"}, "state": "done", **properties},
                )
                for number, properties in enumerate(runs, 1)
            ]
            ids = range(1, len(runs) + 1)
            self.artifacts = {
                of: Artifact(id=of, type="Examples", uri=str(tmp_path), state="live", created=0) for of in ids
            }
            self.producers = {of: of for of in ids}
            self.executions = {of: SimpleNamespace(run=f"r{of}") for of in ids}

        def runs(self):
            return self._runs

        def whole(self, run):
            return run

        def property_of_all(self, _, name):
            return {of: of if name == SPAN_NUMBER else 0 for of in self.artifacts}

    def known(*runs):
        monkeypatch.setattr(decisions, "Store", lambda _: Stand(*runs))
        return Known.of(SimpleNamespace(metadata=tmp_path), "a")

    return known


def test_spans_of_another_data_set_are_none(store):
    assert store({"published_as": "b"}, {"published_as": "a"}).alive == {(2, 0)}


def test_a_run_that_made_no_model_is_no_training(store):
    """Such as that with which a sweep begins."""
    window = {"published_as": "a", "window": [{"number": 1, "version": 0}]}
    assert store({**window, "blessed": 0}, window).trained.id == "r1"


def test_to_admit_a_span_before_the_window_is_an_error_and_not_passed_over(incoming, config, pattern):
    for number in (1, 2, 3):
        incoming(number)
    before = known(*(decided(config, pattern, number, REFUSED if number == 1 else PASSED) for number in (1, 2, 3)))
    admitting = dataclasses.replace(config, window=1, admit=("1",))
    with pytest.raises(InputError, match="--admit 1: expected a span of the window of 1, which begins with 3, found"):
        plan_uptake(admitting, pattern, before)
    # Left in a file of settings, what was admitted stays no error when the window has gone on.
    assert states(dataclasses.replace(admitting, admit=("2",)), pattern, before) == [(3, IN)]


def test_no_spans_at_all_are_an_error_that_tells_what_is_there(config, pattern, tmp_path):
    with pytest.raises(InputError, match="found no such folder"):
        plan_uptake(config, pattern, Known())
    (tmp_path / "incoming" / "day-1").mkdir(parents=True)
    with pytest.raises(InputError, match=r"expected spans, found day-1 in .*incoming\. Mend the pattern"):
        plan_uptake(config, pattern, Known())


def test_a_span_that_is_admitted_has_to_be_there(incoming, config, pattern):
    incoming(1)
    with pytest.raises(InputError, match="--admit 7: expected spans that are there, found none"):
        plan_uptake(dataclasses.replace(config, admit=("7",)), pattern, Known())


def test_a_span_that_cannot_be_read_says_why_and_is_tried_again_when_it_changes(incoming, config, pattern):
    folder = incoming(1)
    images = folder / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    images.write_bytes(whole[:-100])
    (plan,) = plan_uptake(config, pattern, Known())
    dataset = read_span(config, plan, Known())
    assert "the header promises" in dataset.unreadable
    data = {"digest": dataset.digest, "image_shape": dataset.image_shape}
    decision = Decision(run_id="r", verdict=UNREADABLE, span=plan.span, data=data, reasons=(dataset.unreadable,))
    (again,) = plan_uptake(config, pattern, known(decision))
    assert again.state == SET_ASIDE
    # To admit what cannot be read makes it no more readable.
    assert plan_uptake(dataclasses.replace(config, admit=("1",)), pattern, known(decision))[0].state == SET_ASIDE
    images.write_bytes(whole)
    assert plan_uptake(config, pattern, known(decision))[0].state == NEW


def test_a_span_of_which_a_file_may_not_be_read_is_set_aside_and_none_waits_for_it(
    incoming, config, pattern, monkeypatch
):
    """Patched, because root may read everything."""
    images = incoming(1) / "train-images-idx3-ubyte"
    stat = Path.stat

    def refuse(path: Path, **options) -> os.stat_result:
        if path == images:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    (plan,) = plan_uptake(config, pattern, Known())
    assert read_span(config, plan, Known()).unreadable.startswith(
        f"{images}: cannot be read or written (Permission denied)."
    )


def test_classes_keep_their_numbers_and_a_new_one_comes_behind(incoming, config, pattern):
    incoming(1, classes=3)
    before = known(decided(config, pattern, 1))
    # Without the class 1, and with a new one.
    folder = incoming(2)
    labels = np.array([2, 0, 7] * 10, np.uint8)
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, 30) + labels.tobytes())
    plan = plan_uptake(config, pattern, before)[-1]
    dataset = read_span(config, plan, before)
    assert dataset.class_names == ("0", "1", "2", "7")
    assert dataset.class_counts == (10, 0, 10, 10)
    # Without earlier spans they would be numbered among themselves.
    assert read_span(config, plan, Known()).class_names == ("0", "2", "7")


def test_a_span_whose_files_call_a_class_otherwise_than_before_cannot_be_used(config, pattern, tmp_path):
    """A day without cats, whose classes somebody numbered anew: its birds would be cats."""
    for number, names in ((1, ["cat", "dog"]), (2, ["bird", "dog"]), (3, ["cat", "dog", "bird"])):
        write_parquet(
            tmp_path / "incoming" / f"span-{number}",
            {"train": (np.arange(30 * 36, dtype=np.uint8).reshape(30, 6, 6), np.arange(30) % len(names))},
            names=names,
        )
    before = known(decided(config, pattern, 1))
    second, third = (read_span(config, plan, before) for plan in plan_uptake(config, pattern, before)[-2:])
    assert "found label 0 called 'bird' and 'cat' before. Number the classes as before" in second.unreadable
    assert (third.unreadable, third.class_names) == ("", ("cat", "dog", "bird"))
    (tmp_path / "incoming" / "classes.txt").write_text("cat\ndog\nbird\n")
    (again, _) = (read_span(config, plan, before) for plan in plan_uptake(config, pattern, before)[-2:])
    assert (again.unreadable, again.class_names) == ("", ("cat", "dog"))


def test_images_of_another_size_than_those_of_earlier_spans_are_told(incoming, config, pattern):
    incoming(1)
    before = known(decided(config, pattern, 1))
    incoming(2, shape=(8, 8))
    plan = plan_uptake(config, pattern, before)[-1]
    told = "expected images of 6x6, as the spans before have, found 8x8"
    assert told in read_span(config, plan, before).unreadable
    assert "--set image_size=HEIGHT,WIDTH" in read_span(config, plan, before).unreadable


def test_gray_span_behind_colour_is_told_what_to_say_of_the_channels(incoming, config, pattern):
    incoming(1)
    before = known(decided(config, pattern, 1))
    before.decisions[0].data["image_shape"] = [6, 6, 3]
    incoming(2)
    told = read_span(config, plan_uptake(config, pattern, before)[-1], before).unreadable
    assert (
        "expected images of 6x6x3, as the spans before have, found 6x6. Say what all are to have: --set image_c" in told
    )


def test_file_that_may_be_read_at_last_is_looked_at_again(incoming, config, pattern, monkeypatch):
    """As where the user has joined the file's group, which changes nothing of the file."""
    images = incoming(1) / "train-images-idx3-ubyte"
    signed = signature(incoming(1))
    monkeypatch.setattr(os, "access", lambda path, _: path != images)
    assert signature(images.parent) != signed
    monkeypatch.undo()
    assert signature(images.parent) == signed


@pytest.mark.parametrize("given", [{"span": "1"}, {"window": 3}, {"admit": ("1",)}])
def test_settings_of_spans_are_refused_for_other_data(given, tmp_path):
    with pytest.raises(InputError, match=rf"^{next(iter(given))}: expected data in spans"):
        PipelineConfig(data_dir=tmp_path, **given)
