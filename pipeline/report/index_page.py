"""Turns what is known of all runs into one HTML file that needs nothing else.

Synopsis:

    write_index(OutputRoot("output"))      # output/index.html
"""

import datetime
import time
from pathlib import Path

import jinja2

from models.files import write_text
from pipeline.metadata.periods import Period
from pipeline.metadata.text import size
from pipeline.output_root import OutputRoot, writing
from pipeline.report import attention, charts, history
from pipeline.report.drift import columns, named, shares
from pipeline.report.formats import count, counted, percent, seconds
from pipeline.report.index import Entry, Overview, overlook


def write_index(root: OutputRoot) -> Path:
    """Writes the page of all runs of an output root and returns its path.

    Raises:
      InputError: there is no run, the database cannot be read, or the page cannot be written.
    """
    text = render(overlook(root), root.path.resolve().name)
    with writing(root.index):
        write_text(root.index, text)
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
    successes = attention.successes(entries)
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
        moment=attention.moment,
        periods=lambda entry: [_period(period) for period in entry.periods],
        accuracies=history.accuracies(overview),
        times=history.times(entries),
        disks=history.disks(entries),
        taken=[named(entry) for entry in taken],
        refused=[n for n, entry in enumerate(taken) if entry.state == "data refused"],
        shares=changes,
        ticks=charts.dates([named(entry) for entry in taken]),
        pixels=history.pixels(taken),
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
        told = f", {counted(entry.examples, 'image', 'images')}" if entry.examples else ""
        tiles.append((percent(entry.accuracy, 2), f"test accuracy of what is served{told}"))
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


def _told(taken: list[Entry], changes) -> dict:
    """Returns what the script says of a column of the charts by span: text by column, and per mille by class."""
    lines = []
    for entry in taken:
        pixels = ", ".join(f"{key} {value:.1f}" for key, value in entry.pixels.items())
        images = counted(sum(entry.labels.values()) or entry.images, "image", "images")
        refused = "refused" if entry.state == "data refused" else ""
        lines.append(
            [
                f"{'span ' if entry.span else 'data of '}{named(entry)}",
                " · ".join(filter(None, [refused, images, pixels])),
                entry.id,
            ]
        )
    rows = [[round(1000 * share) for share in row] for row in changes.shares.tolist()] if changes else []
    return {
        "columns": lines,
        "names": changes.names if changes else [],
        "shares": rows,
        "usual": [round(1000 * share) for share in changes.usual.tolist()] if changes else [],
    }


def _period(period: Period) -> dict:
    return {
        "since": attention.moment(period.since, brief=True),
        "until": attention.moment(period.until, brief=True) if period.until else None,
        "again": period.is_rollback,
    }
