"""From when to when which model was served: from the versions in the serving folder, and what runs pushed before those.

A version's number is the second in which it was published. The folder keeps the last versions alone; of what went
before, a rollback included in them is not known any more.

Synopsis:

    for period in served_periods(root, runs, "fashion_mnist"):
        print(period.content, period.since, period.until)
"""

import dataclasses
import itertools
from pathlib import Path

from components.pusher.history import acts
from components.pusher.outcomes import PUSHED, SERVED_AGAIN
from pipeline.metadata.served import Standings
from pipeline.metadata.store import Run
from pipeline.output_root import OutputRoot


@dataclasses.dataclass(frozen=True, kw_only=True)
class Period:
    """A time in which one model was served.

    Attributes:
      content: by which the model is known.
      since, until: seconds since 1970; `until` is None for what is served now.
      is_rollback: whether a rollback brought it back.
    """

    content: str
    since: int
    until: int | None
    is_rollback: bool


def served_periods(root: OutputRoot, runs: list[Run], place: str, standings: Standings | None = None) -> list[Period]:
    """Returns the periods of what is published under a name, the oldest first.

    Args:
      root: the output root.
      runs: all of them, the oldest first.
      place: the name.
      standings: of the same output root, where the caller has them.
    """
    standings = standings or Standings(root)
    shown = acts(root.serving(place))
    events: dict[int, tuple[str, bool]] = {}
    for run in runs:
        kept = run.properties
        number = Path(kept.get("pushed_model") or "").name
        content = standings.content(run)
        if kept.get("published_as") == place and kept.get("push") in (PUSHED, SERVED_AGAIN) and number and content:
            events.setdefault(int(number), (content, False))
    events |= {act.number: (act.content, act.is_rollback) for act in shown}
    # What the folder does not show is not served, whatever a record of before says of later.
    last = shown[-1].number if shown else None
    moments = sorted(number for number in events if last is not None and number <= last)
    begun = [n for k, n in enumerate(moments) if not k or events[moments[k - 1]][0] != events[n][0]]
    return [
        Period(content=events[since][0], since=since, until=until, is_rollback=events[since][1])
        for since, until in itertools.zip_longest(begun, begun[1:])
    ]
