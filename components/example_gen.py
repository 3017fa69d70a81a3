"""ExampleGen for IDX files: shuffled, sharded TFRecords in the splits train, val and test.

Beam writes the shards: one element a shard, each reading only its own images, so that the bytes of a shard depend on
the input, the settings and the seed, never on the number of workers or the size of memory.

Synopsis:

    example_gen = IdxExampleGen(dataset=inspect_dataset(folder), split=SplitSettings(seed=42, ...))
    example_gen.outputs["examples"]      # properties: digest, image_shape, class_names, counts
"""

import dataclasses
import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.dataset import Dataset
from components.errors import InputError
from components.idx import RowReader, expand_idx, read_idx
from components.records import ShardFormat, shard_name, write_shard
from components.splits import shard_ranges, split_indices, split_sizes
from models.features import SPLITS, TEST, TRAIN, VAL

_BLOCK = 1024
# What takes no longer needs no progress.
_QUIET_SECONDS = 2.0

progress = logging.getLogger("progress")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """What the splits look like.

    Attributes:
      sizes: for train, val and test a number of examples, a fraction of the file's, or None for the rest.
        Train and val are drawn from the training files, test from the test files.
      shards: number of shards of each split, in the same order.
      seed: of the permutation.
      stratified: whether train, val and test keep the proportions of the classes.
      encoding: "tensor", "jpeg" or "png".
      compression: "" or "GZIP".
    """

    sizes: tuple[float | None, float | None, float | None]
    shards: tuple[int, int, int]
    seed: int
    stratified: bool
    encoding: str
    compression: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shard:
    """One shard to write: which rows of which plain image file go where."""

    split: str
    path: Path
    images: Path
    image_shape: tuple[int, ...]
    indices: np.ndarray
    labels: np.ndarray
    shard_format: ShardFormat


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExamplesSummary:
    """What was written: number of examples by split, and the digest of all shards."""

    counts: dict[str, int]
    digest: str


def write_examples(
    files: dict[str, Path],
    class_count: int,
    settings: SplitSettings,
    split_folders: dict[str, Path],
    scratch: Path,
    pipeline: beam.Pipeline,
) -> ExamplesSummary:
    """Writes the three splits of a data set as TFRecord shards.

    Args:
      files: the four IDX files by role, as in `Dataset.files`.
      class_count: labels must lie below it.
      settings: sizes, shards, seed and format.
      split_folders: the folder of each split; made where missing.
      scratch: an empty folder for the uncompressed pixels, 1 byte a value.
      pipeline: a Beam pipeline, which this function runs; the workers must see the same file system.

    Raises:
      InputError: the files cannot be used, or the output cannot be written.
    """
    shards = []
    for part, splits in (("train", (TRAIN, VAL)), ("test", (TEST,))):
        plain = scratch / part
        shape = expand_idx(files[f"{part}_images"], plain)
        labels = read_idx(files[f"{part}_labels"])
        if labels.shape != shape[:1]:
            raise InputError(
                f"{files[f'{part}_labels']}: expected {shape[0]:,} labels, found shape {list(labels.shape)}."
            )
        if labels.max() >= class_count:
            raise InputError(
                f"{files[f'{part}_labels']}: expected labels below {class_count}, found {labels.max()} "
                f"at position {int(labels.argmax())}."
            )
        sizes = split_sizes(shape[0], tuple(settings.sizes[SPLITS.index(split)] for split in splits))
        drawn = split_indices(labels, sizes=sizes, seed=settings.seed, stratified=settings.stratified)
        for split, indices in zip(splits, drawn, strict=True):
            shards.extend(_split_shards(split, indices, labels, plain, shape[1:], settings, split_folders[split]))
    counts = {split: sum(len(shard.indices) for shard in shards if shard.split == split) for split in SPLITS}
    digests = scratch / "digests"
    digests.mkdir()
    with pipeline as root:
        _ = (
            root
            | "Shards" >> beam.Create(list(enumerate(shards)), reshuffle=len(shards) > 1)
            | "WriteShard" >> beam.Map(_write, digests, [len(shard.indices) for shard in shards], time.monotonic())
        )
    digest = hashlib.sha256()
    for number in range(len(shards)):
        digest.update((digests / str(number)).read_bytes())
    return ExamplesSummary(counts=counts, digest=digest.hexdigest())


