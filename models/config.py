"""Settings of the network and of its training; the presets in `pipeline/config.py` differ in these values only."""

import dataclasses

from models.precision import PRECISIONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape of the network, one entry a stage.

    Attributes:
      stem_size: side of the principal patches that are the frozen stem.
      widths: channels of each stage.
      blocks: residual blocks after the first convolution of each stage.
      pools: whether the stage halves the resolution.
      trunks: how many networks of these stages stand side by side on the stem; the mean of their logits answers.
    """

    stem_size: int = 2
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (1, 1, 1)
    pools: tuple[bool, ...] = (True, True, True)
    trunks: int = 1

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.blocks) == len(self.pools):
            raise ValueError(
                "widths, blocks and pools describe the same stages: expected one length, found "
                f"{len(self.widths)}, {len(self.blocks)} and {len(self.pools)}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the network is built and fitted.

    Attributes:
      network: its shape.
      epochs: passes over the training split.
      batch_size: images a step.
      learning_rate: of the convolutions at the peak of the schedule.
      warmup: share of the steps over which the rate rises; it falls to 0 over the rest.
      label_smoothing: share of each label that is spread over all classes.
      flip: whether each image is mirrored in every other epoch.
      shift: most pixels that an image is moved by, in each direction.
      erase: side of the square that is blanked; 0 for none.
      erase_share: share of the images in which it is.
      patience: epochs without a better validation accuracy after which training stops.
      precision: "float32", "bfloat16", or "auto": bfloat16 where the processor multiplies it natively.
      cache_mib: decoded images are held in memory up to this size, and streamed beyond it.
    """

    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    epochs: int = 5
    batch_size: int = 250
    learning_rate: float = 0.1
    warmup: float = 0.03
    label_smoothing: float = 0.2
    flip: bool = True
    shift: int = 0
    erase: int = 0
    erase_share: float = 0.5
    patience: int = 10
    precision: str = "auto"
    cache_mib: float = 2048.0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision: expected auto, float32 or bfloat16, found {self.precision}.")

    @classmethod
    def from_dict(cls, values: dict) -> "TrainingConfig":
        """Returns the settings that `dataclasses.asdict` and JSON made `values` of."""
        network = {name: tuple(v) if isinstance(v, list) else v for name, v in values["network"].items()}
        return cls(**{**values, "network": NetworkConfig(**network)})
