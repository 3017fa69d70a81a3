"""Draws charts that stretch with the page: a column a run or a span, in the page's colours, with text of one size.

An SVG without text is stretched over the chart, its strokes keep their width; ticks and labels are HTML around it. What
a column says is shown by the page's script, which asks the table; without it the chart is a picture.

Synopsis:

    chart(3, [dots("good", {0: 0.91, 2: 0.92})], low=0.9, high=0.93, label="accuracy", columns=["1", "2", "3"])
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from markupsafe import Markup

_WIDTH, _HEIGHT = 1000, 1000
_TICKS, _DATES = 5, 5
# So few columns all have their name.
_ALL_DATES = 8
# Of the width: a bar among few is no wall.
_WIDEST_BAR = 0.08
Place = Callable[[float], float]
Mark = Callable[[Place, Place], Markup]


def dots(kind: str, values: Mapping[int, float]) -> Mark:
    """Returns dots by column; a line of no length with round ends stays round, however the chart is stretched."""
    return lambda x, y: _path(f"dot {kind}", (f"M{x(n):.1f} {y(v):.0f}h.01" for n, v in values.items()))


def reaches(kind: str, values: Mapping[int, tuple[float, float]]) -> Mark:
    """Returns vertical lines from a low to a high value by column."""
    return lambda x, y: _path(kind, (f"M{x(n):.1f} {y(low):.0f}V{y(high):.0f}" for n, (low, high) in values.items()))


def bars(kind: str, values: Mapping[int, float]) -> Mark:
    """Returns bars from 0 by column."""

    def draw(x: Place, y: Place) -> Markup:
        half = min(0.38 * (x(1) - x(0)), _WIDEST_BAR * _WIDTH / 2)
        return _path(
            f"fill {kind}",
            (f"M{x(n) - half:.1f} {y(0):.0f}V{y(v):.0f}h{2 * half:.1f}V{y(0):.0f}z" for n, v in values.items()),
        )

    return draw


def steps(kind: str, values: Sequence[tuple[float, float, float]]) -> Mark:
    """Returns horizontal lines at a value, from column to column (both may lie between two), joined if they meet."""

    def draw(x: Place, y: Place) -> Markup:
        parts, end = [], None
        for a, b, value in values:
            parts.append(f"{'V' if a == end else f'M{x(a):.1f} '}{y(value):.0f}H{x(b):.1f}")
            end = b
        return _path(kind, parts)

    return draw


def line(kind: str, values: Mapping[int, float]) -> Mark:
    """Returns a line through the values in the order of their columns."""
    return lambda x, y: _path(
        kind, ("M" + "L".join(f"{x(n):.1f} {y(v):.0f}" for n, v in sorted(values.items())),) if values else ()
    )


def chart(
    count: int,
    marks: Iterable[Mark],
    *,
    low: float,
    high: float,
    label: str,
    columns: Sequence[str],
    show: Callable[[float], str] = "{:g}".format,
    kind: str = "",
    about: str = "runs",
    place: str | None = None,
) -> Markup:
    """Returns a chart as HTML.

    Args:
      count: of columns.
      marks: what is drawn, the first lowest.
      low, high: of the vertical axis.
      label: what it shows, for who cannot see it.
      columns: names of the columns, for the horizontal axis.
      show: how a value on the vertical axis is written.
      kind: a class of CSS.
      about: "runs" where a column is a run of the table, "spans" where it is what a run took up.
      place: of the runs, by name; None for all.
    """
    reach = (high - low) or 1.0

    def x(column: float) -> float:
        return _WIDTH * (column + 0.5) / count

    def y(value: float) -> float:
        return _HEIGHT * (1 - (value - low) / reach)

    ticks = [tick for tick in nice(low, high) if low - 1e-9 <= tick <= high + 1e-9]
    grid = _path("grid", (f"M0 {y(tick):.0f}H{_WIDTH}" for tick in ticks))
    drawn = Markup("").join([grid, *(mark(x, y) for mark in marks)])
    labels = Markup("").join(
        Markup('<span style="top:{:.1f}%">{}</span>').format(100 * y(tick) / _HEIGHT, show(tick)) for tick in ticks
    )
    size = "few" if count <= 40 else "many" if count <= 160 else "crowd"
    own = "" if place is None else Markup(' data-place="{}"').format(place)
    return Markup(
        '<div class="chart {} {}" role="img" aria-label="{}" data-n="{}" data-about="{}"{}><div class="plot">'
        '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
        '<div class="y">{}</div></div>{}</div>'
    ).format(kind, size, label, count, about, own, _WIDTH, _HEIGHT, drawn, labels, dates(columns))


def dates(columns: Sequence[str]) -> Markup:
    """Returns the horizontal axis: some of the columns' names, evenly; on a telephone every other of them."""
    if not columns:
        return Markup("")
    number = len(columns) if len(columns) <= _ALL_DATES else _DATES
    places = sorted({round(k * (len(columns) - 1) / max(1, number - 1)) for k in range(number)})
    told = Markup("").join(
        Markup('<span style="left:{:.2f}%" class="{}">{}</span>').format(
            100 * (place + 0.5) / len(columns), _edge(k, len(places)), columns[place]
        )
        for k, place in enumerate(places)
    )
    return Markup('<div class="x" aria-hidden="true">{}</div>').format(told)


def _edge(position: int, count: int) -> str:
    edge = {0: "first", count - 1: "last"}.get(position, "") if count > 1 else ""
    return f"{edge} odd" if (count - 1 - position) % 2 else edge


def nice(low: float, high: float) -> list[float]:
    """Returns round values from `low` to `high`, about five.

    >>> nice(0.862, 0.941)
    [0.88, 0.9, 0.92, 0.94]
    """
    reach = (high - low) or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(reach / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if reach / (step * factor) <= _TICKS)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _path(kind: str, parts: Iterable[str]) -> Markup:
    drawn = "".join(parts)
    return Markup('<path class="{}" d="{}"/>').format(kind, drawn) if drawn else Markup("")
