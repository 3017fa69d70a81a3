"""What a sweep says, in plain words: what helps, what costs, what does not show, what interacts, what to change first.

Synopsis:

    words(rows)[0]                       # "**Better than the preset.** `shift=1`, +1.50 ± ... ..."
"""

from collections.abc import Sequence

from pipeline.sweep.factors import OF_THE_DATA, SWEPT, Point
from pipeline.sweep.results import Row, Summary, interaction, is_telling, pooled_deviation, summarize

# Share of the processor's time that makes a point faster or slower.
_NOTED = 0.1
_INPUT = "training.input."


def words(rows: Sequence[Row]) -> list[str]:
    """Returns paragraphs, in Markdown."""
    summaries = summarize(rows)
    pooled = pooled_deviation(summaries)
    changed = [summary for summary in summaries if summary.point.changes and summary.differences]
    alone = [summary for summary in changed if len(summary.point.changes) == 1]
    judged = [summary for summary in alone if not _is_another_order(summary)]
    telling = {summary.point for summary in changed if summary.is_telling(pooled)}
    telling |= {summary.point for summary in changed if summary.failed and summary.difference < 0}
    telling -= {summary.point for summary in changed if _is_another_order(summary)}
    better = sorted((s for s in changed if s.point in telling and s.difference > 0), key=lambda s: -s.difference)
    return [
        *_doubts(summaries),
        *_input(summaries),
        _better(better),
        _costs([summary for summary in judged if summary.point in telling and summary.difference < 0]),
        _nothing(judged, telling),
        _time(alone),
        _interactions(changed, pooled),
        _first(better, alone),
    ]


def _is_another_order(summary: Summary) -> bool:
    """Whether a point trains on the same images, or has them in another order, as another seed has.

    `plan` refuses one that leaves out fewer of them than the preset does.
    """
    changes = summary.point.changes
    same = all(name in OF_THE_DATA and value != "jpeg" for name, value in changes)
    return same or any(name.startswith(_INPUT) for name, _ in changes)


def _doubts(summaries: Sequence[Summary]) -> list[str]:
    """Returns what is to be known before the rest is read."""
    lines = []
    if max(len(summary.differences) for summary in summaries) == 1:
        lines.append("**One seed only.** How far seeds lie apart is not known: nothing is called a difference.")
    if failed := [summary for summary in summaries if summary.failed]:
        told = ", ".join(f"{_named(summary)} ({summary.failed} of {summary.count})" for summary in failed)
        alone = " With a seed that the preset failed with nothing is compared." if summaries[0].failed else ""
        lines.append(f"**Failed**, and counted as nothing right: {told}.{alone}")
    return lines


def _input(summaries: Sequence[Summary]) -> list[str]:
    """Returns what the input pipeline takes, where it was measured."""
    base, *changed = [summary for summary in summaries if summary.peak_mib is not None] or [None]
    if base is None:
        return []
    by_rate = sorted((s for s in changed if abs(s.rate - 1) > _NOTED), key=lambda s: s.rate)
    rates = "; ".join(f"{_named(s)} {s.rate:.2f} times" for s in by_rate)
    waiting = max(summaries, key=lambda s: s.input_share or 0)
    by_disk = sorted({(s.disk_mib / base.disk_mib, _named(s)) for s in changed if len(s.point.changes) == 1})
    disk = "; ".join(f"{name} {ratio:.2f} times" for ratio, name in by_disk if abs(ratio - 1) > _NOTED / 2)
    memory = [s.peak_mib for s in summaries if s.peak_mib is not None]
    return [
        f"**Images a second.** {rates or 'Nothing by more than a tenth'}. A step waits for input for at most "
        f"{100 * (waiting.input_share or 0):.1f} % of its time ({_named(waiting)}). **Memory at the most:** "
        f"{min(memory):,.0f} to {max(memory):,.0f} MiB. **Bytes on disk:** {disk or 'the same with all'}.",
        "All but JPEG hand over the same images, in another order at most, which makes as much of a difference in "
        "accuracy as another seed does: of these nothing is said below.",
    ]


