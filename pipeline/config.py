"""Every setting of a run, with its default: the one place to change one.

A preset is nothing but other values; smoke, test and full runs take the same code path.

Synopsis:

    config = preset("fast", seed=7, output_root=Path("output"))
"""

import dataclasses
from pathlib import Path

from components.errors import InputError
from models.config import NetworkConfig, TrainingConfig
from models.features import COMPRESSIONS, ENCODINGS, SEVERITIES


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """Settings of a run.

    Attributes:
      preset: the name under which these values are known.
      seed: of the splits, the initial weights, the shuffling and the augmentation.
      data_dir: folder with the IDX files; None looks in the usual places.
      output_root: everything that a run makes lies below it.
      split_sizes: of train, val and test: a number of examples, a fraction, or None for the rest.
      shards: of train, val and test.
      stratified: whether the splits keep the proportions of the classes.
      image_encoding: how a record stores its image: "tensor", "jpeg" or "png".
      compression: of the TFRecord files: "" or "GZIP".
      gate_severity: the least severity, "error" or "warning", of an anomaly that refuses the data.
      accuracy_floor: test accuracy below which a model is refused.
      class_accuracy_floor: the same for each class.
      accuracy_tolerance: how much worse than the latest other blessed model a candidate may be. Two standard errors
        of the difference between two models of 93 % on the same 10,000 images that disagree on 6 % of them.
      kept_versions: how many pushed models stay in the serving folder.
      training: network and recipe.
      enable_cache: whether a node whose inputs, settings and code are unchanged is served from the cache.
    """

    preset: str = "fast"
    seed: int = 42
    data_dir: Path | None = None
    output_root: Path = Path("output")
    split_sizes: tuple[float | None, float | None, float | None] = (None, 5_000, None)
    shards: tuple[int, int, int] = (4, 1, 2)
    stratified: bool = True
    image_encoding: str = "tensor"
    compression: str = ""
    gate_severity: str = "error"
    accuracy_floor: float = 0.9092
    class_accuracy_floor: float = 0.5
    accuracy_tolerance: float = 0.005
    kept_versions: int = 5
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    enable_cache: bool = True

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**31, "seed", "0 to 2147483647", self.seed)
        _require(
            self.image_encoding in ENCODINGS,
            "image_encoding",
            " or ".join(ENCODINGS),
            self.image_encoding,
        )
        _require(self.compression in COMPRESSIONS, "compression", "'' or GZIP", self.compression)
        _require(self.gate_severity in SEVERITIES, "gate_severity", " or ".join(SEVERITIES), self.gate_severity)
        for name in ("accuracy_floor", "class_accuracy_floor", "accuracy_tolerance"):
            _require(0 <= getattr(self, name) <= 1, name, "0 to 1", getattr(self, name))
        _require(min(self.shards) >= 1, "shards", "one or more for each split", self.shards)
        _require(self.kept_versions >= 1, "kept_versions", "one or more", self.kept_versions)
        sizes = [size for size in self.split_sizes if size is not None]
        _require(all(size > 0 for size in sizes), "split_sizes", "positive sizes", self.split_sizes)

    @property
    def metadata_path(self) -> Path:
        """The sqlite database of ML Metadata."""
        return self.output_root / "metadata.db"

    @property
    def artifacts_root(self) -> Path:
        """Where TFX keeps the outputs of each node."""
        return self.output_root / "artifacts"

    def serving_dir(self, model: str) -> Path:
        """Where pushed models lie, one numbered folder a version."""
        return self.output_root / "serving" / model

    @property
    def checkpoint_dir(self) -> Path:
        """Where an interrupted training leaves its state."""
        return self.output_root / "checkpoints"

    @property
    def runs_dir(self) -> Path:
        """Where each run leaves its summary and log."""
        return self.output_root / "runs"


PRESETS = {
    "smoke": {
        "split_sizes": (4_000, 500, 1_000),
        "accuracy_floor": 0.6,
        "class_accuracy_floor": 0.0,
        "training": TrainingConfig(network=NetworkConfig(widths=(16, 32, 64)), epochs=4, batch_size=100),
    },
    "fast": {},
    "best": {
        "accuracy_floor": 0.94,
        "training": TrainingConfig(
            # Neither more width, depth nor epochs paid; a stage at full resolution and an ensemble did (docs/LOG.md).
            network=NetworkConfig(
                widths=(32, 64, 128, 256), blocks=(1, 1, 1, 1), pools=(False, True, True, True), trunks=3
            ),
            epochs=10,
            learning_rate=0.06,
            shift=1,
        ),
    },
}


def preset(name: str, **changes: object) -> PipelineConfig:
    """Returns the configuration of a preset with `changes` to its values.

    Raises:
      InputError: there is no such preset, or a value is out of range.
    """
    if name not in PRESETS:
        raise InputError(f"--preset {name}: expected {', '.join(PRESETS)}.")
    return PipelineConfig(**{"preset": name, **PRESETS[name], **changes})


def _require(condition: bool, name: str, expected: str, found: object) -> None:
    if not condition:
        raise InputError(f"{name}: expected {expected}, found {found}.")
