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

from components.errors import InputError, disk_told
from components.example_gen.dataset import NO_SHAPE, Dataset, folders_beside, inspect_dataset, unreadable_span
from components.example_gen.signature import signature
from components.example_gen.spans import BEFORE, BY_NAME, Found, Span, SpanPattern
from components.example_gen.splits import plan_splits
from pipeline.config import PipelineConfig
from pipeline.nodes import NODES
from pipeline.run.code_digest import code_digest
from pipeline.run.data import image_settings
from pipeline.run.decisions import UNREADABLE, Decision, Known
from pipeline.run.outcome import PASSED, REFUSED

IN, SET_ASIDE, NEW = "in", "set aside", "new"
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
class Plan:
    """What is to be done with a span: it is in, or set aside for some reasons, or new.

    Attributes:
      found: the span in the file system.
      state: "in", "set aside" or "new".
      why: of one that is set aside, by which run and for what.
      span: of a new one, how it is taken up.
      to_admit: whether it was refused as it is, and is now admitted by name.
    """

    found: Found
    state: str
    why: str = ""
    span: Span | None = None
    to_admit: bool = False


def form_of(config: PipelineConfig) -> str:
    """Returns a digest of all that decides what examples are made of images, but for the images."""
    values = [getattr(config, name) for name in _OF_EXAMPLES]
    told = json.dumps([*values, code_digest(*NODES["ExampleGen"].modules)], default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def judged_by(config: PipelineConfig, folder: Path, span: Span) -> str:
    """Returns a digest of what a span is judged by beside its images: the gate's settings, and the files for all."""
    told = [config.gate_severity, config.duplicate_tolerance, dataclasses.asdict(config.gate)]
    for beside in folders_beside(folder, span):
        for name in ("classes.txt", "schema.pbtxt"):
            try:
                told.append(hashlib.sha256((beside / name).read_bytes()).hexdigest())
            except OSError:
                told.append("")
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


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
    form = form_of(config)
    there = known.spans_in(form)
    if not found and not there:
        raise InputError(
            f"--data-dir {pattern.text}: expected spans, {pattern.nothing_found()}. Mend the pattern, or wait for them."
        )
    admitted = {pattern.number(name) for name in config.admit}
    if missing := admitted - {span.number for span in found}:
        names = ", ".join(name for name in config.admit if pattern.number(name) in missing)
        raise InputError(f"--admit {names}: expected spans that are there, found none at {pattern.text}.")
    plans = [_plan(config, span, pattern, known, form, span.number in admitted) for span in found]
    if config.window is None:
        return plans
    # What is set aside takes no place in the window, unless it is in as it was before, or its files are gone.
    numbers = {plan.found.number for plan in plans if plan.state != SET_ASIDE}
    numbers |= {number for number in there if config.span is None or number <= last}
    first = min(sorted(numbers)[-config.window :], default=0)
    if late := [plan.found.name for plan in plans if plan.found.number < first and plan.to_admit]:
        raise InputError(
            f"--admit {late[0]}: expected a span of the window of {config.window}, which begins with "
            f"{pattern.name(first)}, found one before it. Widen it with --window, or leave it out."
        )
    return [plan for plan in plans if plan.found.number >= first]


def read_span(config: PipelineConfig, plan: Plan, known: Known) -> Dataset:
    """Returns the data set that a span is; one whose files cannot be used says why."""
    earlier = known.earlier(plan.span.form, plan.span.number)
    try:
        with disk_told():
            dataset = inspect_dataset(plan.found.folder, image_settings(config), span=plan.span, earlier=earlier)
        plan_splits(dataset.counts, config.split_sizes, config.split_limits)
        return dataset
    except InputError as error:
        return unreadable_span(plan.found.folder, plan.span, earlier, error)


def settle(plan: Plan, dataset: Dataset, known: Known) -> Plan:
    """Returns the plan for a span once its content is known: one that was only moved or copied is not new."""
    of_span = [found for found in known.decisions if found.key == (plan.span.number, plan.span.version)]
    same = [found for found in of_span if found.data["digest"] == dataset.digest]
    own = [found for found in same if found.span.form == plan.span.form]
    if own and plan.span.admitted != BY_NAME and own[-1].verdict != UNREADABLE:
        if known.is_in(own[-1]):
            return dataclasses.replace(plan, state=IN, span=None)
        if own[-1].verdict == REFUSED and own[-1].span.judged == plan.span.judged:
            return dataclasses.replace(plan, state=SET_ASIDE, why=_why(own[-1]), span=None)
    passed = [found.made_of for found in of_span if found.verdict == PASSED]
    admitted = plan.span.admitted
    if any(found.verdict == PASSED for found in same) and not admitted:
        # What was let in stays in when only its form changes.
        admitted = BEFORE
    changes = len(passed) if {*passed} - {(dataset.digest, plan.span.form)} else 0
    return dataclasses.replace(plan, span=dataclasses.replace(plan.span, admitted=admitted, changes=changes))


def _plan(config: PipelineConfig, found: Found, pattern: SpanPattern, known: Known, form: str, admitted: bool) -> Plan:
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
    span = dataclasses.replace(span, judged=judged_by(config, found.folder, span))
    same = [
        decision
        for decision in known.decisions
        if decision.key == (found.number, found.version)
        and (decision.span.signature, decision.span.form) == (signed, form)
    ]
    if not same:
        return Plan(found=found, state=NEW, span=span)
    decision = same[-1]
    if known.is_in(decision):
        return Plan(found=found, state=IN)
    by_now = decision.span.judged == span.judged
    if decision.verdict == REFUSED and by_now and not admitted:
        return Plan(found=found, state=SET_ASIDE, why=_why(decision))
    if decision.verdict == UNREADABLE and by_now and _is_expected_as_before(decision, known):
        return Plan(found=found, state=SET_ASIDE, why=_why(decision))
    return Plan(found=found, state=NEW, span=span, to_admit=admitted and decision.verdict == REFUSED)


def _is_expected_as_before(decision: Decision, known: Known) -> bool:
    """Whether what a span that could not be read has to be like is what it was then."""
    earlier = known.earlier(decision.span.form, decision.span.number)
    shape = earlier.image_shape if earlier else None
    return list(decision.data.get("image_shape", ())) == list(shape or NO_SHAPE)


def _why(decision: Decision) -> str:
    first = decision.reasons[0] if decision.reasons else ""
    more = f" (and {len(decision.reasons) - 1} more)" if len(decision.reasons) > 1 else ""
    return f"{decision.verdict} by run {decision.run_id}: {first}{more}"
