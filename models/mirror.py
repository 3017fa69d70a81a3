"""Finds out from the training images whether their mirror images may be trained on.

A mirrored shirt is a shirt, a mirrored b is a d. Nearest neighbours tell without training: mirror images beside the
images bring each of them nearer to its own class, or nearer to another. Both happen about equally often where either
side may be seen, as on shirts; where the other one happens clearly more often, overall or in a class, mirrored training
would teach what is wrong. Only images that lie near another class are counted, for on others nothing hangs.

Synopsis:

    plain, mirrored = views_of(images)                      # of uint8 [n, 28, 28, 1]: whole numbers, float64 [n, 196]
    flip, reason = judge_mirroring(plain, mirrored, labels, class_names)
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtrc

from models.row_reader import spread_rows

# Images that are looked at, and how many of them are asked about; of more, these are evenly spread (`spread_rows`).
LOOKED_AT, _ASKED = 4_000, 2_000
# Longest side of the images as they are compared.
_SIDE = 16
# Images whose distances to all others are held at a time, 16 MB for either view.
_CHUNK = 500
# An image lies near another class where that is at most twice as far as its own, in squared distances.
_NEAR = 2.0
# A judgement against mirroring: the share of images brought nearer to another class, among those brought nearer to
# either, lies above _EVEN, but for this chance; and their surplus is no trifle. Measured in docs/LOG.md.
_EVEN, _CHANCE = 0.55, 0.01
_LEAST_SURPLUS, _LEAST_CLASS_SURPLUS = 0.02, 0.2


def views_of(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Averages images, and their mirror images, down to at most 16 pixels a side.

    Args:
      images: uint8 [n, height, width, channels].

    Returns:
      Two arrays of whole numbers, float64 [n, pixels], whose squared distances are exact.
    """
    return _shrunk(images), _shrunk(images[:, :, ::-1])


def judge_mirroring(
    plain: np.ndarray, mirrored: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> tuple[bool, str]:
    """Decides whether training images may be mirrored.

    Args:
      plain, mirrored: the views of the same images, as `views_of` gives them; 4,000 are looked at.
      labels: integer [n].
      class_names: by label.

    Returns:
      Whether to mirror, and why, in words.
    """
    looked_at = spread_rows(len(labels), LOOKED_AT)
    plain, mirrored, labels = (values[looked_at] for values in (plain, mirrored, labels))
    numbers = spread_rows(len(labels), _ASKED)
    asked = labels[numbers]
    chunks = [numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK)]
    parts = [_neighbours(plain, mirrored, labels, chunk) for chunk in chunks]
    found = _Neighbours(*(np.concatenate(values) for values in zip(*map(dataclasses.astuple, parts), strict=True)))
    worse, better = found.worse_and_better()

    classes = len(class_names)
    of_class, worse_of, better_of = (
        np.bincount(asked[rows], minlength=classes) for rows in (asked >= 0, worse, better)
    )
    no = _against(worse.sum(), better.sum(), len(asked), _LEAST_SURPLUS, _CHANCE) or any(
        _against(*counts, _LEAST_CLASS_SURPLUS, _CHANCE / classes)
        for counts in zip(worse_of, better_of, of_class, strict=True)
    )
    reason = (
        f"mirror images bring another class nearer to {worse.sum():,} of {len(asked):,} images, and their own to "
        f"{better.sum():,}"
    )
    if no:
        first = int(np.argmax((worse_of - better_of) / np.maximum(of_class, 1)))
        rivals = np.bincount(found.rival[worse & (asked == first)], minlength=classes)
        second = int(np.argmax(rivals))
        reason += (
            f"; '{class_names[first]}' resembles a mirrored '{class_names[second]}' in {rivals[second]:,} of "
            f"{of_class[first]:,}"
        )
    return not no, reason


@dataclasses.dataclass(frozen=True, eq=False)
class _Neighbours:
    """Squared distances from images to the nearest others, plus 1, so that their ratios are finite; float64 [n].

    Attributes:
      own, own_mirrored: to the nearest image, and mirror image, of its class.
      other, other_mirrored: of the other classes.
      rival: class of the latter, int64 [n].
    """

    own: np.ndarray
    own_mirrored: np.ndarray
    other: np.ndarray
    other_mirrored: np.ndarray
    rival: np.ndarray

    def worse_and_better(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns which images lose by the mirror images, and which gain: bool [n] each."""
        own, other = np.minimum(self.own, self.own_mirrored), np.minimum(self.other, self.other_mirrored)
        # The only image of its class, or an image of the only class, has nothing to be compared with.
        known = np.isfinite(own) & np.isfinite(other)
        near = known & (other <= _NEAR * np.where(known, own, 0))
        gain = np.divide(self.own, own, out=np.ones_like(own), where=near)
        loss = np.divide(self.other, other, out=np.ones_like(own), where=near)
        return near & (loss > gain), near & (gain > loss)


def _neighbours(plain: np.ndarray, mirrored: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> _Neighbours:
    queries = plain[asked]
    same = labels[asked][:, None] == labels[None]
    squares = (queries**2).sum(axis=1)

    def distances(references: np.ndarray) -> np.ndarray:
        found = squares[:, None] + (references**2).sum(axis=1)[None] - 2 * queries @ references.T + 1
        found[np.arange(len(queries)), asked] = np.inf  # neither itself nor its mirror image
        return found

    alone, beside = distances(plain), distances(mirrored)
    others = np.where(same, np.inf, beside)
    return _Neighbours(
        own=np.where(same, alone, np.inf).min(axis=1),
        own_mirrored=np.where(same, beside, np.inf).min(axis=1),
        other=np.where(same, np.inf, alone).min(axis=1),
        other_mirrored=others.min(axis=1),
        rival=labels[others.argmin(axis=1)],
    )


def _against(worse: int, better: int, count: int, least: float, chance: float) -> bool:
    """Returns whether so many losses against gains among `count` images speak against mirroring."""
    by_chance = bdtrc(worse - 1, worse + better, _EVEN) if worse else 1.0
    return worse - better >= least * count and by_chance < chance


def _shrunk(images: np.ndarray) -> np.ndarray:
    count, *sides, channels = images.shape
    factors = [-(-side // _SIDE) for side in sides]
    rows, columns = (side // factor for side, factor in zip(sides, factors, strict=True))
    kept = images[:, : rows * factors[0], : columns * factors[1]]
    blocks = kept.reshape(count, rows, factors[0], columns, factors[1], channels)
    return np.rint(blocks.mean(axis=(2, 4))).reshape(count, -1)
