"""What came of a sweep: a row a training, a summary a point, and how much each setting matters.

Synopsis:

    round(summarize(rows)[1].difference, 4)         # 0.015, to the preset, on average over the seeds
    importance(rows)                                # {"training.shift": 1.0}, shares of what all settings explain
"""

import csv
import dataclasses
import io
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.files import write_text
from pipeline.sweep.factors import Point

if TYPE_CHECKING:
    from models.trials import Outcome

# Trees of the forest whose variance is taken apart, and how often each setting is shuffled.
_TREES, _SHUFFLES = 100, 20
# Standard errors from nothing.
_TELLING = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One training of a sweep (`models.trials.Outcome`); three of these only if the input pipeline was measured."""

    point: Point
    seed: int
    val_accuracy: float
    seconds: float
    cpu_seconds: float
    examples_per_second: float
    parameters: int
    multiply_adds: int
    input_share: float | None = None
    peak_mib: float | None = None
    disk_mib: float | None = None
    failed: str = ""

    @classmethod
    def of(cls, point: Point, seed: int, outcome: "Outcome", disk_mib: float | None) -> "Row":
        """Returns the row of a training."""
        taken = {field.name for field in dataclasses.fields(cls)} & {f.name for f in dataclasses.fields(outcome)}
        return cls(point=point, seed=seed, disk_mib=disk_mib, **{name: getattr(outcome, name) for name in taken})


_FIELDS = tuple(field.name for field in dataclasses.fields(Row))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """The trainings of a point.

    Attributes:
      point: of the sweep.
      count: of its trainings.
      mean, spread: of the validation accuracy, and its standard deviation over the seeds.
      differences: to the preset, by seed; of a seed with which the preset failed there is none.
      cost: multiply-adds of an image as a multiple of the preset's.
      time: of the processor, for the whole training, as a multiple of the preset's, of the medians.
      rate: images a second of the fastest training, as a multiple likewise: what else ran only takes from it.
      input_share, peak_mib: part of a step spent waiting for input, most memory, medians; None if not measured.
      disk_mib: of the training split's shards.
      failed: how many of its trainings did; they count with an accuracy of 0, and nowhere else.
    """

    point: Point
    count: int
    mean: float
    spread: float
    differences: Mapping[int, float]
    cost: float
    time: float
    rate: float
    input_share: float | None
    peak_mib: float | None
    disk_mib: float | None
    failed: int = 0

    @property
    def difference(self) -> float:
        """To the preset, on average over the seeds; not a number without any."""
        return statistics.fmean(self.differences.values()) if self.differences else math.nan

    @property
    def error(self) -> float:
        """Standard error of the difference; 0.0 of one alone."""
        return _deviation(list(self.differences.values())) / max(1, len(self.differences)) ** 0.5

    def is_telling(self, pooled: float) -> bool:
        """Whether the difference is one, measured by its own seeds and by what `pooled_deviation` says."""
        seeds = len(self.differences)
        return seeds > 0 and is_telling(self.difference, self.error, pooled, seeds)


def pooled_deviation(summaries: Sequence[Summary]) -> float:
    """Returns how far a difference lies from seed to seed, by all points together: three seeds alone say little of it.

    0.0 where no point has two seeds.
    """
    # A training that failed lies far from its point's others, and says nothing of the seeds; nor does one that is the
    # preset's to the bit.
    known = [s for s in summaries if not s.failed and len(s.differences) > 1 and any(s.differences.values())]
    variances = [_deviation(list(summary.differences.values())) ** 2 for summary in known]
    freedoms = [len(summary.differences) - 1 for summary in known]
    return float(np.average(variances, weights=freedoms)) ** 0.5 if known else 0.0


def is_telling(difference: float, error: float, pooled: float, count: int) -> bool:
    """Whether a difference over `count` seeds is more than twice its standard error, by its own and by all points'."""
    return abs(difference) > _TELLING * max(error, pooled / count**0.5) > 0


