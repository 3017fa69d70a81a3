"""Settings of the network and of its training; the presets in `pipeline/presets.py` differ in these values mostly.

Each class checks itself: a bad value is a ValueError of one line, `FIELD: expected WHAT, found VALUE.`
"""

import dataclasses
import math

from models.precision import PRECISIONS

CLASS_WEIGHTS = ("none", "balanced")
ALGORITHMS = ("bayesian", "random")
# Each with the learning rate that it takes where none is given.
OPTIMIZERS = {"muon": 0.1, "adam": 0.002, "sgd": 0.05}


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
      mirrored_view: whether the mean of the logits of an image and of its mirror image answers (test-time
        augmentation), where the training mirrors; an answer costs twice as much then, a training step the same.
      norm: whether a batch norm follows each convolution; without one a bias does.
      dropout: share of the values before the head, and in the network "plain" behind each stage, that are left out of
        a training step.
    """

    kind: str = "residual"
    stem_size: int = 2
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (1, 1, 1)
    pools: tuple[bool, ...] = (True, True, True)
    members: int = 1
    mirrored_view: bool = False
    norm: bool = True
    dropout: float = 0.0

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
        _require(0 <= self.dropout < 1, "dropout", "0 or more and below 1", self.dropout)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How the training split comes to the training; what comes is the same images in another order at most.

    Attributes:
      cached: whether it is decoded once, into memory or a file; else each pass reads and decodes the shards anew, and
        no image is left out of one (`TrainingConfig.prune`).
      shuffle: whether each pass has an order of its own: a permutation, or, where it is not cached, a shuffle buffer.
      buffer: of examples in that, at most; fewer of images that take more than 256 MiB.
      parallel: batches that are made at the same time.
      prefetch: batches that are kept ready.
    """

    cached: bool = True
    shuffle: bool = True
    buffer: int = 10_000
    parallel: int = 4
    prefetch: int = 4

    def __post_init__(self) -> None:
        for name in ("buffer", "parallel", "prefetch"):
            _require(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the network is built and fitted.

    Attributes:
      network: its shape.
      input: how the images come to it.
      seed: of weights, order and augmentation; None takes the pipeline's `seed`, which also draws the splits.
      epochs: how often the training is validated and saved; each is a pass over the training split, or several where
        it is small.
      min_epoch_steps: least steps an epoch: so many whole passes over the training split are one.
      batch_size: images that a step is fitted to; fewer where the split is small or the images are large.
      prune: share of the images of each pass that are left out of it, those that teach little rather than others
        (`models/pruning.py`); none are where the images are streamed.
      optimizer: "muon" (`models/optimizer.py`), "adam", or "sgd" with Nesterov momentum. Muon supposes that a norm
        follows each convolution and that every matrix is a head.
      learning_rate: of the convolutions at the peak of the schedule; None: that of the optimizer in `OPTIMIZERS`.
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
      precision: "float32", "bfloat16", or "auto": bfloat16 where the GPU, or the processor, multiplies it natively.
      warm_start: whether to begin with the weights of the model that is served, if there is one of this network.
      warm_epochs: in the place of `epochs` then.
      warm_rate: in the place of the learning rate then, as a share of it.
    """

    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    seed: int | None = None
    epochs: int = 5
    min_epoch_steps: int = 30
    batch_size: int = 250
    prune: float = 0.0
    optimizer: str = "muon"
    learning_rate: float | None = None
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
    warm_start: bool = False
    warm_epochs: int = 2
    warm_rate: float = 0.5

    def __post_init__(self) -> None:
        seed_fits = self.seed is None or 0 <= self.seed < 2**31
        _require(seed_fits, "seed", "none or 0 to 2147483647", self.seed)
        _require(0 < self.warm_rate <= 1, "warm_rate", "above 0 and at most 1", self.warm_rate)
        for name in ("epochs", "min_epoch_steps", "batch_size", "warm_epochs"):
            _require(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))
        _require(self.patience is None or self.patience >= 1, "patience", "none or 1 or more", self.patience)
        for name in ("shift", "erase"):
            _require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        # Of ten images one is fitted at least: all are in memory at once.
        _require(0 <= self.prune <= 0.9, "prune", "0 to 0.9", self.prune)
        for name in ("warmup", "label_smoothing"):
            _require(0 <= getattr(self, name) < 1, name, "0 or more and below 1", getattr(self, name))
        _require(self.optimizer in OPTIMIZERS, "optimizer", " or ".join(OPTIMIZERS), repr(self.optimizer))
        sensible = self.learning_rate is None or 0 < self.learning_rate < math.inf
        _require(sensible, "learning_rate", "none, or a finite number above 0", self.learning_rate)
        _require(0 <= self.erase_share <= 1, "erase_share", "0 to 1", self.erase_share)
        known = self.class_weights in CLASS_WEIGHTS
        _require(known, "class_weights", " or ".join(CLASS_WEIGHTS), repr(self.class_weights))
        _require(self.precision in PRECISIONS, "precision", " or ".join(PRECISIONS), repr(self.precision))

    @property
    def epochs_of_patience(self) -> int:
        """Epochs without a better one after which training stops: what was given, else half of all, rounded up."""
        return -(-self.epochs // 2) if self.patience is None else self.patience

    @property
    def peak_rate(self) -> float:
        """The learning rate at the peak of the schedule: what was given, else that of the optimizer."""
        return OPTIMIZERS[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def warmed(self) -> "TrainingConfig":
        """The same with the schedule of a warm start."""
        rate = self.warm_rate * self.peak_rate
        # In so few passes no image is left out.
        return dataclasses.replace(self, epochs=self.warm_epochs, learning_rate=rate, prune=0.0)

    @classmethod
    def from_dict(cls, values: dict) -> "TrainingConfig":
        """Returns the settings that `dataclasses.asdict` and JSON made `values` of."""
        network, own = (
            {name: tuple(v) if isinstance(v, list) else v for name, v in side.items()}
            for side in (values["network"], values)
        )
        return cls(**{**own, "network": NetworkConfig(**network), "input": InputConfig(**values.get("input", {}))})


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Whether and how hyperparameters are searched before the training.

    Attributes:
      enabled: whether to search at all; else the Trainer takes the settings as they are.
      trials: most trainings to try; the first is the settings as they are.
      minutes: of trials after which no more are begun, counted as they ran, side by side or one after another; None
        for no limit.
      algorithm: "bayesian" or "random".
      side_by_side: trials in a round, which run at the same time where there are cores; part of what is searched, so
        that the result does not depend on how many do.
      fixed: settings below `training.` that the search leaves as they are; those that a person gave, unless named here.
    """

    enabled: bool = False
    trials: int = 20
    minutes: float | None = None
    algorithm: str = "bayesian"
    side_by_side: int = 2
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("trials", "side_by_side"):
            _require(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))
        timed = self.minutes is None or 0 < self.minutes < math.inf
        _require(timed, "minutes", "none, or a finite number above 0", self.minutes)
        expected = " or ".join(ALGORITHMS)
        if self.algorithm == "hyperband":
            # TFX's executor lists an oracle's best max_trials trials, and Hyperband has no such number.
            expected += " (TFX's Tuner cannot end a Hyperband search; hopeless trials are given up early with either)"
        _require(self.algorithm in ALGORITHMS, "algorithm", expected, repr(self.algorithm))
        known = {field.name for field in dataclasses.fields(TrainingConfig)}
        for group, kind in (("network", NetworkConfig), ("input", InputConfig)):
            known |= {f"{group}.{field.name}" for field in dataclasses.fields(kind)}
        unknown = sorted(set(self.fixed) - known)
        _require(not unknown, "fixed", "names of settings below training.", ", ".join(unknown))


def _require(condition: bool, name: str, expected: str, found: object) -> None:
    if not condition:
        raise ValueError(f"{name}: expected {expected}, found {found}.")
