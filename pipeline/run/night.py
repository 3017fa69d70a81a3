"""Runs the pipeline on data that arrive in spans: takes up what is new, and trains on the window, if anything changed.

Each new span is taken up by a run of its own, up to the gate; the last one is a whole run, which trains. So what a run
is stays what it was, and a span that is refused or cannot be read is a run that says so and stops nobody.

Synopsis:

    tell_night(settings, Path("."))      # 0; what `run_night` would do, of data in spans
"""

import dataclasses
import functools
import json
from pathlib import Path

from components.errors import InputError
from components.example_gen.dataset import Dataset
from components.example_gen.spans import BEFORE, SpanPattern
from pipeline.nodes import Selection
from pipeline.output_root import OutputRoot
from pipeline.run.aftermath import followed_up
from pipeline.run.console import event_line, say
from pipeline.run.data import name_spans, published_as, with_floors
from pipeline.run.decisions import Decision, Known
from pipeline.run.outcome import PASSED
from pipeline.run.provenance import describe_code
from pipeline.run.run import check, run_pipeline
from pipeline.run.uptake import NEW, SET_ASIDE, Plan, form_of, plan_uptake, read_span, settle
from pipeline.settings import OF_THIS_RUN, Settings

_UNREADABLE, _REFUSED = 2, 3
_GATE = "DataGate"
# What of the settings decides no result.
_INDIFFERENT = (*OF_THIS_RUN, "admit", "span", "kept_runs")


@followed_up
def run_night(
    settings: Settings,
    project: Path,
    selection: Selection | None = None,
    *,
    log_format: str = "text",
    labels: dict | None = None,
) -> int:
    """Takes up what is new and trains on the window; returns the exit status.

    That is the status of the run that trained; where none did, that of the last span that was refused (3) or could not
    be read (2); 0 where nothing is new.

    Args:
      settings: what is in force; `data_dir` is a pattern.
      project: its folder.
      selection: nothing; a part of the DAG begins with a node, and stands on a run.
      log_format: "text" or "json", of what is told meanwhile.
      labels: `note` and `tags` of each run.

    Raises:
      InputError: a part of the DAG is asked for; settings, pattern or output root cannot be used, or the span that is
        expected is missing.
    """
    night = _begin(settings, project, selection, log_format, labels)
    new, aside = night.look()
    status = night.take_up(new) if new else 0
    if status is None or (not new and night.is_outdated()):
        return night.train()
    if not new:
        night.tell(aside)
    return status


def tell_night(
    settings: Settings, project: Path, selection: Selection | None = None, *, log_format: str = "text"
) -> int:
    """Prints what a night would do and changes nothing; returns the exit status 0. Arguments and errors as above."""
    night = _begin(settings, project, selection, log_format, None)
    night.tell_plan(*night.look())
    return 0


def _begin(
    settings: Settings, project: Path, selection: Selection | None, log_format: str, labels: dict | None
) -> "_Night":
    check(settings)
    if selection:
        raise InputError(
            f"{selection}: expected a node to begin with, --from or --only: of data in spans, what a night does "
            "follows from what is new. Leave it out."
        )
    return _Night(settings, project, log_format, labels)