def _split_shards(split, indices, labels, plain, image_shape, settings, folder) -> Iterator[_Shard]:
    """Yields the shards of one split."""
    folder.mkdir(parents=True, exist_ok=True)
    count = settings.shards[SPLITS.index(split)]
    for number, (start, stop) in enumerate(shard_ranges(len(indices), count)):
        yield _Shard(
            split=split,
            path=folder / shard_name(number, count, settings.compression),
            images=plain,
            image_shape=image_shape,
            indices=indices[start:stop],
            labels=labels[indices[start:stop]],
            shard_format=ShardFormat(encoding=settings.encoding, compression=settings.compression),
        )


def _write(numbered: tuple[int, _Shard], digests: Path, sizes: list[int], started: float) -> None:
    """Writes one shard; its digest goes to a file, because a Beam worker may be another process."""
    number, shard = numbered
    digest = write_shard(shard.path, _blocks(shard), shard.shard_format)
    (digests / str(number)).write_text(digest)
    if time.monotonic() - started > _QUIET_SECONDS:
        written = sum(sizes[int(path.name)] for path in digests.iterdir())
        progress.info("%s of %s examples written", f"{written:,}", f"{sum(sizes):,}")


def _blocks(shard: _Shard) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with RowReader(shard.images, (0, *shard.image_shape)) as rows:
        for start in range(0, len(shard.indices), _BLOCK):
            yield (
                rows.gather(shard.indices[start : start + _BLOCK]),
                shard.labels[start : start + _BLOCK],
            )


class _Executor(base_beam_executor.BaseBeamExecutor):
    """Unpacks the settings, calls `write_examples` and records what it wrote."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        settings = json.loads(exec_properties["split"])
        class_names = json.loads(exec_properties["class_names"])
        with tempfile.TemporaryDirectory(dir=self._get_tmp_dir()) as scratch:
            summary = write_examples(
                {role: Path(path) for role, path in json.loads(exec_properties["files"]).items()},
                len(class_names),
                SplitSettings(**settings),
                {split: Path(artifact_utils.get_split_uri([examples], split)) for split in SPLITS},
                Path(scratch),
                self._make_beam_pipeline(),
            )
        examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        examples.set_string_custom_property("digest", summary.digest)
        examples.set_string_custom_property("counts", json.dumps(summary.counts))
        examples.set_string_custom_property("image_shape", exec_properties["image_shape"])
        examples.set_string_custom_property("image_encoding", settings["encoding"])
        examples.set_string_custom_property("class_names", exec_properties["class_names"])


class IdxExampleGenSpec(component_spec.ComponentSpec):
    """Interface of `IdxExampleGen`; every property is part of the cache key."""

    PARAMETERS = {
        "files": component_spec.ExecutionParameter(type=str),
        "input_digest": component_spec.ExecutionParameter(type=str),
        "image_shape": component_spec.ExecutionParameter(type=str),
        "class_names": component_spec.ExecutionParameter(type=str),
        "split": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {}
    OUTPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class IdxExampleGen(base_beam_component.BaseBeamComponent):
    """Ingests a data set of IDX files; see the module's docstring."""

    SPEC_CLASS = IdxExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)

    def __init__(self, *, dataset: Dataset, split: SplitSettings) -> None:
        super().__init__(
            IdxExampleGenSpec(
                files=json.dumps({role: str(path) for role, path in dataset.files.items()}),
                input_digest=dataset.digest,
                image_shape=json.dumps(dataset.image_shape),
                class_names=json.dumps(dataset.class_names),
                split=json.dumps(dataclasses.asdict(split)),
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )
