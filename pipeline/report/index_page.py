"""Turns what is known of all runs into one HTML file that needs nothing else.

Synopsis:

    write_index(OutputRoot("output"))      # output/index.html
"""

import datetime
import statistics
import time
from pathlib import Path

import jinja2

from models.files import write_text
from pipeline.metadata.periods import Period
from pipeline.metadata.text import size
from pipeline.output_root import OutputRoot
from pipeline.report import attention, charts
from pipeline.report.drift import columns, named, shares
from pipeline.report.formats import count, counted, percent, seconds
from pipeline.report.index import Entry, Overview, overlook

# How a run's end looks: good, bad, or neither.
MOODS = {"blessed": "good", "done": "done", "not blessed": "bad", "data refused": "refused", "failed": "failed"}
_OTHER = "warn"
# An accuracy this far below the middle, times the spread of the others, is drawn at the lower edge.
_FAR = 6
_MIB = 2**20


def write_index(root: OutputRoot) -> Path:
    """Writes the page of all runs of an output root and returns its path.

    Raises:
      InputError: there is no run, or the database cannot be read.
    """
    write_text(root.index, render(overlook(root), root.path.resolve().name))
    return root.index


def render(overview: Overview, title: str, now: float | None = None) -> str:
    """Returns the page as HTML.

    Args:
      overview: of all runs.
      title: of the output root.
      now: seconds since 1970.
    """
    now = time.time() if now is None else now
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "seconds": seconds, "count": count, "counted": counted, "size": size}
    entries = overview.entries
    successes = [entry.started / 1000 for entry in entries if entry.is_success]
    taken = columns(entries)
    changes = shares(taken)
    return environment.get_template("index.html.j2").render(
        title=", ".join(overview.periods) or title,
        entries=entries,
        overview=overview,
        made=datetime.datetime.fromtimestamp(now),
        state=attention.state(overview),
        notices=attention.to_look_at(overview, now),
        tiles=_tiles(overview),
        moods=MOODS,
        moment=attention.moment,
        day=_day,
        periods=lambda entry: [_period(period) for period in entry.periods],
        accuracies=_accuracies(overview),
        times=_figures(entries, {e: v for e, entry in enumerate(entries) if (v := entry.seconds)}, "time of each run", seconds),
        disks=_figures(
            entries, {e: v for e, entry in enumerate(entries) if (v := entry.disk)}, "size of the output root after each run", size
        ),
        taken=[named(entry) for entry in taken],
        refused=[n for n, entry in enumerate(taken) if entry.state == "data refused"],
        shares=changes,
        ticks=charts.dates([named(entry) for entry in taken]),
        pixels=_pixels(taken),
        told=_told(taken, changes),
        last_success=successes[-1] if successes else None,
        patience=attention.patience(entries),
    )


def _tiles(overview: Overview) -> list[tuple[str, str]]:
    entries = overview.entries
    served = overview.served(entries[-1].place) if entries else None
    tiles = []
    if served and served[1]:
        entry = served[1]
        told = f" of {counted(entry.examples, 'test image', 'test images')}" if entry.examples else ""
        tiles.append((percent(entry.accuracy, 2), f"right{told}: what is served"))
    total = overview.left_out + len(entries)
    tiles.append((count(total), "run" if total == 1 else "runs"))
    states = [entry.state for entry in entries]
    for state, label in (
        ("blessed", "blessed"),
        ("not blessed", "not blessed"),
        ("data refused", "data refused"),
        ("failed", "failed"),
        ("interrupted", "interrupted"),
    ):
        if found := states.count(state):
            tiles.append((count(found), label))
    if disk := next((entry.disk for entry in reversed(entries) if entry.disk), None):
        tiles.append((size(disk), "on the disk"))
    return tiles


