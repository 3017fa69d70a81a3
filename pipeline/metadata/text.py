"""Turns values into text for a terminal: tables, times, sizes."""

import datetime
import json
import unicodedata


def table(header: list[str], rows: list[list[object]], right: tuple[str, ...] = ()) -> str:
    """Returns rows in aligned columns below a header; the columns named in `right` are aligned to the right."""
    cells = [[show(value) for value in row] for row in rows]
    widths = [max(_width(line[column]) for line in [header, *cells]) for column in range(len(header))]

    def line(values: list[str]) -> str:
        spaces = [" " * (width - _width(value)) for value, width in zip(values, widths, strict=True)]
        padded = [
            space + value if name in right else value + space
            for name, value, space in zip(header, values, spaces, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), *map(line, cells)])


def _width(text: str) -> int:
    """Returns how many columns of a terminal a text takes: those of Chinese and the like are two, accents none."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text
    )


def show(value: object) -> str:
    """Returns a value on one line: nothing as a dash, yes and no for truth, other structures as JSON."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shorten(value: object, width: int = 100) -> str:
    """Returns a value on one line of at most `width` characters."""
    text = " ".join(show(value).split())
    return text if len(text) <= width else text[: width - 3] + "..."


def brief(value: object) -> str:
    """Returns a structure by its leaves on one line, whole but for very long ones: name MacroF1, config.beta 1."""
    if not isinstance(value, dict | list):
        return shorten(value, 200)
    return shorten(", ".join(f"{name} {show(leaf)}" for name, leaf in flatten(value).items()), 200)


def when(milliseconds: int) -> str:
    """Returns a time since 1970 as local date and time."""
    return f"{datetime.datetime.fromtimestamp(milliseconds / 1000):%Y-%m-%d %H:%M:%S}"


def duration(seconds: float | None) -> str | None:
    """Returns seconds as "8.4 s" or "2 min 05 s"."""
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def size(count: int | None) -> str:
    """Returns a number of bytes as "1.5 MiB"."""
    if count is None:
        return "-"
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError(count)


def flatten(value: object, name: str = "") -> dict[str, object]:
    """Returns the leaves of nested dictionaries and lists by their dotted names.

    >>> flatten({"training": {"epochs": 8, "widths": [48, 96]}})
    {'training.epochs': 8, 'training.widths': [48, 96]}

    A list of plain values is a leaf.
    """
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        items = list(enumerate(value))
    else:
        return {name: value}
    found: dict[str, object] = {}
    for key, item in items:
        found |= flatten(item, f"{name}.{key}" if name else str(key))
    return found
