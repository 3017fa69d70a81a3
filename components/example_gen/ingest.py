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
from components.example_gen.dataset import Dataset, combine_digests
from components.example_gen.kinds import PARTS
from components.example_gen.reading import Broken, Digest, plain_labels, read_part
from components.example_gen.records import ShardFormat, write_shard
from components.example_gen.splits import plan_splits, shard_ranges, split_indices
from models.examples import Examples, shard_name
from models.features import SPLITS, TRAIN
from models.memory import block_rows
from models.origins import Origins, write_origins
from models.row_reader import RowReader

_HASH_BYTES = 8
_CLASSES_TOLD = 5
# What takes no longer needs no progress.
_QUIET_SECONDS = 2.0

progress = logging.getLogger("progress")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """What the splits look like.

    Attributes:
      sizes, limits: for train, val and test; see `plan_splits`.
      shards: number of shards of each split, in the same order; fewer where there are fewer examples.
      seed: of the permutation.
      stratified: whether train, val and test keep the proportions of the classes.
      encoding: "tensor", "jpeg" or "png".
      compression: "" or "GZIP".
    """

    sizes: tuple[float | None, float | None, float | None]
    limits: tuple[int | None, int | None, int | None] = (None, None, None)
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
class _Unpacked:
    """A part whose pixels lie in a plain file: the number of each image's class, its origin and its group of equals."""

    plain: Path
    labels: np.ndarray
    files: list[str]
    positions: list[int | None]
    groups: np.ndarray


def write_examples(
    dataset: Dataset, settings: SplitSettings, folder: Path, scratch: Path, pipeline: beam.Pipeline
) -> Examples:
    """Writes the three splits of a data set as TFRecord shards, and where each record comes from.

    Args:
      dataset: its parts, shape, classes and digest.
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
        image_fit=dataset.image_fit,
        class_names=dataset.class_names,
        class_values=dataset.class_values,
        counts={},
        digest="",
        span_name=dataset.span.name if dataset.span else "",
    )
    unpacked = _unpack(dataset, scratch)
    available = {part: len(found.labels) for part, found in unpacked.items()}
    shards, origins = [], {}
    for part, plan in plan_splits(available, settings.sizes, settings.limits).items():
        found = unpacked[part]
        drawn = split_indices(
            found.labels,
            sizes=tuple(plan.values()),
            seed=settings.seed,
            stratified=settings.stratified,
            groups=found.groups,
        )
        if part == TRAIN:
            _check_classes(dataset, found.labels[drawn[0]], settings)
        for split, indices in zip(plan, drawn, strict=True):
            shards.extend(_split_shards(split, indices, found, examples, settings))
            origins[split] = Origins.of(dataset.folder, found.files, found.positions, indices)
    # In the order of the splits, whichever of them the data give.
    shards.sort(key=lambda shard: SPLITS.index(shard.split))
    write_origins(folder, origins)
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


def _unpack(dataset: Dataset, scratch: Path) -> dict[str, _Unpacked]:
    """Writes the pixels of each part to a plain file of its own in `scratch`.

    Raises:
      InputError: what was read is not what was inspected, or there is no room for it.
    """
    broken, digests, unpacked = Broken(dataset.broken), {}, {}
    started, total = time.monotonic(), sum(dataset.counts.values())
    read = 0
    for part in (part for part in PARTS if part in dataset.contents.parts):
        digests[part] = Digest()
        labels, files, positions, hashes = [], [], [], []
        plain = scratch / part
        try:
            with plain.open("wb") as target:
                for block in read_part(dataset.contents.parts[part], dataset.form, broken, digests[part]):
                    images = np.ascontiguousarray(block.images)
                    target.write(images)
                    hashes += [hashlib.blake2b(image, digest_size=_HASH_BYTES).digest() for image in images]
                    labels.append(block.labels)
                    files += map(str, block.files)
                    positions += block.positions
                    read += len(images)
                    if time.monotonic() - started > _QUIET_SECONDS:
                        progress.info("%s of %s images read", f"{read:,}", f"{total:,}")
        except OSError as error:
            raise InputError(
                f"{plain}: the pixels cannot be written there ({error.strerror}). Free some space or choose another "
                "--output-root."
            ) from error
        unpacked[part] = _Unpacked(
            plain=plain,
            labels=dataset.classes.number(plain_labels(labels)),
            files=files,
            positions=positions,
            groups=np.frombuffer(b"".join(hashes), np.uint64),
        )
    if len(broken):
        progress.warning("broken and left out: %s", broken)
    # Here and not before: what was read, not what was there a moment ago.
    if (found := combine_digests(digests)) != dataset.digest:
        raise InputError(
            f"{dataset.folder}: expected files of the digest {dataset.digest[:12]} that this run began with, found "
            f"{found[:12]}: they were changed while they were read. Run again."
        )
    return unpacked


def _check_classes(dataset: Dataset, labels: np.ndarray, settings: SplitSettings) -> None:
    """Tells which classes have no image in train; an error unless train was asked to be small."""
    counts = np.bincount(labels, minlength=len(dataset.class_names))
    missing = [name for name, count in zip(dataset.class_names, counts, strict=True) if not count]
    # Other spans have them.
    if not missing or dataset.span:
        return
    told = ", ".join(missing[:_CLASSES_TOLD]) + (", ..." if len(missing) > _CLASSES_TOLD else "")
    line = f"{dataset.folder}: expected images of each class in train, found none of {told}"
    if settings.sizes[0] is None and settings.limits[0] is None:
        raise InputError(
            f"{line} once val and test are drawn. Add images of them, or ask for fewer there (split_sizes)."
        )
    progress.warning("%s", line)


def _split_shards(
    split: str, indices: np.ndarray, part: _Unpacked, examples: Examples, settings: SplitSettings
) -> Iterator[_Shard]:
    """Yields the shards of one split, none of them empty."""
    folder = examples.split_folder(split)
    folder.mkdir(parents=True, exist_ok=True)
    count = min(settings.shards[SPLITS.index(split)], len(indices))
    for number, (start, stop) in enumerate(shard_ranges(len(indices), count)):
        yield _Shard(
            split=split,
            path=folder / shard_name(number, count, settings.compression),
            images=part.plain,
            image_shape=examples.image_shape,
            indices=indices[start:stop],
            labels=part.labels[indices[start:stop]],
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
