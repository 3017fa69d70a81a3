"""Every setting of a run, with its default: the one place to add or change one.

Synopsis:

    config = PipelineConfig(seed=7, output_root=Path("output"))
    flatten(config)["training.epochs"]                         # 5
    build({**flatten(config), "training.epochs": 3})           # the same with three epochs
"""

import dataclasses
import difflib
import math
import re
import typing
from collections.abc import Mapping
from pathlib import Path

from components.data_gate.limits import GateLimits
from components.errors import InputError
from components.example_gen.spans import SpanPattern
from models.config import TrainingConfig, TuneConfig
from models.features import COMPRESSIONS, ENCODINGS, FITS, SEVERITIES, SPLITS
from models.memory import SMALLEST_MIB
from pipeline.metadata.shared import SharedDatabase


@dataclasses.dataclass(frozen=True, kw_only=True)
class KubeflowConfig:
    """What a pipeline for Kubeflow Pipelines says of the cluster (`kubeflow_runner.py`, docs/orchestration.md).

    Attributes:
      image: that each node runs in, as deploy/Dockerfile makes it; "" where there is none.
      root: of the outputs, an address in an object store or a folder that all nodes see; "" where there is none.
      mount: START=FOLDER, where the object store is mounted in the containers: "gs://=/gcs/"; "" for a folder.
      data: the folder with the data, in the containers.
      shared: the folder there, with locks and renames, of checkpoints, trials and what is served.

    Raises:
      ValueError: a value is out of range, told as `FIELD: expected WHAT, found VALUE.`
    """

    image: str = ""
    root: str = ""
    mount: str = ""
    data: str = "/data"
    shared: str = "/shared"

    def __post_init__(self) -> None:
        checks = [
            ("image", re.fullmatch(r"\S*", self.image), "the name of an image, without spaces"),
            (
                "root",
                re.match(r"[a-z0-9]+://.|/|$", self.root),
                "an address such as gs://bucket/pipeline, or a path from /",
            ),
            ("mount", re.fullmatch(r"([a-z0-9]+://[^=]*=/.+)?", self.mount), "START=FOLDER, such as gs://=/gcs/"),
            *((name, getattr(self, name).startswith("/"), "a path from /") for name in ("data", "shared")),
        ]
        for name, is_fit, expected in checks:
            if not is_fit:
                raise ValueError(f"{name}: expected {expected}, found {getattr(self, name)!r}.")


