"""What earlier runs decided of the spans of a pattern: each took up one, and its record says what became of it.

Synopsis:

    known = Known.of(root, "incoming")                  # published as
    known.spans_in("a form"), known.earlier("a form")   # which are in; what a new one must have in common with them
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from components.example_gen.classes import Classes
from components.example_gen.dataset import Earlier
from components.example_gen.spans import Span
from components.properties import SPAN_NUMBER, SPAN_VERSION
from pipeline.metadata.store import Run, Store
from pipeline.output_root import OutputRoot
from pipeline.run.outcome import PASSED, REFUSED

UNREADABLE = "unreadable"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """What a run decided of a span: "passed", "refused" or "unreadable", and what it knew of it.

    Attributes:
      number: of the run among all, in their order.
      stored: encoding and compression of the examples.
    """

    run_id: str
    verdict: str
    span: Span
    data: dict
    reasons: tuple[str, ...]
    number: int = 0
    stored: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[int, int]:
        """Number and version of the span."""
        return self.span.number, self.span.version

    @property
    def made_of(self) -> tuple[str, str]:
        """What decides the examples of the span: its content, and the form in which it became them."""
        return self.data["digest"], self.span.form

    def is_stored_like(self, other: "Decision") -> bool:
        """Whether the examples of both can be read together, as components/span_window/choosing.py asks."""
        same = ("image_shape", "image_fit")
        return self.stored == other.stored and all(self.data.get(name) == other.data.get(name) for name in same)


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
        versions, own = store.property_of_all("Artifact", SPAN_VERSION), {run.id for run in runs}
        alive = {
            (number, versions[artifact])
            for artifact, number in store.property_of_all("Artifact", SPAN_NUMBER).items()
            if store.artifacts[artifact].type == "Examples"
            and artifact in store.producers
            and store.executions[store.producers[artifact]].run in own
            and store.artifacts[artifact].state == "live"
            and Path(store.artifacts[artifact].uri).exists()
        }
        # Of the run that ends before the Evaluator nothing is known but its window.
        trained = [run for run in runs if run.properties.get("window") and "blessed" in run.properties]
        ended = [run for run in trained if run.properties["state"] in ("done", "not blessed")]
        return cls(
            decisions=tuple(found for run in runs if (found := _decision(run)) is not None),
            alive=frozenset(alive),
            trained=store.whole(ended[-1]) if ended else None,
        )

    def spans_in(self, form: str) -> dict[int, Decision]:
        """Returns what let in each span that is in, by its number.

        Where some are in a form, those that are stored otherwise are none that they can be trained on with.
        """
        found = _latest(decision for decision in self.decisions if decision.key in self.alive)
        own = [decision for decision in found.values() if decision.span.form == form]
        if own:
            latest = max(own, key=lambda decision: decision.number)
            found = {number: decision for number, decision in found.items() if decision.is_stored_like(latest)}
        return found

    def is_in(self, decision: Decision) -> bool:
        """Whether a decision is what let in a span that is there; none let in other content, or form, behind it."""
        passed = [found for found in self.decisions if found.key == decision.key and found.verdict == PASSED]
        last = passed[-1].made_of if passed else None
        return decision.verdict == PASSED and decision.key in self.alive and decision.made_of == last

    def earlier(self, form: str, number: int | None = None) -> Earlier | None:
        """Returns what the spans that passed have in common; None where there are none.

        Args:
          form: in which their images have to have one shape; classes keep their numbers in all forms.
          number: of a span that is read again, whose own shape does not count.
        """
        passed = [found.data for found in self.decisions if found.verdict == PASSED]
        if not passed:
            return None
        most = max(passed, key=lambda kept: len(kept["class_names"]))
        own = _latest(found for found in self.decisions if found.span.form == form and found.span.number != number)
        shaped = max(own.values(), key=lambda found: found.number, default=None)
        return Earlier(
            image_shape=tuple(shaped.data["image_shape"]) if shaped else None,
            classes=Classes(names=tuple(most["class_names"]), values=tuple(most["class_values"])),
        )


def _latest(decisions: Iterable[Decision]) -> dict[int, Decision]:
    """Returns of each span the last decision that let in its highest version, by its number."""
    found: dict[int, Decision] = {}
    for decision in decisions:
        number, version = decision.key
        if decision.verdict == PASSED and (number not in found or version >= found[number].span.version):
            found[number] = decision
    return dict(sorted(found.items()))


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
    settings = kept["settings"]
    return Decision(
        run_id=run.id,
        verdict=verdict,
        span=span,
        data=kept["data"],
        reasons=tuple(reasons),
        number=run.number,
        stored=(settings["image_encoding"], settings["compression"]),
    )
