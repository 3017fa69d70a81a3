"""Compares a new span of data with those that were let in before it.

What differs is told as a warning where it is more than chance, and as an error where it is also more than a limit. By
chance is what the numbers of images make (four standard errors), and what the spans before differed by among
themselves. A slow drift is told by its slope over the last seven spans. Labels are compared with what the served model
says: it was trained without the new span, as the models before it were without those that they were asked about, and a
share of wrong labels lowers the agreement by itself.

Synopsis:

    usual = Profile(span="1", images=100, labels=[50, 50], features={"image_mean": (73, 45), "image_stddev": (85, 20)})
    bright = dataclasses.replace(usual, span="2", features=usual.features | {"image_mean": (182, 45)})
    for anomaly in compare_spans(bright, [usual], ("cat", "dog"), GateLimits()): print(anomaly)      # an error
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from components.data_gate.anomaly import Anomaly
from components.data_gate.duplicates import Table, record_names
from components.data_gate.limits import GateLimits
from models.examples import Examples
from models.features import IMAGE, LABEL

DIGESTS_FILE = "digests.npy"
ALL_SPLITS = "all splits"
# How many standard errors, or deviations among the earlier spans, are no chance any more.
_BEYOND_CHANCE = 4.0
# Of a limit: what is less is not worth a warning, however sure it is.
_WORTH_TELLING = 0.2
# Spans from which their own spread says anything; the median of the deviations times this is a standard deviation.
_FEWEST_SPANS, _TO_DEVIATION = 5, 1.4826
# Spans over which a figure may move in one direction: a week's.
_LONGEST_TREND = 7
_NAMED = 3
_FEATURES = {"image_mean": "brightness", "image_stddev": "contrast"}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """What a span is like, in a few numbers.

    Attributes:
      span: its name.
      images: how many.
      labels: of each class how many.
      features: mean and standard deviation over the images, by feature.
      agreement: with how many of its labels the model that was served then agreed, and of how many; None if none was.
      folder: of the digests of all images.
    """

    span: str
    images: int
    labels: Sequence[int]
    features: dict[str, tuple[float, float]]
    agreement: tuple[int, int] | None = None
    folder: Path | None = None

    @classmethod
    def from_json(cls, text: str, folder: Path | None = None) -> "Profile":
        """Returns what `to_json` made a text of."""
        return cls(**json.loads(text), folder=folder)

    def to_json(self) -> str:
        """Returns all but the folder."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.dumps({name: value for name, value in values.items() if name != "folder"})

    @property
    def digests(self) -> np.ndarray:
        """Digests of all images, uint64 [images]."""
        return np.load(self.folder / DIGESTS_FILE)


def compare_spans(
    new: Profile, earlier: Sequence[Profile], class_names: Sequence[str], limits: GateLimits
) -> Iterator[Anomaly]:
    """Yields what is otherwise in a span than in those before it, of which there may be none.

    Args:
      new: the span.
      earlier: those that were let in before it.
      class_names: by label; new ones last.
      limits: from which a difference is an error.
    """
    if not earlier:
        return
    yield from _sizes(new, earlier, limits)
    yield from _classes(new, earlier, class_names, limits)
    yield from _pixels(new, earlier, limits)
    yield from _labels(new, earlier, limits)


def _sizes(new: Profile, earlier: Sequence[Profile], limits: GateLimits) -> Iterator[Anomaly]:
    usual = float(np.median([span.images for span in earlier]))
    ratio = max(new.images / usual, usual / new.images)
    if ratio > min(2.0, limits.size_ratio):
        yield _anomaly(
            "error" if ratio > limits.size_ratio else "warning",
            "",
            f"size: {new.images:,} images, {usual:,.0f} in the median of {_before(earlier)}; "
            f"{limits.size_ratio:g} times as many or as few are allowed",
        )


