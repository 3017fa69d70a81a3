"""What is known of the spans of a pattern, and what is to be done with those that are there.

All of it follows from the runs: each took up one span, and its record says what became of it. A span is known by its
number, version and content, and by the form in which it became examples (settings of images and splits, code); what is
not known in this form is taken up, what the gate refused is set aside until it changes or is admitted by name.

Synopsis:

    known = Known.of(root, "incoming")                                  # published as
    pattern = SpanPattern(str(data / "span-{SPAN}"))
    pattern.found() and plan_uptake(config, pattern, known)             # each "in", "set aside" or "new"
"""

import dataclasses
import hashlib
import json
from pathlib import Path

from components.errors import InputError
from components.example_gen.classes import Classes
from components.example_gen.dataset import Dataset, Earlier, inspect_dataset, unreadable_span
from components.example_gen.signature import signature
from components.example_gen.spans import Found, Span, SpanPattern
from components.properties import SPAN_NUMBER, SPAN_VERSION
from pipeline.config import PipelineConfig
from pipeline.metadata.store import Run, Store
from pipeline.nodes import NODES
from pipeline.output_root import OutputRoot
from pipeline.run.code_digest import code_digest
from pipeline.run.data import image_settings
from pipeline.run.outcome import PASSED, REFUSED

IN, SET_ASIDE, NEW = "in", "set aside", "new"
UNREADABLE = "unreadable"
BY_NAME, BEFORE = "by name", "before"
# What makes examples of images; the rest of the settings is another node's.
_OF_EXAMPLES = (
    "seed",
    "image_size",
    "image_channels",
    "image_fit",
    "broken_images",
    "split_sizes",
    "split_limits",
    "shards",
    "stratified",
    "image_encoding",
    "compression",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """What a run decided of a span: "passed", "refused" or "unreadable", and what it knew of it."""

    run_id: str
    verdict: str
    span: Span
    data: dict
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done with a span: it is in, or set aside for some reasons, or new.

    Attributes:
      found: the span in the file system.
      state: "in", "set aside" or "new".
      why: of one that is set aside, by which run and for what.
      span: of a new one, how it is taken up.
    """

    found: Found
    state: str
    why: str = ""
    span: Span | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """What earlier runs decided, the latest last; which spans are in; and the last run that trained on them.

    Attributes:
      decisions: of all spans.
      alive: (number, version) of the spans whose examples are there.
      trained: the latest run that ended on its own with a model, blessed or not; None where there is none.
    """

    decisions: tuple[Decision, ...] = ()
    alive: frozenset[tuple[int, int]] = frozenset()
    trained: Run | None = None

    @classmethod
    def of(cls, root: OutputRoot, name: str) -> "Known":
        """Returns what the runs in an output root know of the spans that are published as `name`."""
        if not root.metadata.exists():
            return cls()
        store = Store(root.metadata)
        runs = [
            run for run in store.runs() if run.properties.get("published_as") == name and run.properties.get("span")
        ]
        versions = store.property_of_all("Artifact", SPAN_VERSION)
        alive = {
            (number, versions[artifact])
            for artifact, number in store.property_of_all("Artifact", SPAN_NUMBER).items()
            if store.artifacts[artifact].type == "Examples"
            and store.artifacts[artifact].state == "live"
            and Path(store.artifacts[artifact].uri).exists()
        }
        trained = [run for run in runs if run.properties.get("window")]
        ended = [run for run in trained if run.properties["state"] in ("done", "not blessed")]
        return cls(
            decisions=tuple(found for run in runs if (found := _decision(run)) is not None),
            alive=frozenset(alive),
            trained=store.whole(ended[-1]) if ended else None,
        )

    def versions_in(self) -> dict[int, int]:
        """Returns the version of each span that is in, by its number."""
        found: dict[int, int] = {}
        for decision in self.decisions:
            key = decision.span.number, decision.span.version
            if decision.verdict == PASSED and key in self.alive:
                found[key[0]] = max(key[1], found.get(key[0], 0))
        return dict(sorted(found.items()))

    def earlier(self, form: str) -> Earlier | None:
        """Returns what the spans that are in have in common, in a form; None where there are none."""
        data = [found.data for found in self.decisions if found.verdict == PASSED and found.span.form == form]
        if not data:
            return None
        most = max(data, key=lambda kept: len(kept["class_names"]))
        classes = Classes(names=tuple(most["class_names"]), values=tuple(most["class_values"]))
        return Earlier(image_shape=tuple(most["image_shape"]), classes=classes)


def form_of(config: PipelineConfig) -> str:
    """Returns a digest of all that decides what examples are made of images, but for the images."""
    values = [getattr(config, name) for name in _OF_EXAMPLES]
    told = json.dumps([*values, code_digest(*NODES["ExampleGen"].modules)], default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def plan_uptake(config: PipelineConfig, pattern: SpanPattern, known: Known) -> list[Plan]:
    """Returns what is to be done with each span that is there and concerns the window, by their numbers.

    Raises:
      InputError: there are no spans, the one that is expected is missing, or one that is admitted.
    """
    found = pattern.found()
    if config.span is not None:
        last = pattern.number(config.span)
        if last not in {span.number for span in found}:
            latest = f", the latest is {found[-1].name}" if found else ""
            raise InputError(
                f"span {config.span}: expected it at {pattern.text}, found none{latest}. Wait for it, or leave --span "
                "out to go on with what is there."
            )
        found = [span for span in found if span.number <= last]
    if not found and not known.versions_in():
        raise InputError(
            f"--data-dir {pattern.text}: expected spans, {pattern.nothing_found()}. Mend the pattern, or wait for them."
        )
    admitted = {pattern.number(name) for name in config.admit}
    if missing := admitted - {span.number for span in found}:
        names = ", ".join(name for name in config.admit if pattern.number(name) in missing)
        raise InputError(f"--admit {names}: expected spans that are there, found none at {pattern.text}.")
    form = form_of(config)
    plans = [_plan(span, pattern, known, form, span.number in admitted) for span in found]
    if config.window is None:
        return plans
    # What is set aside takes no place in the window.
    counted = [plan for plan in plans if plan.state != SET_ASIDE][-config.window :]
    first = counted[0].found.number if counted else 0
    return [plan for plan in plans if plan.found.number >= first]


def read_span(config: PipelineConfig, plan: Plan, known: Known) -> Dataset:
    """Returns the data set that a span is; one whose files cannot be used says why."""
    earlier = known.earlier(plan.span.form)
    try:
        return inspect_dataset(plan.found.folder, image_settings(config), span=plan.span, earlier=earlier)
    except InputError as error:
        return unreadable_span(plan.found.folder, plan.span, earlier, error)


def settle(plan: Plan, dataset: Dataset, known: Known) -> Plan:
    """Returns the plan for a span once its content is known: one that was only moved or copied is not new."""
    same = [
        found
        for found in known.decisions
        if (found.span.number, found.span.version) == (plan.span.number, plan.span.version)
        and found.data["digest"] == dataset.digest
    ]
    own = [found for found in same if found.span.form == plan.span.form]
    if own and plan.span.admitted != BY_NAME and own[-1].verdict != UNREADABLE:
        if own[-1].verdict == PASSED and (plan.span.number, plan.span.version) in known.alive:
            return dataclasses.replace(plan, state=IN, span=None)
        if own[-1].verdict == REFUSED:
            return dataclasses.replace(plan, state=SET_ASIDE, why=_why(own[-1]), span=None)
    if any(found.verdict == PASSED for found in same) and not plan.span.admitted:
        # What was let in stays in when only its form changes.
        return dataclasses.replace(plan, span=dataclasses.replace(plan.span, admitted=BEFORE))
    return plan


def _plan(found: Found, pattern: SpanPattern, known: Known, form: str, admitted: bool) -> Plan:
    try:
        signed = signature(found.folder)
    except InputError as error:
        signed = f"unreadable: {error}"
    span = Span(
        name=found.name,
        number=found.number,
        version=found.version,
        pattern=pattern.text,
        signature=signed,
        form=form,
        admitted=BY_NAME if admitted else "",
    )
    same = [
        decision
        for decision in known.decisions
        if (decision.span.number, decision.span.version) == (found.number, found.version)
        and (decision.span.signature, decision.span.form) == (signed, form)
    ]
    if same and same[-1].verdict == PASSED and (found.number, found.version) in known.alive:
        return Plan(found=found, state=IN)
    if same and same[-1].verdict != PASSED and not (admitted and same[-1].verdict == REFUSED):
        return Plan(found=found, state=SET_ASIDE, why=_why(same[-1]))
    return Plan(found=found, state=NEW, span=span)


def _decision(run: Run) -> Decision | None:
    """Returns what a run decided of its span; None where it ended before."""
    kept = run.properties
    failure = kept.get("failure") or {}
    verdict = kept.get("data_gate")
    if verdict == REFUSED:
        reasons = failure.get("message", "").splitlines()[1:]
    elif verdict == PASSED:
        reasons = []
    elif kept.get("data", {}).get("unreadable") and failure.get("node") == "ExampleGen":
        verdict, reasons = UNREADABLE, [failure.get("message", "")]
    else:
        return None
    fields = {field.name for field in dataclasses.fields(Span)}
    span = Span(**{name: value for name, value in kept["span"].items() if name in fields})
    return Decision(run_id=run.id, verdict=verdict, span=span, data=kept["data"], reasons=tuple(reasons))


def _why(decision: Decision) -> str:
    first = decision.reasons[0] if decision.reasons else ""
    more = f" (and {len(decision.reasons) - 1} more)" if len(decision.reasons) > 1 else ""
    return f"{decision.verdict} by run {decision.run_id}: {first}{more}"
