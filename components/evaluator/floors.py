"""The floors that a model has to reach, as a setting: what they are called and what they mean.

A key is METRIC, METRIC@SLICING or METRIC@SLICING=VALUE: overall, for each slice of a slicing, or for one of them. Of a
metric of which less is better (`loss`, `expected_calibration_error`), the value is the most that it may be. Nothing
here imports TensorFlow, so that a wrong key is told at once.

Synopsis:

    check_floors({"accuracy": 0.9092, "accuracy@class": 0.5, "accuracy@class=Shirt": 0.7, "loss": 0.4})
"""

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from components.errors import InputError
from components.evaluator.metrics import METRICS, Metric
from components.evaluator.slices import SLICINGS
from components.text import read_text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Floor:
    """What a metric has to reach.

    Attributes:
      metric: which.
      slicing: name of a slicing, "" for all examples.
      value: the slice that it is meant for, None for each.
      bound: the least that the metric may be, or the most, if less is better.
    """

    metric: Metric
    slicing: str = ""
    value: str | None = None
    bound: float


def check_floors(floors: Mapping[str, float]) -> tuple[Floor, ...]:
    """Returns what the floors of a configuration mean. Whether a slice of that value exists, only the data can tell.

    Raises:
      InputError: a key names no metric or no slicing, or a value is no number that the metric can reach.
    """
    return tuple(_floor(key, bound) for key, bound in floors.items())


def read_floors(path: Path, presets: Iterable[str]) -> dict[str, dict[str, float]]:
    """Reads the floors that a data set has of its own, {} where there is no such file.

    Args:
      path: of the TOML file.
      presets: the names that a table may have, beside "default".

    Returns:
      The floors by preset; "default" are those of every preset.

    Raises:
      InputError: it is no TOML of such tables, or a floor is none.
    """
    if not path.is_file():
        return {}
    try:
        tables = tomllib.loads(read_text(path)[0])
    except ValueError as error:
        raise InputError(f"{path}: expected TOML, found: {error}.") from None
    for name, floors in tables.items():
        if not isinstance(floors, dict):
            raise InputError(f"{path}: expected tables such as [default], found {name} outside of one.")
        if name not in ("default", *presets):
            raise InputError(f"{path}: expected tables default, {', '.join(presets)}, found {name}. Rename it.")
        try:
            check_floors(floors)
        except InputError as error:
            raise InputError(f"{path}, [{name}]: {error}") from None
    return tables


def _floor(key: str, bound: float) -> Floor:
    where = f"floors.{key}"
    name, at, part = key.partition("@")
    slicing, equals, value = part.partition("=")
    _require_known(where, "metric", name, METRICS)
    metric = METRICS[name]
    if at:
        _require_known(where, "slicing", slicing, SLICINGS)
        if not metric.by_slice:
            raise InputError(f"{where}: expected a metric of slices, found {name}, which is measured overall only.")
    most = 1 if metric.format == "percent" else math.inf
    number = isinstance(bound, int | float) and not isinstance(bound, bool) and math.isfinite(bound)
    if not number or bound > most or (most == 1 and bound < 0):
        raise InputError(f"{where}: expected {'0 to 1' if most == 1 else 'a number'}, found {bound!r}.")
    return Floor(metric=metric, slicing=slicing, value=value if equals else None, bound=float(bound))


def _require_known(where: str, kind: str, name: str, known: Iterable[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise InputError(f"{where}: expected a {kind} ({', '.join(known)}), found {name!r}.{hint}")