def _classes(
    new: Profile, earlier: Sequence[Profile], class_names: Sequence[str], limits: GateLimits
) -> Iterator[Anomaly]:
    table = np.zeros((len(earlier), len(class_names)))
    for row, span in enumerate(earlier):
        table[row, : len(span.labels)] = span.labels
    known, counts = table.sum(axis=0), np.asarray(new.labels, float)
    for number in np.flatnonzero((known == 0) & (counts > 0)):
        yield _anomaly(
            "error",
            LABEL,
            f"class: '{class_names[number]}' is new, with {counts[number]:,.0f} images; {_before(earlier)} have "
            f"{np.count_nonzero(known)} classes",
        )
    # A class that is new takes its share from the others, and one that came lately was in none of the spans before it.
    old = known > 0
    if not counts[old].sum():
        return
    alike = table[(table[:, old] > 0).argmax(axis=0).max() :, old]
    sums = alike.sum(axis=0)
    shares, usual = alike / alike.sum(axis=1, keepdims=True), sums / sums.sum()
    found = counts[old] / counts[old].sum()
    for place, number in enumerate(np.flatnonzero(old)):
        noise = math.sqrt(usual[place] * (1 - usual[place]) * (1 / counts[old].sum() + 1 / sums.sum()))
        shift = found[place] - usual[place]
        name, own = class_names[number], [*shares[:, place], found[place]]
        if moved := _trend(own, math.sqrt(usual[place] * (1 - usual[place]) / counts[old].sum()), limits.class_shift):
            yield _anomaly("warning", LABEL, f"share of '{name}': {_moved(own, moved, 100, ' %')}")
        if severe := _judged(abs(shift), _BEYOND_CHANCE * max(noise, _spread(shares[:, place])), limits.class_shift):
            yield _anomaly(
                severe,
                LABEL,
                f"share of '{name}': {100 * found[place]:.1f} %, {100 * usual[place]:.1f} % in "
                f"{_before(alike)}; {100 * limits.class_shift:g} points more or less are allowed",
            )


def _pixels(new: Profile, earlier: Sequence[Profile], limits: GateLimits) -> Iterator[Anomaly]:
    weights = np.array([span.images for span in earlier], float)
    for name, word in _FEATURES.items():
        means, deviations = (np.array([span.features[name][side] for span in earlier]) for side in (0, 1))
        usual = float(np.average(means, weights=weights))
        between = math.sqrt(float(np.average(deviations**2, weights=weights)))
        found = new.features[name][0]
        noise = between * math.sqrt(1 / new.images + 1 / weights.sum())
        scale = between or 1.0
        own = [*means, found]
        if moved := _trend(own, between / math.sqrt(new.images), limits.pixel_shift * scale):
            yield _anomaly("warning", IMAGE, f"{word}: {_moved(own, moved, 1, ' (0 to 255)')}")
        chance = _BEYOND_CHANCE * max(noise, _spread(means)) / scale
        if severe := _judged(abs(found - usual) / scale, chance, limits.pixel_shift):
            yield _anomaly(
                severe,
                IMAGE,
                f"{word}: {found:.1f} in the mean, {usual:.1f} in {_before(earlier)} (0 to 255), which is "
                f"{abs(found - usual) / scale:.2f} standard deviations between images; {limits.pixel_shift:g} are "
                "allowed",
            )


def _labels(new: Profile, earlier: Sequence[Profile], limits: GateLimits) -> Iterator[Anomaly]:
    asked = [span for span in earlier if span.agreement]
    if not new.agreement or not asked:
        return
    right, count = np.array([span.agreement for span in asked], float).T
    usual, found = right.sum() / count.sum(), new.agreement[0] / new.agreement[1]
    noise = math.sqrt(usual * (1 - usual) * (1 / new.agreement[1] + 1 / count.sum()))
    chance = _BEYOND_CHANCE * max(noise, _spread(right / count))
    if severe := _judged(usual - found, chance, limits.agreement_drop):
        yield _anomaly(
            severe,
            LABEL,
            f"labels: the served model agrees with {100 * found:.1f} % of {new.agreement[1]:,}, with "
            f"{100 * usual:.1f} % in {_before(asked)} when new; {100 * limits.agreement_drop:g} points "
            "less are allowed",
        )