# Engines that Beam's work runs on.
RUNNERS = DIRECT, FLINK, PORTABLE = "direct", "flink", "portable"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """Settings of a run.

    Attributes:
      preset: the name under which these values are known (`pipeline/presets.py`).
      name: of the data set: what is compared with what came before, and served in its place; None: chosen from the
        data and their folder. Letters, digits, _ and - only.
      variant: what keeps runs of a kind apart: their models are compared and served among themselves, as NAME.VARIANT.
        The same characters.
      seed: of the splits, and of the training unless `training.seed` is given.
      data_dir: folder, or file, with the data, of any kind in components/example_gen/kinds; None looks in the usual
        places. With {SPAN}, or {YYYY}, {MM} and {DD}, in it: of data that arrive in spans, each such a folder or file;
        {VERSION} tells a corrected one (components/example_gen/spans.py).
      span: the last one that is trained on, a number or a date, which has to be there; None: the latest that is.
      window: how many spans are trained on; None: all.
      admit: spans that the gate lets in whatever it finds, by name.
      output_root: everything that a run makes lies below it.
      metadata_database: a database of MySQL or MariaDB that other output roots use as well, mysql://USER@HOST/DATABASE;
        None: sqlite in the output root, or where its first run was told to keep it (docs/orchestration.md).
      image_size: (height, width) that all images are fitted into; None: the one that they all have.
      image_channels: 1 for gray or 3 for colour; None: as they are.
      image_fit: how an image of another size is fitted: "pad", "crop" or "stretch".
      broken_images: how many broken images may be left out; one more refuses the run.
      split_sizes: of train, val and test: a number of examples, a fraction of the part of the data that they are drawn
        from, or None: all that the data give as such a split, else 1/12 of the training images for val, 1/6 for test
        and the rest for train.
      split_limits: of each the most examples where its size is None; None for no limit.
      shards: of train, val and test; None: 4, 2 and 2, or one for each 64 MiB of pixels where these are more.
      stratified: whether the splits keep the proportions of the classes.
      image_encoding: how a record stores its image: "tensor", "jpeg" or "png".
      compression: of the TFRecord files: "" or "GZIP".
      duplicate_tolerance: the share of a split's images that may be in another split too, or under two labels.
      gate_severity: the least severity, "error" or "warning", of an anomaly that refuses the data.
      gate: how far a span may be from those before it.
      floors: METRIC, METRIC@SLICING (each value of it) or METRIC@SLICING=VALUE to the least that a model is blessed
        with; the metrics and slicings are those of components/evaluator. They go before what the data set has of its
        own; without any for the overall accuracy, a model must beat the largest class (components/evaluator/chance.py).
      accuracy_tolerance: how much worse than the latest other blessed model a candidate may be; None: by two standard
        errors of the difference, what chance alone makes of equals (components/evaluator/chance.py).
      replace_other_classes: whether a model may be published over one that answers about other classes or images of
        another shape.
      kept_versions: how many different models stay in the serving folder.
      kept_runs: how many of the latest runs of each served name keep all that they made; what stays beyond them is in
        pipeline/metadata/retention.py. Each run deletes the rest at its end; None: nothing is deleted by itself.
      push: whether a blessed model is published; without, `python -m pipeline.publish RUN` does it later.
      training: network and recipe.
      tune: the search for better hyperparameters.
      memory_mib: how much of the data a run may hold in memory, in MiB; None: a quarter of what the machine has, or its
        container. It changes no result.
      on_end: a command for `sh -c` that is run when a run has ended, however it ended (docs/unattended.md).
      on_end_seconds: that it may take; then it is ended.
      beam_runner: the engine of Beam's work: "direct", in this process, "flink" or "portable" (docs/scaling.md). It
        changes no result, but for the last bits of metrics.
      beam_args: further options of Beam's, which go before those of the engine: ("--parallelism=4",).
      beam_seconds: that a job may take on an engine that is not "direct"; then it is cancelled.
      kubeflow: what a pipeline for Kubeflow Pipelines says of the cluster; no run of local_runner.py looks at it.
      enable_cache: whether a node whose inputs, settings and code are unchanged is served from the cache.

    Raises:
      InputError: a value is out of range, told as `FIELD: expected WHAT, found VALUE.`
    """

    preset: str = "fast"
    name: str | None = None
    variant: str = ""
    seed: int = 42
    data_dir: Path | None = None
    span: str | None = None
    window: int | None = None
    admit: tuple[str, ...] = ()
    output_root: Path = Path("output")
    metadata_database: str | None = None
    image_size: tuple[int, int] | None = None
    image_channels: int | None = None
    image_fit: str = "pad"
    broken_images: int = 0
    split_sizes: tuple[int | float | None, int | float | None, int | float | None] = (None, None, None)
    split_limits: tuple[int | None, int | None, int | None] = (None, None, None)
    shards: tuple[int | None, int | None, int | None] = (None, None, None)
    stratified: bool = True
    image_encoding: str = "tensor"
    compression: str = ""
    duplicate_tolerance: float = 0.0
    gate_severity: str = "error"
    gate: GateLimits = dataclasses.field(default_factory=GateLimits)
    floors: dict[str, float] = dataclasses.field(default_factory=dict)
    accuracy_tolerance: float | None = None
    replace_other_classes: bool = False
    kept_versions: int = 5
    kept_runs: int | None = 10
    push: bool = True
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    tune: TuneConfig = dataclasses.field(default_factory=TuneConfig)
    memory_mib: float | None = None
    on_end: str | None = None
    on_end_seconds: float = 120.0
    beam_runner: str = DIRECT
    beam_args: tuple[str, ...] = ()
    beam_seconds: float = 3600.0
    kubeflow: KubeflowConfig = dataclasses.field(default_factory=KubeflowConfig)
    enable_cache: bool = True

    def __post_init__(self) -> None:
        named = self.name is None or re.fullmatch("[A-Za-z0-9_-]+", self.name)
        _require(named, "name", "letters, digits, _ and - only", repr(self.name))
        plain = re.fullmatch("[A-Za-z0-9_-]*", self.variant)
        _require(plain, "variant", "letters, digits, _ and - only", repr(self.variant))
        _require(0 <= self.seed < 2**31, "seed", "0 to 2147483647", self.seed)
        _require(self.image_encoding in ENCODINGS, "image_encoding", " or ".join(ENCODINGS), repr(self.image_encoding))
        _require(self.compression in COMPRESSIONS, "compression", "'' or GZIP", repr(self.compression))
        _require(self.gate_severity in SEVERITIES, "gate_severity", " or ".join(SEVERITIES), repr(self.gate_severity))
        for metric, floor in self.floors.items():
            _require(metric, "floors.", "the name of a metric after the dot", "none")
            _require(math.isfinite(floor), f"floors.{metric}", "a finite number", floor)
        _require(self.window is None or self.window >= 1, "window", "none, or 1 or more spans", self.window)
        for name, value in (("span", self.span), ("window", self.window), ("admit", self.admit)):
            given = value and not self.in_spans
            _require(not given, name, "data in spans (--data-dir with {SPAN} or a date in it)", repr(value))
        if self.metadata_database is not None:
            try:
                SharedDatabase.of(self.metadata_database)
            except InputError as error:
                raise InputError(f"metadata_database: {error}") from None
        size_fits = self.image_size is None or min(self.image_size) >= 1
        _require(size_fits, "image_size", "none, or height and width of 1 or more", self.image_size)
        _require(self.image_channels in (None, 1, 3), "image_channels", "none, 1 or 3", self.image_channels)
        _require(self.image_fit in FITS, "image_fit", " or ".join(FITS), repr(self.image_fit))
        _require(self.broken_images >= 0, "broken_images", "0 or more", self.broken_images)
        tolerance = self.duplicate_tolerance
        _require(0 <= tolerance <= 1, "duplicate_tolerance", "a share from 0 to 1", tolerance)
        tolerance = self.accuracy_tolerance
        _require(tolerance is None or 0 <= tolerance <= 1, "accuracy_tolerance", "none, or 0 to 1", tolerance)
        _require(self.kept_versions >= 1, "kept_versions", "1 or more", self.kept_versions)
        some = self.kept_runs is None or self.kept_runs >= 1
        _require(some, "kept_runs", "none, or 1 or more", self.kept_runs)
        enough = self.memory_mib is None or SMALLEST_MIB <= self.memory_mib < math.inf
        _require(enough, "memory_mib", f"none, or a finite number from {SMALLEST_MIB}", self.memory_mib)
        _require(self.on_end != "", "on_end", "none, or a command", "none between the quotes")
        _require(0 < self.on_end_seconds < math.inf, "on_end_seconds", "a finite number above 0", self.on_end_seconds)
        _require(self.beam_runner in RUNNERS, "beam_runner", " or ".join(RUNNERS), repr(self.beam_runner))
        for option in self.beam_args:
            _require(option.startswith("--"), "beam_args", "options such as --parallelism=4", repr(option))
        _require(0 < self.beam_seconds < math.inf, "beam_seconds", "a finite number above 0", self.beam_seconds)
        for name in ("split_sizes", "split_limits", "shards"):
            value = getattr(self, name)
            _require(len(value) == len(SPLITS), name, f"one entry for each of {', '.join(SPLITS)}", value)
        some = all(count is None or count >= 1 for count in self.shards)
        _require(some, "shards", "none, or 1 or more for each split", self.shards)
        sizes = [size for size in self.split_sizes if size is not None]
        sensible = all(0 < size < 1 or (size >= 1 and size % 1 == 0) for size in sizes)
        _require(sensible, "split_sizes", "whole numbers from 1, or fractions", self.split_sizes)
        limited = all(limit is None or limit >= 1 for limit in self.split_limits)
        _require(limited, "split_limits", "none, or whole numbers from 1", self.split_limits)

    @property
    def in_spans(self) -> bool:
        """Whether the data arrive in spans."""
        return SpanPattern.of(self.data_dir) is not None


