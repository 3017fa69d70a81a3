"""What the data gate tells: an anomaly."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Anomaly:
    """Something about the data that should not be.

    Attributes:
      severity: "error" or "warning".
      split: where.
      feature: of what; "" for the examples as a whole.
      text: what was expected and what was found.
    """

    severity: str
    split: str
    feature: str
    text: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.split}: {self.feature or 'all examples'}: {self.text}"
