"""Chooses spans: those that a new one is compared with, and the window that a model is trained on. Two resolvers.

A span is in if the gate let it in, by the blessing of its examples; of several corrections, and of examples of several
runs, the latest count. What was asked for a span once is answered in the same way later, so that the cache keeps what
was made of it: only what was there before its own blessing is looked at.

Synopsis:

    chosen = WindowOfSpans(window=7).resolve_artifacts(None, {"candidate": [artifact]})
    chosen["examples"]      # [] without a span that is in
"""

import json
import math
import operator
from collections.abc import Iterable

from tfx import types
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio

from components.artifacts import custom_properties
from components.latest_blessed import CANDIDATE, MODEL_ID, PUSHED, order_of_push
from components.properties import EXAMPLES_ID, SPAN_NUMBER, SPAN_VERSION

EXAMPLES, STATISTICS, BLESSING, MODEL, OWN = "examples", "statistics", "blessing", "model", "own"
# Of a blessing: the statistics that it is of.
STATISTICS_ID = "current_statistics_id"
_Artifacts = dict[str, list[types.Artifact]]
# What examples that are read together have in common, beside the first of their classes.
_FORM = ("image_shape", "image_fit", "encoding", "compression")
_CLASSES = ("class_names", "class_values")


class EarlierSpans(resolver.ResolverStrategy):
    """Resolver strategy over `blessing`, `own`, `model`, `pushed` and `candidate`, the examples of the new span.

    Attributes:
      window: how many of the latest spans are looked at, 0 for all.
    """

    def __init__(self, window: int = 0) -> None:
        self._window = window

    def resolve_artifacts(self, store: object, input_dict: _Artifacts) -> _Artifacts:
        """Returns the blessings of the other spans that were in before, and the model that was served then.

        As `own` comes the blessing of what was in in its place, if anything was: the model may have seen it.
        """
        (candidate,) = input_dict[CANDIDATE]
        number = candidate.get_int_custom_property(SPAN_NUMBER)
        blessed = list(_blessed(input_dict.get(BLESSING, [])))
        own = [found.id for found in blessed if found.get_int_custom_property(EXAMPLES_ID) == candidate.id]
        before = min(own, default=math.inf)
        latest = _latest(found for found in blessed if found.id < before and fileio.exists(found.uri))
        earlier = [found for found in latest if found.get_int_custom_property(SPAN_NUMBER) != number][-self._window :]
        models = {found.id: found for found in input_dict.get(MODEL, []) if fileio.exists(found.uri)}
        pushed = [
            found
            for found in input_dict.get(PUSHED, [])
            if found.id < before
            and found.get_int_custom_property("pushed") == 1
            and found.get_int_custom_property(MODEL_ID) in models
        ]
        served = max(pushed, key=order_of_push, default=None)
        return {
            BLESSING: earlier,
            OWN: [found for found in latest if found.get_int_custom_property(SPAN_NUMBER) == number],
            MODEL: [models[served.get_int_custom_property(MODEL_ID)]] if served else [],
            PUSHED: [],
            CANDIDATE: input_dict[CANDIDATE],
        }


class WindowOfSpans(resolver.ResolverStrategy):
    """Resolver strategy over `examples`, `statistics`, `blessing` and `candidate`, the examples of this run.

    Attributes:
      window: how many spans, 0 for all.
      last: the number of the last one, -1 for any.
    """

    def __init__(self, window: int = 0, last: int = -1) -> None:
        self._window, self._last = window, last

    def resolve_artifacts(self, store: object, input_dict: _Artifacts) -> _Artifacts:
        """Returns the examples and the statistics of the latest spans that are in and are stored alike."""
        (candidate,) = input_dict[CANDIDATE]
        examples, statistics = (
            {found.id: found for found in input_dict.get(name, []) if fileio.exists(found.uri)}
            for name in (EXAMPLES, STATISTICS)
        )
        chosen = _latest(
            found
            for found in _blessed(input_dict.get(BLESSING, []))
            if found.get_int_custom_property(EXAMPLES_ID) in examples
            and found.get_int_custom_property(STATISTICS_ID) in statistics
            and _are_alike(examples[found.get_int_custom_property(EXAMPLES_ID)], candidate)
            and (self._last < 0 or found.get_int_custom_property(SPAN_NUMBER) <= self._last)
        )[-self._window :]
        return {
            EXAMPLES: [examples[found.get_int_custom_property(EXAMPLES_ID)] for found in chosen],
            STATISTICS: [statistics[found.get_int_custom_property(STATISTICS_ID)] for found in chosen],
            BLESSING: chosen,
            CANDIDATE: input_dict[CANDIDATE],
        }


def _blessed(blessings: Iterable[types.Artifact]) -> Iterable[types.Artifact]:
    """Returns those that let a span in."""
    return (
        found
        for found in blessings
        if found.get_int_custom_property("blessed") == 1 and found.has_custom_property(SPAN_NUMBER)
    )


def _latest(blessings: Iterable[types.Artifact]) -> list[types.Artifact]:
    """Returns of each span the blessing of its highest version, of several the latest, by the numbers of the spans.

    Of examples that were blessed again the first one counts: it has what the model said of them when they were new.
    """
    latest: dict[int, types.Artifact] = {}
    for found in sorted(blessings, key=lambda found: (found.get_int_custom_property(SPAN_VERSION), found.id)):
        number, of = (found.get_int_custom_property(name) for name in (SPAN_NUMBER, EXAMPLES_ID))
        if number not in latest or latest[number].get_int_custom_property(EXAMPLES_ID) != of:
            latest[number] = found
    return [latest[number] for number in sorted(latest)]


def _are_alike(examples: types.Artifact, candidate: types.Artifact) -> bool:
    """Whether two spans can be read together: the classes of one are the first of the other's."""
    one, other = custom_properties(examples), custom_properties(candidate)
    if any(one.get(name) != other.get(name) for name in _FORM):
        return False
    classes = ([json.loads(found.get(name, "[]")) for found in (one, other)] for name in _CLASSES)
    return all(all(map(operator.eq, *pair)) for pair in classes)
