"""What came of a sweep: a row a training, a summary a point, and how much each setting matters.

Synopsis:

    summaries = summarize(rows)                     # Summary(point="shift=1", mean=0.9351, spread=0.0012, ...)
    importance(rows)                                # {"training.learning_rate": 0.61, ...}, shares of the variance
"""

import csv
import dataclasses
import io
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.files import write_text
from pipeline.sweep.factors import Point

if TYPE_CHECKING:
    from models.trials import Outcome

# Trees of the forest whose variance is taken apart, and how often each setting is shuffled.
_TREES, _SHUFFLES = 200, 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One training of a sweep; the last three if the input pipeline was measured (`models.trials.Outcome`)."""

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

    @classmethod
    def of(cls, point: Point, seed: int, outcome: "Outcome", disk_mib: float | None) -> "Row":
        """Returns the row of a training."""
        taken = {field.name for field in dataclasses.fields(cls)} & {f.name for f in dataclasses.fields(outcome)}
        return cls(point=point, seed=seed, disk_mib=disk_mib, **{name: getattr(outcome, name) for name in taken})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """The trainings of a point.

    Attributes:
      point: of the sweep.
      count: of its trainings.
      mean, spread: of the validation accuracy, and its standard deviation over the seeds.
      difference, error: to the preset, seed by seed, and the standard error of its mean.
      cost: multiply-adds of an image as a multiple of the preset's.
      time: of the processor, for the whole training, as a multiple of the preset's, of the medians.
      rate: images a second, as a multiple likewise; worth something if nothing else ran.
      input_share, peak_mib: part of a step spent waiting for input, most memory, medians; None if not measured.
      disk_mib: of the training split's shards.
    """

    point: Point
    count: int
    mean: float
    spread: float
    difference: float
    error: float
    cost: float
    time: float
    rate: float
    input_share: float | None
    peak_mib: float | None
    disk_mib: float | None


def summarize(rows: Sequence[Row]) -> list[Summary]:
    """Returns a summary of each point, in the order in which they come first; the first point is the preset."""
    points = list(dict.fromkeys(row.point for row in rows))
    by_point = {point: [row for row in rows if row.point == point] for point in points}
    base = {row.seed: row for row in by_point[points[0]]}
    summaries = []
    for point, own in by_point.items():
        accuracies = [row.val_accuracy for row in own]
        # Paired: what a seed does to both takes nothing from the difference.
        differences = [row.val_accuracy - base[row.seed].val_accuracy for row in own if row.seed in base]
        summaries.append(
            Summary(
                point=point,
                count=len(own),
                mean=statistics.fmean(accuracies),
                spread=_deviation(accuracies),
                difference=statistics.fmean(differences),
                error=_deviation(differences) / len(differences) ** 0.5,
                cost=own[0].multiply_adds / next(iter(base.values())).multiply_adds,
                time=_ratio("cpu_seconds", own, base.values()),
                rate=_ratio("examples_per_second", own, base.values()),
                input_share=_median([row.input_share for row in own]),
                peak_mib=_median([row.peak_mib for row in own]),
                disk_mib=own[0].disk_mib,
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

    names = list(dict.fromkeys(name for row in rows for name, _ in row.point.changes))
    levels = {name: list(dict.fromkeys(dict(row.point.changes).get(name) for row in rows)) for name in names}
    features = np.array([[levels[name].index(dict(row.point.changes).get(name)) for name in names] for row in rows])
    if not names:
        return {}
    accuracies = np.array([row.val_accuracy for row in rows])
    forest = RandomForestRegressor(_TREES, random_state=0).fit(features, accuracies)
    lost = permutation_importance(forest, features, accuracies, n_repeats=_SHUFFLES, random_state=0).importances_mean
    lost = np.maximum(lost, 0)
    shares = lost / (lost.sum() or 1.0)
    return {names[i]: float(shares[i]) for i in np.argsort(-shares)}


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes a row a training; the settings that a point changes are in one column, as they are shown."""
    stream = io.StringIO()
    fields = [field.name for field in dataclasses.fields(Row)]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([getattr(row, name) for name in fields] for row in rows)
    write_text(path, stream.getvalue())


def _ratio(name: str, own: Iterable[Row], base: Iterable[Row]) -> float:
    this, that = (statistics.median(getattr(row, name) for row in rows) for rows in (own, base))
    return this / that


def _median(values: Sequence[float | None]) -> float | None:
    return None if None in values else statistics.median(values)


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
