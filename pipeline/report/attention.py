"""Says in words how things stand: what is served, what the last run did, and what a person must look at.

Synopsis:

    print(state(overview))              # The model of run ... is served as ... since ...: it is right about ...
    print(*to_look_at(overview))
"""

import datetime
import itertools
import statistics
import time
from collections.abc import Iterable, Iterator

from markupsafe import Markup, escape

from pipeline.report.formats import counted, percent
from pipeline.report.index import Entry, Overview
from pipeline.run.outcome import PASSED

DAY = 86_400
# So many times the usual time between two runs without a success are worth a word, and never less than two days.
_LATE, _LATE_DAYS = 3, 2
_NAMED = 3


def moment(seconds: float, *, brief: bool = False) -> Markup:
    """Returns a time since 1970 as <time>, to the minute; briefly, for tables and axes."""
    when = datetime.datetime.fromtimestamp(seconds)
    told = f"{when:%d %b %Y, %H:%M}" if brief else f"{when:%d %B %Y, %H:%M}"
    return Markup('<time datetime="{}">{}</time>').format(when.astimezone().isoformat(timespec="seconds"), told)


def accuracy(entry: Entry) -> str:
    """Returns the accuracy with its interval and the number of examples."""
    if entry.low is None:
        return f"{percent(entry.accuracy, 2)} of an unknown number of test images"
    return (
        f"{percent(entry.accuracy, 2)} of {counted(entry.examples, 'test image', 'test images')} "
        f"(95\u202f% interval {100 * entry.low:.1f} to {percent(entry.high)})"
    )


def link(entry: Entry) -> Markup:
    """Returns the id of a run, as a link to its report if there is one, else to its line."""
    return Markup('<a href="{}">{}</a>').format(entry.report or f"#r{entry.id}", entry.id)


def state(overview: Overview) -> Markup:
    """Returns the sentences that the page begins with."""
    told = [*(_served(overview, place) for place in overview.periods), _last(overview.entries)]
    if not overview.periods:
        told.insert(0, Markup("No model is served."))
    return Markup(" ").join(told)


def _served(overview: Overview, place: str) -> Markup:
    period, entry = overview.served(place)
    since = Markup("since {}").format(moment(period.since))
    if entry is None:
        return Markup("A model that none of these runs made is served as <b>{}</b> {}.").format(place, since)
    again = " again, by a rollback," if period.is_rollback else ""
    told = Markup("The model of run {} is served{} as <b>{}</b> {}").format(link(entry), again, place, since)
    return told + Markup(": it is right about {}.").format(accuracy(entry))


def _last(entries: list[Entry]) -> Markup:
    if not entries:
        return Markup("There is no run yet.")
    last = entries[-1]
    took = Markup(", on span {},").format(last.span["name"]) if last.span else ","
    told = Markup("The last run, of {}{} ").format(moment(last.started / 1000), took)
    told += {
        "blessed": "made a model that was blessed",
        "done": "did what it was to do" if last.accuracy is None else "is done",
        "not blessed": "made a model that was not blessed",
        "data refused": "refused the data",
        "failed": "failed",
        "interrupted": "was interrupted",
        "running": "is not over",
    }.get(last.state, f"ended as {last.state}")
    if last.state == "blessed" and last.is_served:
        told += " and is served"
    if last.reasons and not last.is_success:
        told += Markup(": {}").format(_sentence(last.reasons[0]))
    return told + "."


def open_refusals(entries: Iterable[Entry]) -> list[Entry]:
    """Returns the runs that refused data which no later run accepted: the same span, or the same data."""
    found: dict[tuple[str, str | None], Entry] = {}
    for entry in entries:
        key = (entry.place, _taken_up(entry))
        if entry.gate == PASSED or (_is_judged(entry) and not entry.part):
            found.pop(key, None)
        elif entry.state == "data refused":
            found.pop(key, None)
            found[key] = entry
    return list(found.values())


def _is_judged(entry: Entry) -> bool:
    """Whether a run came to a model that was evaluated."""
    return entry.state == "blessed" or entry.accuracy is not None


def successes(entries: list[Entry]) -> list[float]:
    """Returns when runs began that did all that they were to do, in seconds since 1970.

    Where models were blessed, those alone: a part of the DAG may end well each night, and no training does.
    """
    found = [entry for entry in entries if entry.state == "blessed"] or [e for e in entries if e.is_success]
    return [entry.started / 1000 for entry in found]


