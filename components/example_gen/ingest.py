"""Turns a data set into shuffled, sharded TFRecords in the splits train, val and test.

Beam writes the shards: one element a shard, each reading only its own images, so that the bytes of a shard depend on
the input, the settings and the seed, never on the number of workers or the size of memory.

Synopsis:

    examples = write_examples(inspect_dataset(data), settings, folder, scratch, pipeline)
    examples.counts, examples.digest
"""

import dataclasses
import hashlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import numpy as np

from components.errors import InputError
from components.example_gen.dataset import Dataset, combine_digests, digest_labels, read_images
from components.example_gen.kinds import KINDS, PARTS
from components.example_gen.records import ShardFormat, write_shard
from components.example_gen.splits import shard_ranges, split_indices, split_sizes
from models.examples import Examples, shard_name
from models.features import SPLITS, TEST, TRAIN, VAL
from models.memory import block_rows
from models.row_reader import RowReader

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


def write_examples(
    dataset: Dataset, settings: SplitSettings, folder: Path, scratch: Path, pipeline: beam.Pipeline
) -> Examples:
    """Writes the three splits of a data set as TFRecord shards.

    Args:
      dataset: its files, shape, classes and digest.
      settings: sizes, shards, seed and format.
      folder: of the Examples artifact; the folder of each split is made in it.
      scratch: an empty folder for the uncompressed pixels, 1 byte a value.
      pipeline: a Beam pipeline, which this function runs; the workers must see the same file system.

    Raises:
      InputError: the files cannot be used or are no longer those that were inspected, or the output cannot be written.
    """
    examples = Examples(
        folder=folder,
        encoding=settings.encoding,
        compression=settings.compression,
        image_shape=dataset.image_shape,
        class_names=dataset.class_names,
        counts={},
        digest="",
    )
    labels_of, digests = {}, {}
    for part in PARTS:
        digests[f"{part}_images"] = _unpack(dataset, part, scratch / part)
        labels_of[part] = KINDS[dataset.kind].labels(dataset.files, part)
        digests[f"{part}_labels"] = digest_labels(labels_of[part])
    # Here and not before: what was read, not what was there a moment ago.
    if (found := combine_digests(digests)) != dataset.digest:
        raise InputError(
            f"{dataset.folder}: expected files of the digest {dataset.digest[:12]} that this run began with, found "
            f"{found[:12]}: they were changed while they were read. Run again."
        )
    shards = []
    for part, splits in (("train", (TRAIN, VAL)), ("test", (TEST,))):
        labels = labels_of[part]
        sizes = split_sizes(len(labels), tuple(settings.sizes[SPLITS.index(split)] for split in splits))
        drawn = split_indices(labels, sizes=sizes, seed=settings.seed, stratified=settings.stratified)
        for split, indices in zip(splits, drawn, strict=True):
            shards.extend(_split_shards(split, indices, labels, scratch / part, examples, settings))
    scratch_digests = scratch / "digests"
    scratch_digests.mkdir()
    sizes = [len(shard.indices) for shard in shards]
    with pipeline as root:
        _ = (
            root
            | "Shards" >> beam.Create(list(enumerate(shards)), reshuffle=len(shards) > 1)
            | "WriteShard" >> beam.Map(_write, scratch_digests, sizes, time.monotonic())
        )
    digest = hashlib.sha256()
    for number in range(len(shards)):
        digest.update((scratch_digests / str(number)).read_bytes())
    counts = {split: sum(len(shard.indices) for shard in shards if shard.split == split) for split in SPLITS}
    return dataclasses.replace(examples, counts=counts, digest=digest.hexdigest())


def _unpack(dataset: Dataset, part: str, plain: Path) -> str:
    """Writes the pixels of a part to `plain` and returns their digest."""
    try:
        with plain.open("wb") as target:
            return read_images(dataset.kind, dataset.files, part, target.write)
    except OSError as error:
        raise InputError(
            f"{plain}: the pixels cannot be written there ({error.strerror}). Free some space or choose another "
            "--output-root."
        ) from error


def _split_shards(
    split: str, indices: np.ndarray, labels: np.ndarray, plain: Path, examples: Examples, settings: SplitSettings
) -> Iterator[_Shard]:
    """Yields the shards of one split."""
    folder = examples.split_folder(split)
    folder.mkdir(parents=True, exist_ok=True)
    count = settings.shards[SPLITS.index(split)]
    for number, (start, stop) in enumerate(shard_ranges(len(indices), count)):
        yield _Shard(
            split=split,
            path=folder / shard_name(number, count, settings.compression),
            images=plain,
            image_shape=examples.image_shape,
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
    block = block_rows(shard.image_shape)
    with RowReader(shard.images, (0, *shard.image_shape)) as rows:
        for start in range(0, len(shard.indices), block):
            yield (
                rows.gather(shard.indices[start : start + block]),
                shard.labels[start : start + block],
            )