def interaction(pair: Summary, one: Summary, other: Summary) -> tuple[float, float]:
    """Returns what two changes together do beyond the sum of what each does alone, and its standard error."""
    seeds = pair.differences.keys() & one.differences.keys() & other.differences.keys()
    beyond = [pair.differences[seed] - one.differences[seed] - other.differences[seed] for seed in sorted(seeds)]
    return statistics.fmean(beyond), _deviation(beyond) / len(beyond) ** 0.5


def summarize(rows: Sequence[Row]) -> list[Summary]:
    """Returns a summary of each point, in the order in which they come first; the first point is the preset."""
    points = list(dict.fromkeys(row.point for row in rows))
    by_point = {point: [row for row in rows if row.point == point] for point in points}
    measured = {point: [row for row in own if not row.failed] for point, own in by_point.items()}
    standard = measured[points[0]]
    base = {row.seed: row for row in standard}
    summaries = []
    for point, own in by_point.items():
        accuracies = [row.val_accuracy for row in own]
        # Paired: what a seed does to both takes nothing from the difference.
        differences = {row.seed: row.val_accuracy - base[row.seed].val_accuracy for row in own if row.seed in base}
        summaries.append(
            Summary(
                point=point,
                count=len(own),
                mean=statistics.fmean(accuracies),
                spread=_deviation(accuracies),
                differences=differences,
                cost=_ratio("multiply_adds", measured[point], standard),
                time=_ratio("cpu_seconds", measured[point], standard),
                rate=_ratio("examples_per_second", measured[point], standard, of=max),
                input_share=_median([row.input_share for row in measured[point]]),
                peak_mib=_median([row.peak_mib for row in measured[point]]),
                disk_mib=own[0].disk_mib,
                failed=len(own) - len(measured[point]),
            )
        )
    return summaries


def importance(rows: Sequence[Row]) -> dict[str, float]:
    """Returns what each setting explains of the accuracy, as a share of what all of them do, the largest first.

    By permutation importance in a random forest over all trainings (Breiman 2001): what the forest loses when a
    setting's values are shuffled.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    # What fails with no change says nothing of any.
    rows = [row for row in rows if row.point.changes or not row.failed]
    names = list(dict.fromkeys(name for row in rows for name, _ in row.point.changes))
    levels = {name: list(dict.fromkeys(dict(row.point.changes).get(name) for row in rows)) for name in names}
    features = np.array([[levels[name].index(dict(row.point.changes).get(name)) for name in names] for row in rows])
    if not names or len(rows) < 2:
        return {}
    accuracies = np.array([row.val_accuracy for row in rows])
    forest = RandomForestRegressor(_TREES, random_state=0).fit(features, accuracies)
    lost = permutation_importance(forest, features, accuracies, n_repeats=_SHUFFLES, random_state=0).importances_mean
    lost = np.maximum(lost, 0)
    shares = lost / (lost.sum() or 1.0)
    return {names[i]: float(shares[i]) for i in np.argsort(-shares)}


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes a row a training; what a point changes is one column, as JSON."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_FIELDS)
    for row in rows:
        writer.writerow(
            [json.dumps(dict(row.point.changes)), *("" if (v := getattr(row, f)) is None else v for f in _FIELDS[1:])]
        )
    write_text(path, stream.getvalue())


def read_csv(path: Path) -> list[Row]:
    """Returns what `write_csv` wrote."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [_row(line) for line in csv.DictReader(stream)]


def _row(line: dict[str, str]) -> Row:
    changes = json.loads(line.pop("point")).items()
    point = Point(tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in changes))
    failed = line.pop("failed", "")
    figures = {name: json.loads(text) if text else None for name, text in line.items()}
    return Row(point=point, failed=failed, **figures)


def _ratio(name: str, own: Sequence[Row], base: Sequence[Row], of: Callable = statistics.median) -> float:
    """Returns what one's median is of the other's; not a number where nothing of either was trained to its end."""
    if not own or not base:
        return math.nan
    this, that = (of(getattr(row, name) for row in rows) for rows in (own, base))
    return this / that


def _median(values: Sequence[float | None]) -> float | None:
    return None if None in values or not values else statistics.median(values)


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
