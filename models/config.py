"""Settings of the network and of its training; the presets in `pipeline/presets.py` differ in these values mostly.

Each class checks itself: a bad value is a ValueError of one line, `FIELD: expected WHAT, found VALUE.`
"""

import dataclasses
import math

from models.precision import PRECISIONS

CLASS_WEIGHTS = ("none", "balanced")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape of the network; widths, blocks and pools have one entry a stage.

    Attributes:
      kind: its name in the registry `models/networks`.
      stem_size: side of the principal patches that are the frozen stem; of large images in steps of it (`stem_of`).
      widths: channels of each stage.
      blocks: residual blocks after the first convolution of each stage.
      pools: whether the stage halves the resolution, a side below 4 positions excepted.
      members: how many networks of these stages stand side by side on the stem; the mean of their logits answers.
    """

    kind: str = "residual"
    stem_size: int = 2
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (1, 1, 1)
    pools: tuple[bool, ...] = (True, True, True)
    members: int = 1

    def __post_init__(self) -> None:
        _require(self.kind != "", "kind", "the name of a network", "''")
        _require(self.stem_size >= 1, "stem_size", "1 or more", self.stem_size)
        _require(len(self.widths) >= 1, "widths", "at least one stage", self.widths)
        _require(min(self.widths) >= 1, "widths", "1 or more for each stage", self.widths)
        _require(min(self.blocks, default=0) >= 0, "blocks", "0 or more for each stage", self.blocks)
        lengths = {name: len(getattr(self, name)) for name in ("widths", "blocks", "pools")}
        odd = min(lengths, key=lambda name: list(lengths.values()).count(lengths[name]))
        others = " and ".join(f"{name} ({length})" for name, length in lengths.items() if name != odd)
        _require(len(set(lengths.values())) == 1, odd, f"one entry a stage, like {others}", f"{lengths[odd]} entries")
        _require(self.members >= 1, "members", "1 or more", self.members)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the network is built and fitted.

    Attributes:
      network: its shape.
      seed: of weights, order and augmentation; None takes the pipeline's `seed`, which also draws the splits.
      epochs: how often the training is validated and saved; each is a pass over the training split, or several where
        it is small.
      min_epoch_steps: least steps an epoch: so many whole passes over the training split are one.
      batch_size: images a step; fewer where the split is small or the images are large.
      learning_rate: of the convolutions at the peak of the schedule.
      warmup: share of the steps over which the rate rises; it falls to 0 over the rest.
      label_smoothing: share of each label that is spread over all classes.
      class_weights: "balanced": each class weighs the same in the training's loss, however few its images; or "none".
      flip: whether each image is mirrored in every other pass; None: decided from the training images
        (`models/mirror.py`).
      shift: most pixels that an image is moved by, in each direction.
      erase: side of the square that is blanked; 0 for none.
      erase_share: share of the images in which it is.
      augmentations: further ones of `models/augment.py`, by name, in the order in which they are applied.
      patience: epochs without a better validation accuracy after which training stops; None: half of `epochs`.
      precision: "float32", "bfloat16", or "auto": bfloat16 where the processor multiplies it natively.
    """

    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    seed: int | None = None
    epochs: int = 5
    min_epoch_steps: int = 30
    batch_size: int = 250
    learning_rate: float = 0.1
    warmup: float = 0.03
    label_smoothing: float = 0.2
    class_weights: str = "none"
    flip: bool | None = None
    shift: int = 0
    erase: int = 0
    erase_share: float = 0.5
    augmentations: tuple[str, ...] = ()
    patience: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        seed_fits = self.seed is None or 0 <= self.seed < 2**31
        _require(seed_fits, "seed", "none or 0 to 2147483647", self.seed)
        for name in ("epochs", "min_epoch_steps", "batch_size"):
            _require(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))
        _require(self.patience is None or self.patience >= 1, "patience", "none or 1 or more", self.patience)
        for name in ("shift", "erase"):
            _require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        for name in ("warmup", "label_smoothing"):
            _require(0 <= getattr(self, name) < 1, name, "0 or more and below 1", getattr(self, name))
        _require(0 < self.learning_rate < math.inf, "learning_rate", "a finite number above 0", self.learning_rate)
        _require(0 <= self.erase_share <= 1, "erase_share", "0 to 1", self.erase_share)
        known = self.class_weights in CLASS_WEIGHTS
        _require(known, "class_weights", " or ".join(CLASS_WEIGHTS), repr(self.class_weights))
        _require(self.precision in PRECISIONS, "precision", " or ".join(PRECISIONS), repr(self.precision))

    @property
    def epochs_of_patience(self) -> int:
        """Epochs without a better one after which training stops: what was given, else half of all, rounded up."""
        return -(-self.epochs // 2) if self.patience is None else self.patience

    @classmethod
    def from_dict(cls, values: dict) -> "TrainingConfig":
        """Returns the settings that `dataclasses.asdict` and JSON made `values` of."""
        network, own = (
            {name: tuple(v) if isinstance(v, list) else v for name, v in side.items()}
            for side in (values["network"], values)
        )
        return cls(**{**own, "network": NetworkConfig(**network)})


def _require(condition: bool, name: str, expected: str, found: object) -> None:
    if not condition:
        raise ValueError(f"{name}: expected {expected}, found {found}.")
