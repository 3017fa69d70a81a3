"""How the data change from span to span: the share of each class, and how light the images are.

A column is a version of a span, or a data set where data come in none, as the last run that took it up recorded it.
What is usual is the median over the columns that were not refused.

Synopsis:

    shares(columns(overview.entries))       # None where there are not two data sets to compare
"""

import base64
import dataclasses
import io

import numpy as np
from PIL import Image

from pipeline.report.index import Entry

# Of more classes those are shown whose share changes most.
_CLASSES = 30
_SHIFTS = 6
# A share of this many times the usual one, or of its inverse, has the full colour.
FULL = 2.0
# Standard deviations of a count by which chance alone changes no class of many in many spans.
_SURPRISE = 4.5
# Images that a class is given on top, so that chance in a small class is no change.
_PRIOR = 4.0
_MORE, _LESS = (214, 110, 20), (36, 100, 225)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shares:
    """Shares of the classes by column.

    Attributes:
      names: of the classes that are shown; `left_out` more change less.
      shares: float [classes, columns], of those shown.
      usual: float [classes].
      shifts: the largest changes, one a class, each `name`, `column`, `share`, `usual`.
      picture: a PNG as a data URI, a pixel a class and column: orange for more than usual, blue for less.
    """

    names: list[str]
    left_out: int
    shares: np.ndarray
    usual: np.ndarray
    shifts: list[tuple[str, int, float, float]]
    picture: str


def columns(entries: list[Entry]) -> list[Entry]:
    """Returns the last run that tells of its images on each version of a span, or data set, in the order of these."""
    found: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        if (entry.labels or entry.pixels) and entry.data:
            # Data that come again are the latest again.
            found.pop((entry.place, entry.data), None)
            found[entry.place, entry.data] = entry
    latest = entries[-1].place if entries else ""
    # Classes of another data set are no drift.
    own = [entry for (place, _), entry in found.items() if place == latest] or list(found.values())
    return sorted(own, key=lambda entry: [(entry.span or {}).get(key) or 0 for key in ("number", "version")])


def named(entry: Entry) -> str:
    """Returns how a column is called."""
    if not entry.span:
        return f"{entry.id[6:8]}.{entry.id[4:6]}."
    version = entry.span.get("version") or 0
    return f"{entry.span['name']}{f', version {version}' if version > 1 else ''}"


def shares(taken: list[Entry]) -> Shares | None:
    """Returns the shares of the classes in the columns; None where there are not two to compare."""
    told = [entry for entry in taken if entry.labels]
    if len(told) < 2:
        return None
    names = list(dict.fromkeys(name for entry in told for name in entry.labels))
    counts = np.array([[entry.labels.get(name, 0) for entry in taken] for name in names], np.float64)
    totals = counts.sum(axis=0)
    usual = np.median((counts / np.maximum(totals, 1))[:, _accepted(taken)], axis=1)
    expected = usual[:, None] * totals
    ratio = np.log2((counts + _PRIOR) / (expected + _PRIOR)) / np.log2(FULL)
    strength = np.where(totals > 0, ratio.clip(-1, 1), 0.0)
    order = np.argsort(-np.abs(strength).max(axis=1), kind="stable")[:_CLASSES]
    chosen = np.sort(order)
    all_shares = counts / np.maximum(totals, 1)
    # Of each class where it changed most: a class that came stays.
    size = np.abs(np.where(totals > 0, ratio, 0.0))
    places = [(int(row), int(size[row].argmax())) for row in np.argsort(-size.max(axis=1), kind="stable")[:_SHIFTS]]
    surprise = np.abs(counts - expected) / np.sqrt(expected + 1)
    return Shares(
        names=[names[row] for row in chosen],
        left_out=len(names) - len(chosen),
        shares=all_shares[chosen],
        usual=usual[chosen],
        shifts=[
            (names[row], column, float(all_shares[row, column]), float(usual[row]))
            for row, column in places
            if surprise[row, column] >= _SURPRISE
        ],
        picture=_picture(strength[chosen]),
    )


def _accepted(taken: list[Entry]) -> list[int]:
    accepted = [n for n, entry in enumerate(taken) if entry.labels and entry.state != "data refused"]
    return accepted or [n for n, entry in enumerate(taken) if entry.labels]


def _picture(strength: np.ndarray) -> str:
    """Returns the changes, float [classes, columns] from -1 to 1, as colours that leave the page's through."""
    pixels = np.zeros((*strength.shape, 4), np.uint8)
    pixels[..., :3] = np.where(strength[..., None] > 0, _MORE, _LESS)
    # Less for what chance does in small classes, all for what stands out.
    pixels[..., 3] = np.round(np.abs(strength) ** 1.4 * 255)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
