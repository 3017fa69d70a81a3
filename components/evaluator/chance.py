"""What a model has to beat where nobody has set a floor, and what an accuracy on few images is worth.

Two models that are equally good differ as well: one is right where the other errs.

Synopsis:

    floor_over_chance([900, 100])                  # 0.916: naming the larger class is right for 0.9 of them
    [round(end, 3) for end in interval(45, 50)]    # [0.786, 0.957]: what 45 right answers of 50 say
    round(difference_by_chance(300, 300, 10_000), 4)        # 0.0049: of models that disagree on 6 %
"""

import math
from collections.abc import Sequence

_SURE, _TWO_SIDED = 0.95, 1.959964


def floor_over_chance(counts: Sequence[int]) -> float:
    """Returns the accuracy that always naming the largest class reaches by luck in at most one of 20 cases.

    Args:
      counts: number of examples of each class.
    """
    # Takes half a second to import, which those that ask for an interval need not wait for.
    from scipy.stats import binom

    total = sum(counts)
    return float(min(1.0, (binom.ppf(_SURE, total, max(counts) / total) + 1) / total))


def difference_by_chance(only_one: int, only_other: int, total: int) -> float:
    """Returns two standard errors of the difference between two accuracies on the same examples.

    Args:
      only_one, only_other: examples that only the one model, and only the other, is right about.
      total: number of examples.

    Source: the standard error of a difference of paired proportions (Agresti 2013, "Categorical Data Analysis", 11.1).
    """
    return 2 * math.sqrt(only_one + only_other - (only_one - only_other) ** 2 / total) / total


def interval(right: float, total: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share of which `right` of `total` were seen, 0 to 1 where nothing was.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not total:
        return 0.0, 1.0
    share, squared = right / total, _TWO_SIDED**2
    middle = (share + squared / (2 * total)) / (1 + squared / total)
    reach = _TWO_SIDED * math.sqrt(share * (1 - share) / total + squared / (4 * total**2)) / (1 + squared / total)
    # Where all or none were right, rounding would leave the share itself out.
    return max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach))