def _taken_up(entry: Entry) -> str | None:
    # Data without spans are replaced by what comes next under the same name.
    return str(entry.span["name"]) if entry.span else None


def to_look_at(overview: Overview, now: float | None = None) -> list[Markup]:
    """Returns what a person must look at, the gravest first; [] where there is nothing."""
    return list(_to_look_at(overview, time.time() if now is None else now))


def _to_look_at(overview: Overview, now: float) -> Iterator[Markup]:
    entries = overview.entries
    if not entries:
        return
    ended_well = successes(entries)
    if not ended_well:
        yield Markup("No run has succeeded yet.")
    elif now - ended_well[-1] > patience(entries):
        days = int((now - ended_well[-1]) / DAY)
        yield Markup("No run has succeeded for {}: the last was that of {}.").format(
            counted(days, "day", "days"), moment(ended_well[-1])
        )
    failed = [e for e in entries if _has_failed(e) and not _made_good(e, entries)]
    yield from _named(failed, lambda e: Markup("Run {} {}{}").format(link(e), _how(e), _why(e.reasons)))
    refused = open_refusals(entries)
    yield from _named(refused, lambda e: Markup("{} {}").format(_refused(e), link(e)) + _why(e.reasons))
    last = next((e for e in reversed(entries) if e.state != "done"), entries[-1])
    if last.state == "not blessed":
        yield Markup("The model of run {} was not blessed{}").format(link(last), _why(last.reasons))
    # A part of the DAG may read data that it does not judge.
    latest = next((e for e in reversed(entries) if e.images and (e.gate or not e.part)), last)
    if latest.warnings and latest.state != "data refused":
        yield Markup("The latest data were let through with {}{}").format(
            counted(len(latest.warnings), "warning", "warnings"), _why(latest.warnings)
        )
    for place in overview.periods:
        yield from _not_served(overview, place)


def _not_served(overview: Overview, place: str) -> Iterator[Markup]:
    period, _ = overview.served(place)
    blessed = next((e for e in reversed(overview.entries) if e.place == place and e.state == "blessed"), None)
    if blessed and blessed.standing == "taken back":
        yield Markup("A rollback of {} holds: the model of run {} is not served.").format(
            moment(period.since), link(blessed)
        )
    elif blessed and blessed.standing == "challenger":
        yield Markup("The model of run {} is blessed and waits to be published.").format(link(blessed))


def patience(entries: list[Entry]) -> float:
    """Returns after how many seconds without a success somebody should look: some times what runs lie apart."""
    starts = [entry.started / 1000 for entry in entries]
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    return max(_LATE_DAYS * DAY, _LATE * statistics.median(gaps) if gaps else 0.0)


def _has_failed(entry: Entry) -> bool:
    """Whether a run did not do its work, or was ended by a shard that was damaged behind the gate."""
    return entry.state in ("failed", "interrupted") or (entry.state == "data refused" and entry.gate == PASSED)


def _made_good(failed: Entry, entries: list[Entry]) -> bool:
    """Says whether a later run did what this one failed in: with its span, or with any data where there are none."""
    later = [e for e in entries[entries.index(failed) + 1 :] if e.place == failed.place and _did(e, failed.node)]
    span = _taken_up(failed)
    return any(span is None or _taken_up(e) == span or span in e.window for e in later)


def _did(entry: Entry, node: str) -> bool:
    """Whether a run ended well, and was a whole one or had this node."""
    return entry.is_success and (node in entry.part if entry.part else entry.state == "blessed")


def _named(found: list[Entry], tell) -> Iterator[Markup]:
    for entry in reversed(found[-_NAMED:]):
        yield tell(entry)
    if len(found) > _NAMED:
        yield Markup("{} more like these, below.").format(len(found) - _NAMED)


def _how(entry: Entry) -> Markup:
    on = f" on span {entry.span['name']}" if entry.span else ""
    return Markup("{}{}").format("was interrupted" if entry.state == "interrupted" else "failed", on)


def _refused(entry: Entry) -> Markup:
    if not entry.span:
        return Markup("Data were refused, and none accepted since, in run")
    return Markup(
        "Span {0} was refused and waits for a look (<code>--admit {0}</code>, or a corrected version), in run"
    ).format(entry.span["name"])


def _why(reasons: tuple[str, ...]) -> Markup:
    if not reasons:
        return Markup(".")
    more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return Markup(": {}{}.").format(_sentence(reasons[0]), more)


def _sentence(reason: str) -> Markup:
    return escape(reason.rstrip("."))