@dataclasses.dataclass(frozen=True)
class _Night:
    """One night: settings, project and the format of what is told."""

    settings: Settings
    project: Path
    log_format: str
    labels: dict | None

    @functools.cached_property
    def root(self) -> OutputRoot:
        return OutputRoot(self.settings.config.output_root)

    @functools.cached_property
    def pattern(self) -> SpanPattern:
        return SpanPattern.of(self.settings.config.data_dir)

    @functools.cached_property
    def name(self) -> str:
        return name_spans(self.settings.config, self.pattern, self.root)

    def known(self) -> Known:
        """Returns what is known by now."""
        return Known.of(self.root, published_as(self.settings.config, self.name))

    def _spans_in(self, known: Known) -> dict[int, Decision]:
        return known.spans_in(form_of(self.settings.config))

    def look(self) -> tuple[list[tuple[Plan, Dataset]], list[Plan]]:
        """Returns the spans that are new, with what they hold, and those that are set aside."""
        known, new, aside = self.known(), [], []
        for plan in plan_uptake(self.settings.config, self.pattern, known):
            if plan.state == NEW:
                dataset = read_span(self.settings.config, plan, known)
                plan = settle(plan, dataset, known)
                if plan.state == NEW:
                    new.append((plan, dataclasses.replace(dataset, span=plan.span)))
            if plan.state == SET_ASIDE:
                aside.append(plan)
        return new, aside

    def take_up(self, new: list[tuple[Plan, Dataset]]) -> int | None:
        """Takes up spans, the last one by a whole run.

        Returns:
          The exit status of the last run, None where that was no whole one, but a training is due.
        """
        status, let_in = 0, False
        for number, (plan, dataset) in enumerate(new):
            if number:
                # Read anew: the span before may have brought a class.
                dataset = read_span(self.settings.config, plan, self.known())
            whole = number == len(new) - 1 and not dataset.unreadable
            status = self._run(dataset, None if whole else Selection(to_node=_GATE))
            refused = status == _REFUSED and not self._passed(dataset)
            aside = refused or (dataset.unreadable and status == _UNREADABLE)
            if status != 0 and not aside:
                return status
            let_in |= not aside
            if whole and not aside:
                return status
        # Also where all are refused, but a kill, or other settings, left a training due.
        return None if let_in or self.is_outdated() else status

    def _passed(self, dataset: Dataset) -> bool:
        """Whether the gate let a span in as it is taken up, in a run that a damaged shard ended behind it."""
        found = [found for found in self.known().decisions if found.span == dataset.span]
        return [(last.verdict, last.data["digest"]) for last in found[-1:]] == [(PASSED, dataset.digest)]

    def is_outdated(self) -> bool:
        """Whether the last training was on other spans, with other settings or by other code; False without spans.

        So it is where a span was let in behind it: with other content in the place of that which it was on, for one.
        """
        known, config = self.known(), self.settings.config
        last = None if config.span is None else self.pattern.number(config.span)
        spans = [found for number, found in self._spans_in(known).items() if last is None or number <= last]
        spans = spans[-config.window :] if config.window else spans
        if not spans or known.trained is None or not config.enable_cache:
            return bool(spans)
        before = known.trained.properties
        settings = (_decisive(found) for found in (before["settings"], self.settings.as_dict()))
        return (
            [(span["number"], span["version"]) for span in before["window"]] != [found.key for found in spans]
            or max(found.number for found in spans) > known.trained.number
            or len({json.dumps(found, sort_keys=True) for found in settings}) > 1
            or before["code"]["digest"] != describe_code()["digest"]
        )

    def train(self) -> int:
        """Trains on the window by a whole run on the span that was let in last and is still there as it was."""
        known, there = self.known(), self.pattern.versions()
        for decision in sorted(self._spans_in(known).values(), key=lambda found: found.number, reverse=True):
            if decision.key not in there:
                continue
            # As it was taken up, so that what was made of it, but for the gate's word, comes from the cache.
            dataset = read_span(
                self.settings.config, Plan(found=there[decision.key], state=NEW, span=decision.span), known
            )
            if dataset.digest != decision.data["digest"]:
                continue
            # It was let in, whatever is found by a gate that is stricter by now, or with classes that came since.
            span = dataclasses.replace(decision.span, admitted=decision.span.admitted or BEFORE)
            return self._run(dataclasses.replace(dataset, span=span))
        raise InputError(
            f"--data-dir {self.pattern.text}: expected one of the spans that are trained on, found none of them as "
            "it was. Put the latest one back: a whole run begins with it."
        )

    def tell(self, aside: list[Plan]) -> None:
        """Tells that nothing is new, and what is set aside."""
        latest = max(self._spans_in(self.known()), default=None)
        told = f"nothing new at {self.pattern.text}"
        if latest is not None:
            told += f"; the latest span is {self.pattern.name(latest)}"
        self._print([told], aside)
        if self.log_format == "json":
            say(event_line("result", state="nothing new", exit_status=0))

    def tell_plan(self, new: list[tuple[Plan, Dataset]], aside: list[Plan]) -> None:
        """Tells what would be taken up, and whether a training would follow."""
        self._print([f"would take up span {plan.found.name} in {plan.found.folder}" for plan, _ in new], aside)
        would = "would train" if new or self.is_outdated() else "would do nothing: nothing is new"
        self._print([would], [])

    def _print(self, lines: list[str], aside: list[Plan]) -> None:
        lines = [*lines, *(f"set aside: span {plan.found.name}, {plan.why}" for plan in aside)]
        for line in lines:
            say(line if self.log_format == "text" else event_line("line", text=line))

    def _run(self, dataset: Dataset, selection: Selection | None = None) -> int:
        named = with_floors(dataclasses.replace(dataset, name=self.name))
        told = {"log_format": self.log_format, "labels": self.labels}
        return run_pipeline(self.settings, self.project, selection, dataset=named, **told)


def _decisive(settings: dict) -> dict:
    return {name: value for name, value in settings.items() if name not in _INDIFFERENT}