def as_when_new(profile: Profile, own: Sequence[Profile]) -> Profile:
    """Returns what later spans are compared with.

    Args:
      profile: of a span.
      own: of what was let in in its place before. A model that has seen it agrees with it more than new ones can:
        what was said then stays.
    """
    return dataclasses.replace(profile, agreement=own[0].agreement) if own else profile


def seen_before(
    examples: Examples, tables: Mapping[str, Table], earlier: Sequence[Profile], tolerance: float
) -> Iterator[Anomaly]:
    """Yields for each split how many of its images were in earlier spans, in whichever split.

    Args:
      examples: of the new span.
      tables: what `digest_tables` gave of them.
      earlier: those that were let in before it.
      tolerance: the share of a split's images that may have been; up to there it is a warning.
    """
    for split, (digests, _) in tables.items():
        seen, where = np.zeros(len(digests), bool), {}
        for span in earlier:
            here = np.isin(digests, span.digests) & ~seen
            where |= {int(record): span.span for record in np.flatnonzero(here)[:_NAMED]}
            seen |= here
        if not seen.any():
            continue
        records = sorted(where)[:_NAMED]
        pairs = zip(record_names(examples, split, records), records, strict=True)
        told = ", ".join(f"{name} was in span {where[record]}" for name, record in pairs)
        more = ", ..." if seen.sum() > _NAMED else ""
        text = f"expected no image that was in a span before, found {seen.sum():,}: {told}{more}"
        yield Anomaly(severity="error" if seen.mean() > tolerance else "warning", split=split, feature=IMAGE, text=text)


def _judged(shift: float, chance: float, limit: float) -> str:
    """Returns "error", "warning" or "" for a shift, given what chance makes of it and how much is allowed."""
    if shift <= max(chance, _WORTH_TELLING * limit):
        return ""
    return "error" if shift > limit else "warning"


def _spread(values: np.ndarray) -> float:
    """Returns the standard deviation of figures of earlier spans, by the median: an odd one of them widens nothing."""
    if len(values) < _FEWEST_SPANS:
        return 0.0
    return float(_TO_DEVIATION * np.median(np.abs(values - np.median(values))))


def _trend(values: Sequence[float], noise: float, limit: float) -> int:
    """Returns over how many of the last spans a figure has moved in one direction, 0 where it did not.

    A slow drift is never far from the spans before it, of which most have it too. What tells it is the slope of a line
    through the last figures, whose error follows from the noise of one of them or from how they lie about the line.
    """
    count = min(len(values), _LONGEST_TREND)
    if count < _FEWEST_SPANS:
        return 0
    places, last = np.arange(count) - (count - 1) / 2, np.asarray(values[-count:], float)
    slope = places @ last / (places @ places)
    about = math.sqrt(float(np.sum((last - last.mean() - slope * places) ** 2)) / (count - 2))
    error = max(noise, about) / math.sqrt(places @ places)
    far = abs(slope) * (count - 1) > _WORTH_TELLING * limit
    return count if far and abs(slope) > _BEYOND_CHANCE * error else 0


def _moved(values: Sequence[float], count: int, factor: float, unit: str) -> str:
    first, last = factor * values[-count], factor * values[-1]
    word = "risen" if last > first else "fallen"
    return f"a drift: it has {word} over the last {count} spans, from {first:.1f} to {last:.1f}{unit}"


def _before(earlier: Sequence) -> str:
    return f"the {len(earlier)} spans before" if len(earlier) > 1 else "the span before"


def _anomaly(severity: str, feature: str, text: str) -> Anomaly:
    return Anomaly(severity=severity, split=ALL_SPLITS, feature=feature, text=text)
