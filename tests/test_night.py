"""What a night does with new, refused and unreadable spans; the runs themselves are stand-ins."""

import dataclasses
import types
from pathlib import Path

import pytest

from components.errors import InputError
from components.example_gen.spans import Found, Span
from pipeline.config import PipelineConfig
from pipeline.nodes import Selection
from pipeline.run import night
from pipeline.run.decisions import Decision, Known
from pipeline.run.outcome import PASSED
from pipeline.run.uptake import NEW, SET_ASIDE, Plan
from pipeline.settings import Settings


@dataclasses.dataclass
class Taken:
    """Stands for a data set."""

    name: str
    span: Span
    unreadable: str = ""
    digest: str = ""
    class_names: tuple[str, ...] = ("x", "y")


class Nights:
    """Spans that are new or set aside, what a run of each ends with, and the runs that there were."""

    def __init__(self, new=(), aside=(), statuses=None, unreadable=(), outdated=False, passed=()):
        self.new, self.aside = list(new), list(aside)
        # What the gate let in, whatever the run behind it came to.
        spans = [Span(name=name, number=int(name), pattern="in/{SPAN}") for name in passed]
        self.decisions = tuple(
            Decision(run_id="r", verdict=PASSED, span=span, data={"digest": ""}, reasons=()) for span in spans
        )
        self.statuses, self.unreadable, self.outdated = statuses or {}, unreadable, outdated
        self.runs = []

    def plans(self, *_):
        def found(name):
            return Found(name=name, number=int(name), version=0, folder=Path(name))

        aside = [Plan(found=found(name), state=SET_ASIDE, why="refused by run r: too bright") for name in self.aside]
        span = {name: Span(name=name, number=int(name), pattern="in/{SPAN}") for name in self.new}
        return [*aside, *(Plan(found=found(name), state=NEW, span=span[name]) for name in self.new)]

    def read(self, _, plan, known):
        broken = plan.found.name in self.unreadable
        return Taken(plan.found.name, plan.span, "the header promises more" if broken else "")

    def run(self, settings, project, selection=None, *, dataset, log_format, labels):
        self.runs.append((dataset.span.name, str(selection) if selection else "whole"))
        status = self.statuses.get(dataset.span.name, 0)
        return status.pop(0) if isinstance(status, list) else status


@pytest.fixture
def play(monkeypatch, tmp_path):
    def start(**told):
        nights = Nights(**told)
        monkeypatch.setattr(night, "plan_uptake", nights.plans)
        monkeypatch.setattr(night, "read_span", nights.read)
        monkeypatch.setattr(night, "settle", lambda plan, dataset, known: plan)
        monkeypatch.setattr(night, "run_pipeline", nights.run)
        monkeypatch.setattr(night, "with_floors", lambda dataset: dataset)
        monkeypatch.setattr(night.Known, "of", lambda *_: Known(decisions=nights.decisions))
        monkeypatch.setattr(night._Night, "is_outdated", lambda self: nights.outdated)
        monkeypatch.setattr(night._Night, "train", lambda self: nights.runs.append(("train", "whole")) or 7)
        config = PipelineConfig(data_dir=tmp_path / "in-{SPAN}", output_root=tmp_path / "output")
        return night.run_night(Settings.of(config), tmp_path), nights.runs

    return start


GATE = "--to DataGate"


def test_the_last_of_new_spans_is_a_whole_run_and_the_others_end_at_the_gate(play):
    assert play(new="123") == (0, [("1", GATE), ("2", GATE), ("3", "whole")])


def test_a_refused_span_stops_nobody(play):
    assert play(new="123", statuses={"1": 3}) == (0, [("1", GATE), ("2", GATE), ("3", "whole")])


def test_a_shard_that_was_damaged_behind_the_gate_sets_no_span_aside(play):
    assert play(new="12", statuses={"2": 3}, passed="12") == (3, [("1", GATE), ("2", "whole")])


def test_where_the_last_one_is_refused_what_was_let_in_is_trained_on(play):
    assert play(new="123", statuses={"3": 3}) == (7, [("1", GATE), ("2", GATE), ("3", "whole"), ("train", "whole")])


def test_where_all_are_refused_nothing_is_trained_and_the_status_tells(play):
    assert play(new="12", statuses={"1": 3, "2": 3}) == (3, [("1", GATE), ("2", "whole")])


def test_where_all_are_refused_a_training_that_was_killed_before_is_made_up_for(play):
    assert play(new="1", statuses={"1": 3}, outdated=True) == (7, [("1", "whole"), ("train", "whole")])


def test_a_span_that_cannot_be_read_is_told_by_a_run_and_stops_nobody(play):
    assert play(new="12", statuses={"1": 2}, unreadable="1") == (0, [("1", GATE), ("2", "whole")])
    assert play(new="12", statuses={"2": 2}, unreadable="2") == (7, [("1", GATE), ("2", GATE), ("train", "whole")])
    assert play(new="1", statuses={"1": 2}, unreadable="1") == (2, [("1", GATE)])


