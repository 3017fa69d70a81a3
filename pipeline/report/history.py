"""The charts of all runs: accuracy with its interval, what was served, how the pixels change, time and disk.

Synopsis:

    [part["place"] for part in accuracies(overview)]      # ["fashion_mnist"]
"""

import datetime
import statistics
from collections.abc import Callable

from pipeline.metadata.periods import Period
from pipeline.metadata.text import size
from pipeline.report import charts
from pipeline.report.drift import named
from pipeline.report.formats import counted, percent, seconds
from pipeline.report.index import Entry, Overview

# How a run's end looks: a class of the page's style.
MOODS = {"blessed": "good", "done": "done", "not blessed": "bad", "data refused": "refused", "failed": "failed"}
OTHER = "warn"
# An accuracy this far below the middle, times the spread of the others, is drawn at the lower edge.
_FAR = 6
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_SIZES = {"MiB": 2.0**20, "GiB": 2.0**30}


def accuracies(overview: Overview) -> list[dict]:
    """Returns a chart for each name: candidates with their intervals, and the accuracy of what was served."""
    entries = overview.entries
    found = []
    for place in dict.fromkeys(entry.place for entry in reversed(entries)):
        own = {n: e for n, e in enumerate(e for e in entries if e.place == place)}
        values = {n: entry.accuracy for n, entry in own.items() if entry.accuracy is not None}
        if not values:
            continue
        floor = _floor(list(values.values()))
        inside = {n: value for n, value in values.items() if value >= floor}
        far = [n for n in values if n not in inside]
        spans = {n: (own[n].low, own[n].high) for n in inside if own[n].low is not None}
        low = min([*inside.values(), *(a for a, _ in spans.values())])
        high = max([*inside.values(), *(b for _, b in spans.values())])
        margin = 0.06 * ((high - low) or 0.02)
        low, high = max(0.0, low - margin), min(1.0, high + margin)
        reaches = {n: (max(low, a), b) for n, (a, b) in spans.items()}
        served = _served_steps(list(own.values()), overview.periods.get(place, []), floor)
        blessed = {n: v for n, v in inside.items() if own[n].state == "blessed"}
        marks = [
            charts.steps("served", served),
            charts.reaches("reach", reaches),
            charts.dots("good", blessed),
            charts.dots("bad", {n: v for n, v in inside.items() if n not in blessed}),
            charts.dots("hole", {n: v for n, v in inside.items() if n not in blessed}),
            charts.dots("far good", {n: low for n in far if own[n].state == "blessed"}),
            charts.dots("far bad", {n: low for n in far if own[n].state != "blessed"}),
        ]
        drawn = charts.chart(
            len(own),
            marks,
            low=low,
            high=high,
            label=f"test accuracy of {counted(len(values), 'run', 'runs')} of {place}, "
            f"from {percent(min(values.values()))} to {percent(max(values.values()))}; the table has each",
            columns=dates(list(own.values())),
            show=lambda value: percent(value, 0 if (high - low) > 0.04 else 1),  # noqa: B023
            kind="tall",
            place=place,
        )
        found.append(
            {
                "place": place,
                "chart": drawn,
                "far": len(far),
                "refused": len(blessed) < len(inside),
                "served": bool(served),
                "strip": [MOODS.get(entry.state, OTHER) for entry in own.values()],
                "examples": sorted({own[n].examples for n in values if own[n].examples}),
            }
        )
    return found


def _floor(values: list[float]) -> float:
    """Returns the accuracy below which a run is so far from the others that the chart would show nothing else."""
    middle = statistics.median(values)
    spread = statistics.median([abs(value - middle) for value in values])
    return middle - max(_FAR * spread, 0.03)


def _served_steps(own: list[Entry], periods: list[Period], floor: float) -> list[tuple[float, float, float]]:
    """Returns from which column to which a model was served that had which accuracy."""
    known: dict[str | None, float] = {}
    for entry in own:
        if entry.accuracy is not None and entry.content:
            known.setdefault(entry.content, entry.accuracy)
    ends = [entry.started / 1000 + (entry.seconds or 0) for entry in own]
    starts = [entry.started / 1000 for entry in own]

    def column(moment: float | None) -> float:
        """Within the run in which it happened, else between two."""
        if moment is None:
            return len(own) - 0.5
        inside = next((n for n, (a, b) in enumerate(zip(starts, ends, strict=True)) if a <= moment <= b + 5), None)
        return float(inside) if inside is not None else sum(start <= moment for start in starts) - 0.5

    return [
        (column(period.since), column(period.until), accuracy)
        for period in periods
        if (accuracy := known.get(period.content)) is not None and accuracy >= floor
    ]


