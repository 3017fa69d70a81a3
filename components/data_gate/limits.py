"""How far a span of data may be from those before it."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateLimits:
    """How far a new span may be from those before it; farther refuses it.

    Attributes:
      class_shift: of the share of a class.
      pixel_shift: of the mean brightness and contrast of the images, in standard deviations between images.
      size_ratio: how many times as many, or as few, images it may have as the median of those before.
      agreement_drop: by how much less of its labels the served model may agree with.
    """

    class_shift: float = 0.05
    pixel_shift: float = 0.5
    size_ratio: float = 10.0
    agreement_drop: float = 0.05

    def __post_init__(self) -> None:
        for name, least in (("class_shift", 0.0), ("pixel_shift", 0.0), ("size_ratio", 1.0), ("agreement_drop", 0.0)):
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise ValueError(f"{name}: expected a finite number from {least:g}, found {value}.")