def _better(better: Sequence[Summary]) -> str:
    told = "; ".join(f"{_named(summary)}, {_points(summary)}, {_times(summary)}" for summary in better)
    return f"**Better than the preset.** {told or 'Nothing that was tried, by more than noise'}."


def _costs(worse: Sequence[Summary]) -> str:
    names = sorted({_name(s) for s in worse}, key=lambda name: min(s.difference for s in worse if _name(s) == name))
    told = [
        f"`{name}`: "
        + ", ".join(f"{_value(s)} {_points(s)}" for s in sorted(worse, key=lambda s: s.difference) if _name(s) == name)
        for name in names
    ]
    return f"**Costs accuracy**, the most first. {'; '.join(told) or 'Nothing that was tried'}."


def _nothing(alone: Sequence[Summary], telling: set[Point]) -> str:
    names = dict.fromkeys(_name(summary) for summary in alone)
    silent = [
        f"`{name}` ({', '.join(_value(s) for s in alone if _name(s) == name)})"
        for name in names
        if not any(summary.point in telling for summary in alone if _name(summary) == name)
    ]
    return f"**Makes no difference that shows.** {', '.join(silent) or 'None of the settings'}."


def _time(alone: Sequence[Summary]) -> str:
    told = [
        f"{_named(summary)} {_times(summary)} ({_points(summary)})"
        for summary in sorted(alone, key=lambda s: s.time)
        if abs(summary.time - 1) > _NOTED
    ]
    return f"**Changes the time.** {'; '.join(told) or 'Nothing by more than a tenth'}."


def _interactions(changed: Sequence[Summary], pooled: float) -> str:
    by_point = {summary.point: summary for summary in changed}
    told, tried = [], {}
    for summary in changed:
        parts = [by_point.get(Point((change,))) for change in summary.point.changes]
        if len(parts) != 2 or None in parts:
            continue
        beyond, error = interaction(summary, *parts)
        # Of a sum of three differences.
        seeds = min(len(s.differences) for s in (summary, *parts))
        found = is_telling(beyond, error, pooled * 3**0.5, seeds)
        pair = " and ".join(f"`{_short(name)}`" for name, _ in summary.point.changes)
        tried[pair] = tried.get(pair, False) or found
        if found:
            kind = "less bad" if beyond > 0 else "worse"
            size = f"{100 * abs(beyond):.2f}{f' ± {100 * error:.2f}' if seeds > 1 else ''} points"
            told.append(f"{_named(summary)} is {size} {kind} than its parts add up to")
    silent = [pair for pair, found in tried.items() if not found]
    lines = told + ([f"nothing shows for {', '.join(silent)}"] if silent else [])
    return f"**Interacts.** {'; '.join(lines) or 'No pair was tried'}."


def _first(better: Sequence[Summary], alone: Sequence[Summary]) -> str:
    """Returns what gives the most accuracy, and what saves the most time for the accuracy that it costs."""
    faster = [summary for summary in alone if summary.time < 1 - _NOTED]
    thrifty = max(faster, key=lambda s: (1 - s.time) / max(-s.difference, 1e-4), default=None)
    more = f"for accuracy {_named(better[0])}" if better else "for accuracy nothing of this"
    less = f"for time {_named(thrifty)}, {_times(thrifty)} for {_points(thrifty)}" if thrifty else "for time nothing"
    return f"**What to change first:** {more}; {less}."


def _short(name: str) -> str:
    return name.removeprefix(SWEPT)


def _name(summary: Summary) -> str:
    return _short(summary.point.changes[0][0])


def _value(summary: Summary) -> str:
    return str(summary.point).partition("=")[2]


def _named(summary: Summary) -> str:
    return f"`{summary.point}`"


def _points(summary: Summary) -> str:
    failed = f" ({summary.failed} of {summary.count} trainings failed)" if summary.failed else ""
    error = f" ± {100 * summary.error:.2f}" if len(summary.differences) > 1 else ""
    return f"{100 * summary.difference:+.2f}{error} points{failed}"


def _times(summary: Summary) -> str:
    return f"{summary.time:.2f} times the processor's time"
