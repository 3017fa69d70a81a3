"""Finds what a folder holds to be predicted, and reads it as serialized `tf.train.Example`s.

Synopsis:

    for source in find_sources(pictures):
        for names, records in read_batches(source, 500):      # files, and up to 500 records from them
            print(names, len(records))
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from components.errors import InputError
from models.examples import compression_of, open_shards
from models.features import IMAGE

# Image files that are one element of Beam's.
_FILES = 500
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What one Beam element reads: a TFRecord shard of `tf.train.Example`s, or some PNG or JPEG files."""

    paths: tuple[Path, ...]


def find_sources(path: Path) -> list[Source]:
    """Finds what a folder (or a single file) holds to be predicted, in the order of the names.

    Raises:
      InputError: it holds neither TFRecord shards nor images, or both.
    """
    found = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    images = [file for file in found if file.suffix.lower() in _IMAGE_SUFFIXES]
    shards = [file for file in found if "tfrecord" in file.name]
    if bool(images) == bool(shards) or not path.exists():
        kinds = "both" if images else "neither"
        raise InputError(f"{path}: expected TFRecord shards (*tfrecord*) or images (.png, .jpg), found {kinds}.")
    if shards:
        return [Source(paths=(shard,)) for shard in shards]
    return [Source(paths=tuple(images[start : start + _FILES])) for start in range(0, len(images), _FILES)]


def read_batches(source: Source, rows: int) -> Iterator[tuple[list[str], list[bytes]]]:
    """Yields names of files and the serialized records from them, up to `rows` at a time.

    Raises:
      InputError: a TFRecord is damaged.
    """
    # Not at the top: a wrong folder is told without waiting for TensorFlow.
    import tensorflow as tf

    first = source.paths[0]
    if first.suffix.lower() in _IMAGE_SUFFIXES:
        for start in range(0, len(source.paths), rows):
            paths = source.paths[start : start + rows]
            yield [str(path) for path in paths], [_example(path.read_bytes()) for path in paths]
        return
    seen = 0
    try:
        for batch in open_shards((first,), compression_of(first)).batch(rows):
            records = batch.numpy().tolist()
            yield [str(first)] * len(records), records
            seen += len(records)
    except tf.errors.DataLossError as error:
        raise InputError(f"{first}: expected TFRecords, found a damaged one after record {seen:,}.") from error


def _example(encoded: bytes) -> bytes:
    """Returns a serialized `tf.train.Example` of an encoded image."""
    import tensorflow as tf

    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
    return tf.train.Example(features=tf.train.Features(feature={IMAGE: feature})).SerializeToString()