def test_a_run_that_fails_for_another_reason_ends_the_night_with_its_status(play):
    assert play(new="123", statuses={"2": 1}) == (1, [("1", GATE), ("2", GATE)])
    # A full disk, for one: it is not the span's fault.
    assert play(new="123", statuses={"1": 2}) == (2, [("1", GATE)])
    assert play(new="1", statuses={"1": 4}) == (4, [("1", "whole")])


def test_nothing_new_is_told_with_what_is_set_aside_and_ends_with_0(play, capsys):
    assert play(aside="4") == (0, [])
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("nothing new at ")
    assert out[1] == "set aside: span 4, refused by run r: too bright"


def test_without_new_data_other_settings_are_a_reason_to_train(play):
    assert play(aside="4", outdated=True) == (7, [("train", "whole")])


def test_a_part_of_the_dag_needs_a_node_to_begin_with(tmp_path):
    config = PipelineConfig(data_dir=tmp_path / "in-{SPAN}", output_root=tmp_path / "output")
    with pytest.raises(InputError, match=r"--to Trainer: expected a node to begin with"):
        night.run_night(Settings.of(config), tmp_path, Selection(to_node="Trainer"))


@pytest.fixture
def trainable(monkeypatch, tmp_path):
    """Spans 1 (in the versions 1 and 2) and 2 that lie there, all let in but the second version; each run is noted."""
    for name in ("in-1v1", "in-1v2", "in-2v1"):
        (tmp_path / name).mkdir()
    config = PipelineConfig(data_dir=tmp_path / "in-{SPAN}v{VERSION}", output_root=tmp_path / "output")
    settings, runs, data = Settings.of(config), [], {"digest": "a", "class_names": ["x", "y"]}

    def decision(run, number):
        span = Span(name=str(number), number=number, version=1, pattern="", form=night.form_of(config))
        return Decision(run_id=str(run), verdict=PASSED, span=span, data=data, reasons=(), number=run)

    def start(decisions=((5, 1), (6, 2)), trained=None, **changed):
        before = {
            "settings": settings.as_dict(),
            "code": {"digest": "c"},
            "window": [{"number": 1, "version": 1}, {"number": 2, "version": 1}],
        }
        known = Known(
            decisions=tuple(decision(*told) for told in decisions),
            alive=frozenset((number, 1) for _, number in decisions),
            trained=trained and types.SimpleNamespace(number=trained, properties=before),
        )
        monkeypatch.setattr(night.Known, "of", lambda *_: known)
        given = Settings.of(dataclasses.replace(config, **changed))
        return night._Night(given, tmp_path, "text", None)

    def read(_, plan, known):
        digest = start.digests.get(plan.found.name, "a")
        return Taken(plan.found.folder.name, plan.span, digest=digest, class_names=start.class_names)

    def run(settings, project, selection=None, *, dataset, **_):
        runs.append(dataset.span.name)
        start.admitted = dataset.span.admitted
        return 0

    start.digests, start.runs, start.class_names = {}, runs, ("x", "y")
    monkeypatch.setattr(night, "read_span", read)
    monkeypatch.setattr(night, "run_pipeline", run)
    monkeypatch.setattr(night, "with_floors", lambda dataset: dataset)
    monkeypatch.setattr(night, "describe_code", lambda: {"digest": "c"})
    return start


def test_a_training_begins_with_the_span_that_was_let_in_last(trainable):
    assert trainable().train() == 0
    assert trainable(decisions=((6, 2), (7, 1))).train() == 0
    # A second version that was refused keeps nobody from the first.
    assert trainable.runs == ["2", "1"]


def test_a_training_never_begins_with_what_took_the_place_of_a_span_since(trainable):
    """What was admitted by name would be let in with any content."""
    trainable.digests["2"] = "b"
    trainable().train()
    assert trainable.runs == ["1"]
    trainable.digests["1"] = "b"
    with pytest.raises(InputError, match="found none of them as it was"):
        trainable().train()


@pytest.mark.parametrize("changed", ["nothing", "the gate", "the classes"])
def test_what_is_in_is_not_refused_when_it_is_trained_on_again(trainable, changed):
    """By stricter settings, by the gate's own code, or because classes came since and it is made anew."""
    trainable.class_names = ("x", "y", "z") if changed == "the classes" else ("x", "y")
    trainable(trained=6, gate_severity="warning" if changed == "the gate" else "error").train()
    assert (trainable.runs, trainable.admitted) == (["2"], "before")


def test_a_training_that_was_killed_on_corrected_content_is_due(trainable):
    assert not trainable(trained=6).is_outdated()
    # Number and version are the same.
    assert trainable(decisions=((5, 1), (6, 2), (7, 2)), trained=6).is_outdated()


def test_without_the_cache_a_training_is_always_due(trainable):
    assert trainable(trained=6, enable_cache=False).is_outdated()