def _accuracies(overview: Overview) -> list[dict]:
    """Returns a chart for each name under which models are evaluated: candidates with intervals, and what was served."""
    entries = overview.entries
    found = []
    for place in dict.fromkeys(entry.place for entry in reversed(entries)):
        own = {n: e for n, e in enumerate(e for e in entries if e.place == place)}
        values = {n: entry.accuracy for n, entry in own.items() if entry.accuracy is not None}
        if not values:
            continue
        floor = _floor(list(values.values()))
        inside = {n: value for n, value in values.items() if value >= floor}
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
            charts.dots("far", dict.fromkeys((n for n in values if n not in inside), low)),
        ]
        drawn = charts.chart(
            len(own),
            marks,
            low=low,
            high=high,
            label=f"test accuracy of {counted(len(values), 'run', 'runs')} of {place}, from {percent(min(values.values()))} "
            f"to {percent(max(values.values()))}; the table has each",
            columns=[_day(entry) for entry in own.values()],
            show=lambda value: percent(value, 0 if (high - low) > 0.04 else 1),  # noqa: B023
            kind="tall",
            about=place,
        )
        found.append(
            {
                "place": place,
                "chart": drawn,
                "far": len(values) - len(inside),
                "refused": len(blessed) < len(inside),
                "served": bool(served),
                "strip": [MOODS.get(entry.state, _OTHER) for entry in own.values()],
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


def _figures(entries: list[Entry], values: dict[int, float], label: str, show) -> dict | None:
    """Returns a chart of bars, a column a run, and the figures to say beside it."""
    if not values:
        return None
    high = max(values.values())
    unit = next((unit for unit in (1.0, 60.0, 3600.0) if high / unit < 120), 3600.0) if show is seconds else _MIB
    name = {1.0: "s", 60.0: "min", 3600.0: "h"}.get(unit, "MiB")
    if name == "MiB" and high >= 2**30:
        unit, name = 2**30, "GiB"
    kinds: dict[str, dict[int, float]] = {}
    for n, value in values.items():
        kinds.setdefault(MOODS.get(entries[n].state, _OTHER), {})[n] = value / unit
    kinds = kinds if show is seconds else {"plain": {n: value / unit for n, value in values.items()}}
    return {
        "chart": charts.chart(
            len(entries),
            [charts.bars(kind, found) for kind, found in kinds.items()],
            low=0.0,
            high=high / unit * 1.04,
            label=f"{label}, at most {show(high)}; the table has each",
            columns=[_day(entry) for entry in entries],
            show=lambda value: f"{value:g}\u202f{name}",
            about="runs",
        ),
        "median": show(statistics.median(values.values())),
        "last": show(list(values.values())[-1]),
        "high": show(high),
    }


def _pixels(taken: list[Entry]) -> list[dict]:
    found = []
    for key, told in (("mean", "mean grey level"), ("std", "standard deviation of the grey levels")):
        values = {n: entry.pixels[key] for n, entry in enumerate(taken) if entry.pixels.get(key) is not None}
        if len(values) < 2:
            continue
        refused = {n: value for n, value in values.items() if taken[n].state == "data refused"}
        usual = statistics.median([value for n, value in values.items() if n not in refused] or list(values.values()))
        low, high = min(values.values()), max(values.values())
        # Less than this is no drift that anybody would see.
        margin = max(0.08 * (high - low), 2.5 - (high - low) / 2)
        drawn = charts.chart(
            len(taken),
            [
                charts.steps("usual", [(-0.5, len(taken) - 0.5, usual)]),
                charts.line("line", {n: value for n, value in values.items() if n not in refused}),
                charts.dots("blue", {n: value for n, value in values.items() if n not in refused}),
                charts.dots("bad", refused),
                charts.dots("hole", refused),
            ],
            low=max(0.0, low - margin),
            high=high + margin,
            label=f"{told} by span, from {low:.1f} to {high:.1f}, {usual:.1f} as usual",
            columns=[named(entry) for entry in taken],
            about="spans",
        )
        found.append({"title": told, "chart": drawn, "usual": usual, "last": values[max(values)], "refused": bool(refused)})
    return found


def _told(taken: list[Entry], changes) -> dict:
    """Returns what the script says of a column of the charts by span: text by column, and per mille by class."""
    lines = []
    for entry in taken:
        pixels = ", ".join(f"{key} {value:.1f}" for key, value in entry.pixels.items())
        images = counted(sum(entry.labels.values()) or entry.images, "image", "images")
        refused = "refused" if entry.state == "data refused" else ""
        lines.append([f"{'span ' if entry.span else 'data of '}{named(entry)}", " · ".join(filter(None, [refused, images, pixels])), entry.id])
    rows = [[round(1000 * share) for share in row] for row in changes.shares.tolist()] if changes else []
    return {"columns": lines, "names": changes.names if changes else [], "shares": rows,
            "usual": [round(1000 * share) for share in changes.usual.tolist()] if changes else []}


def _day(entry: Entry) -> str:
    return f"{datetime.datetime.fromtimestamp(entry.started / 1000):%d %b}"


def _period(period: Period) -> dict:
    return {
        "since": attention.moment(period.since, brief=True),
        "until": attention.moment(period.until, brief=True) if period.until else None,
        "again": period.is_rollback,
    }
