"""Settings of the network and its training."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the network is built and fitted; the presets in `pipeline/config.py` differ in these values only.

    Attributes:
      widths: channels of each stage of the network.
      epochs: passes over the training split.
      batch_size: images a step.
      peak: highest learning rate of the schedule.
      label_smoothing: share of the label that is spread over all classes.
      flip: whether half of the images are mirrored.
      shift: most pixels that an image is moved by, in each direction.
      erase: side of the square that is blanked; 0 for none.
      patience: epochs without a better validation accuracy after which training stops.
      cache_mib: decoded images are held in memory up to this size, and streamed beyond it.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    epochs: int = 5
    batch_size: int = 250
    peak: float = 0.1
    label_smoothing: float = 0.1
    flip: bool = True
    shift: int = 2
    erase: int = 0
    patience: int = 5
    cache_mib: float = 2048.0
