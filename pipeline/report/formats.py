"""Puts values into words and figures for a reader; what is missing becomes nothing.

Synopsis:

    percent(0.9262), seconds(125)        # "92.6 %", "2 min 5 s", with narrow spaces that do not break
    counted(1, "anomaly", "anomalies")   # "1 anomaly"
"""

import json

import jinja2


def percent(value: float | None, digits: int = 1) -> str:
    """Returns a share as "92.6 %"."""
    return "" if _missing(value) else f"{100 * value:.{digits}f}\u202f%"


def seconds(value: float | None) -> str:
    """Returns seconds as "8.4 s" or "2 min 5 s"."""
    if _missing(value):
        return ""
    if value < 60:
        return f"{value:.1f}\u202fs" if value < 10 else f"{value:.0f}\u202fs"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}\u202fmin {rest}\u202fs"


def count(value: float | None) -> str:
    """Returns a whole number with separators."""
    return "" if _missing(value) else f"{round(value):,}"


def counted(value: float | None, one: str, many: str) -> str:
    """Returns a whole number with its noun."""
    return "" if _missing(value) else f"{count(value)} {one if value == 1 else many}"


def figure(value: object) -> str:
    """Returns a setting or a measured value in a few characters."""
    if _missing(value) or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _missing(value: object) -> bool:
    return value is None or isinstance(value, jinja2.Undefined)