def flatten(config: object) -> dict[str, object]:
    """Returns each single value of `config` by its dotted name, such as training.network.widths or floors.accuracy."""
    leaves = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        inside = flatten(value) if dataclasses.is_dataclass(value) else value
        if isinstance(inside, dict):
            leaves |= {f"{field.name}.{name}": leaf for name, leaf in inside.items()}
        else:
            leaves[field.name] = value
    return leaves


def build(leaves: Mapping[str, object], kind: type = PipelineConfig, prefix: str = "") -> typing.Any:
    """Returns the configuration that `flatten` made `leaves` of.

    What is absent has its default, except below a dict (`floors`): it holds what is here and nothing else.

    Raises:
      InputError: a value is out of range; the line begins with its dotted name.
    """
    arguments = {}
    for field in dataclasses.fields(kind):
        start = f"{field.name}."
        inside = {name.removeprefix(start): leaf for name, leaf in leaves.items() if name.startswith(start)}
        if dataclasses.is_dataclass(field.type):
            arguments[field.name] = build(inside, field.type, prefix + start)
        elif typing.get_origin(field.type) is dict:
            arguments[field.name] = inside
        elif field.name in leaves:
            arguments[field.name] = leaves[field.name]
    try:
        return kind(**arguments)
    except ValueError as error:
        raise InputError(f"{prefix}{error}") from None


def declared_type(name: str, within: type = PipelineConfig) -> object:
    """Returns the type of the setting of this dotted name, a dataclass for a group of them; None: there is none."""
    head, dot, rest = name.partition(".")
    kind = next((field.type for field in dataclasses.fields(within) if field.name == head), None)
    if not dot:
        return kind
    if dataclasses.is_dataclass(kind):
        return declared_type(rest, kind)
    return typing.get_args(kind)[1] if typing.get_origin(kind) is dict else None


def nearest(name: str) -> str:
    """Returns the setting whose dotted name and last part are most alike: training.precision for "precision" too."""

    def likeness(known: str) -> float:
        pairs = ((name, known), (name.rpartition(".")[2], known.rpartition(".")[2]))
        return sum(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    # Floors have no default, and yet a name that people mean.
    return max([*flatten(PipelineConfig()), "floors.accuracy"], key=likeness)


def _require(condition: object, name: str, expected: str, found: object) -> None:
    if not condition:
        raise InputError(f"{name}: expected {expected}, found {found}.")