def times(entries: list[Entry]) -> dict | None:
    """Returns the chart of the time of each run, in the colour of its end, and its figures in words."""
    values = {n: entry.seconds for n, entry in enumerate(entries) if entry.seconds}
    kinds = {n: MOODS.get(entry.state, OTHER) for n, entry in enumerate(entries)}
    return _figures(entries, values, kinds, "time of each run", _UNITS, seconds)


def disks(entries: list[Entry]) -> dict | None:
    """Returns the chart of the size of the output root after each run, and its figures in words."""
    values = {n: float(entry.disk) for n, entry in enumerate(entries) if entry.disk}
    return _figures(entries, values, dict.fromkeys(values, "plain"), "size of the output root", _SIZES, size)


def _figures(
    entries: list[Entry],
    values: dict[int, float],
    kinds: dict[int, str],
    label: str,
    units: dict[str, float],
    told: Callable[[float], str],
) -> dict | None:
    if not values:
        return None
    high = max(values.values())
    # The largest in which the highest bar is more than two.
    name = [name for name, unit in units.items() if high >= 2 * unit or unit == min(units.values())][-1]
    by_kind: dict[str, dict[int, float]] = {}
    for n, value in values.items():
        by_kind.setdefault(kinds[n], {})[n] = value / units[name]
    drawn = charts.chart(
        len(entries),
        [charts.bars(kind, found) for kind, found in by_kind.items()],
        low=0.0,
        high=high / units[name] * 1.04,
        label=f"{label}, at most {told(high)}; the table has each",
        columns=dates(entries),
    )
    last = list(values.values())[-1]
    median = statistics.median(values.values())
    return {"chart": drawn, "unit": name, "median": told(median), "last": told(last), "high": told(high)}


def pixels(taken: list[Entry]) -> list[dict]:
    """Returns a chart of mean and of standard deviation of the pixels by span, where there are two to compare."""
    found = []
    for key, told in (("mean", "mean grey level"), ("std", "standard deviation of the grey levels")):
        values = {n: entry.pixels[key] for n, entry in enumerate(taken) if entry.pixels.get(key) is not None}
        if len(values) < 2:
            continue
        refused = {n: value for n, value in values.items() if taken[n].state == "data refused"}
        accepted = [value for n, value in values.items() if n not in refused] or list(values.values())
        usual = statistics.median(accepted)
        low, high = min(accepted), max(accepted)
        # Less than this is no drift that anybody would see.
        margin = max(0.08 * (high - low), 2.5 - (high - low) / 2)
        low, high = max(0.0, low - margin), high + margin
        # What was refused may lie anywhere, and a slow drift of the others must show.
        far = {n: min(high, max(low, value)) for n, value in refused.items() if not low <= value <= high}
        refused = {n: value for n, value in refused.items() if n not in far}
        drawn = charts.chart(
            len(taken),
            [
                charts.steps("usual", [(-0.5, len(taken) - 0.5, usual)]),
                charts.line("line", {n: value for n, value in values.items() if n not in refused | far}),
                charts.dots("blue", {n: value for n, value in values.items() if n not in refused | far}),
                charts.dots("bad", refused),
                charts.dots("hole", refused),
                charts.dots("far bad", far),
            ],
            low=low,
            high=high,
            label=f"{told} by span, from {min(values.values()):.1f} to {max(values.values()):.1f}, usually {usual:.1f}",
            columns=[named(entry) for entry in taken],
            about="spans",
        )
        found.append(
            {
                "title": told,
                "chart": drawn,
                "usual": usual,
                "last": values[max(values)],
                "refused": bool(refused),
                "far": bool(far),
            }
        )
    return found


def dates(entries: list[Entry]) -> list[str]:
    """Returns the days of runs, for an axis; their times where all are of one day."""
    starts = [datetime.datetime.fromtimestamp(entry.started / 1000) for entry in entries]
    written = "%d %b" if len({start.date() for start in starts}) > 1 else "%H:%M"
    return [f"{start:{written}}" for start in starts]
