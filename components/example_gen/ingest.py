"""Turns a data set into shuffled, sharded TFRecords in the splits train, val and test.

Beam writes the shards: one element a shard, each reading only its own images, so that the bytes of a shard depend on
the input, the settings and the seed, never on the number of workers or the size of memory. Which images these are
stands in a file beside the pixels (`unpacking.py`), and not in Beam's graph, which goes to an engine whole.

Synopsis:

    examples = write_examples(inspect_dataset(data), settings, folder, scratch, new_pipeline)
    examples.counts, examples.digest
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np

from components.errors import InputError
from components.example_gen.dataset import Dataset
from components.example_gen.records import ShardFormat, write_shard
from components.example_gen.splits import plan_splits, shard_ranges, split_indices
from components.example_gen.telling import progress, telling
from components.example_gen.unpacking import Unpacked, unpack
from models.examples import Examples, shard_name
from models.features import SPLITS, TRAIN
from models.files import write_text
from models.memory import MIB, block_rows
from models.origins import Origins, write_origins
from models.row_reader import RowReader

_CLASSES_TOLD = 5
# Where no number is asked for: as many shards as there are so many bytes of pixels, and at least so many.
_SHARD_BYTES = 64 * MIB
_FEWEST_SHARDS = (4, 2, 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """What the splits look like.

    Attributes:
      sizes, limits: for train, val and test; see `plan_splits`.
      shards: number of shards of each split, in the same order; fewer where there are fewer examples. None: 4, 2 and 2,
        or one for each 64 MiB of pixels where these are more.
      seed: of the permutation.
      stratified: whether train, val and test keep the proportions of the classes.
      encoding: "tensor", "jpeg" or "png".
      compression: "" or "GZIP".
    """

    sizes: tuple[float | None, float | None, float | None]
    limits: tuple[int | None, int | None, int | None] = (None, None, None)
    shards: tuple[int | None, int | None, int | None]
    seed: int
    stratified: bool
    encoding: str
    compression: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shard:
    """One shard to write: which rows of which plain image file go where.

    The rows of `images` lie `stride` bytes apart. `order` is a file of the split, int64 [n, 2]: the row and the label
    of each example, of which these are [start, stop).
    """

    split: str
    path: Path
    images: Path
    stride: int
    image_shape: tuple[int, ...]
    order: Path
    start: int
    stop: int
    shard_format: ShardFormat


def write_examples(
    dataset: Dataset,
    settings: SplitSettings,
    folder: Path,
    scratch: Path,
    new_pipeline: Callable[[], beam.Pipeline],
) -> Examples:
    """Writes the three splits of a data set as TFRecord shards, and where each record comes from.

    Args:
      dataset: its parts, shape, classes and digest.
      settings: sizes, shards, seed and format.
      folder: of the Examples artifact; the folder of each split is made in it.
      scratch: an empty folder for the uncompressed pixels, 1 byte a value and a little more, for what they are decoded
        from, and for the order of the examples.
      new_pipeline: gives a Beam pipeline, which this function runs; the workers must see the same file system.

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
    unpacked = unpack(dataset, scratch, new_pipeline)
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
            order = scratch / f"order-{split}.npy"
            np.save(order, np.stack([found.rows[indices], found.labels[indices]], axis=1).astype(np.int64))
            shards.extend(_split_shards(split, len(indices), order, found, examples, settings))
            origins[split] = Origins.of(dataset.folder, found.files, found.positions, indices)
    # In the order of the splits, whichever of them the data give.
    shards.sort(key=lambda shard: SPLITS.index(shard.split))
    write_origins(folder, origins)
    digests = scratch / "digests"
    digests.mkdir()
    sizes = [shard.stop - shard.start for shard in shards]
    with telling(digests, sizes, "examples written"), new_pipeline() as root:
        _ = (
            root
            | "Shards" >> beam.Create(list(enumerate(shards)), reshuffle=len(shards) > 1)
            | "WriteShard" >> beam.Map(_write, digests)
        )
    digest = hashlib.sha256()
    for number in range(len(shards)):
        digest.update((digests / str(number)).read_bytes())
    counts = {split: 0 for split in SPLITS}
    for shard, size in zip(shards, sizes, strict=True):
        counts[shard.split] += size
    return dataclasses.replace(examples, counts=counts, digest=digest.hexdigest())


def shard_count(asked: int | None, fewest: int, examples: int, image_shape: Sequence[int]) -> int:
    """Returns the number of shards of a split: what is asked for, or by its bytes, and none of them empty."""
    by_size = math.ceil(examples * math.prod(image_shape) / _SHARD_BYTES)
    return min(max(fewest, by_size) if asked is None else asked, examples)


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
    split: str, size: int, order: Path, found: Unpacked, examples: Examples, settings: SplitSettings
) -> Iterator[_Shard]:
    """Yields the shards of one split, none of them empty."""
    folder = examples.split_folder(split)
    folder.mkdir(parents=True, exist_ok=True)
    number_of = SPLITS.index(split)
    count = shard_count(settings.shards[number_of], _FEWEST_SHARDS[number_of], size, examples.image_shape)
    for number, (start, stop) in enumerate(shard_ranges(size, count)):
        yield _Shard(
            split=split,
            path=folder / shard_name(number, count, settings.compression),
            images=found.plain,
            stride=found.stride,
            image_shape=examples.image_shape,
            order=order,
            start=start,
            stop=stop,
            shard_format=ShardFormat(encoding=settings.encoding, compression=settings.compression),
        )


def _write(numbered: tuple[int, _Shard], digests: Path) -> None:
    """Writes one shard; its digest goes to a file, because a Beam worker may be another process."""
    number, shard = numbered
    write_text(digests / str(number), write_shard(shard.path, _blocks(shard), shard.shard_format))


def _blocks(shard: _Shard) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    block = block_rows(shard.image_shape)
    order = np.load(shard.order, mmap_mode="r")[shard.start : shard.stop]
    with RowReader(shard.images, (0, *shard.image_shape), shard.stride) as rows:
        for start in range(0, len(order), block):
            indices, labels = order[start : start + block].T
            yield rows.gather(indices), labels
