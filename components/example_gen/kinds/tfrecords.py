"""TFRecords of `tf.train.Example`s with an encoded image and a label, as TFDS writes them.

A label is a number or a text; `*.labels.txt` beside the files, which TFDS writes, names the classes.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from components.errors import InputError
from components.example_gen.kinds.registry import (
    UNLABELLED,
    Contents,
    Kind,
    Listing,
    Picture,
    agreed_names,
    missing_shards,
    part_of_file,
    picture_parts,
    register,
    without_strangers,
)
from components.text import read_text
from models.examples import compression_of
from models.features import TRAIN
from models.tfrecords import parse_features, read_records

_IMAGES = ("image", "image/encoded", "image_raw")
_NO_RECORDS = (".py", ".pyc", ".md", ".txt", ".json", ".ipynb", ".index")
_LABELS = ("label", "image/class/label", "class", "label/id")
_TOLD = 5
_ONE_EACH = "Write one image a record, and for its label the number or the name of one class."


class _SeveralValuesError(ValueError):
    """A feature of a record has more values than the one that an image has."""


class Found(NamedTuple):
    """The TFRecord files of a folder by part, those of class names, notes, and whether records need a label."""

    files: dict[str, list[Path]]
    names: list[Path]
    notes: tuple[str, ...]
    needs_label: bool


def find(folder: Path, listing: Listing, for_training: bool) -> Found | None:
    """Returns the TFRecord files of a folder; None where none is of training."""
    found: dict[str | None, list[Path]] = {}
    names: list[Path] = []
    for path in listing.files:
        if "tfrecord" in path.name.lower() and path.suffix not in _NO_RECORDS:
            found.setdefault(part_of_file(path, folder), []).append(path)
        elif path.name.endswith("label.labels.txt"):
            names.append(path)
    files, notes = without_strangers(found)
    # TFDS names the file after the feature: of "label" and "coarse_label" the first is the one that is read.
    names = [path for path in names if path.name == "label.labels.txt"] or names
    return Found(files, names, notes, for_training) if TRAIN in files or (files and not for_training) else None


def _open(found: Found) -> Contents:
    files, names, notes, needs_label = found
    return Contents(
        parts=picture_parts(files, functools.partial(_pictures, needs_label=needs_label)),
        # Answers are asked for pictures from anywhere, whose labels nobody needs.
        class_names=agreed_names({path: _lines(path) for path in names}) if needs_label else None,
        notes=notes + missing_shards(path for paths in files.values() for path in paths),
    )


def _lines(path: Path) -> tuple[str, ...]:
    return tuple(read_text(path)[0].splitlines())


def _pictures(paths: list[Path], needs_label: bool) -> Iterator[Picture]:
    for path in paths:
        position = 0
        try:
            # For prediction a shard may be empty: whoever wrote it had less than a record for each.
            if needs_label and not path.stat().st_size:
                raise ValueError("expected TFRecords, found an empty file")
            for record in read_records(path, compression_of(path), check=True):
                encoded, label = _image_and_label(record, needs_label)
                yield Picture(path, position, encoded, label)
                position += 1
        except (ValueError, LookupError, TypeError, OSError) as error:
            reason = str(error).removeprefix(f"{path}: ").rstrip(".")
            if not needs_label:
                # The other files are answered, if what is broken may be left out.
                yield Picture(path, position, b"", UNLABELLED, reason)
                continue
            advice = _ONE_EACH if isinstance(error, _SeveralValuesError) else "Use a good copy."
            raise InputError(f"{path}, record {position:,}: {reason}. {advice}") from None


def _image_and_label(record: bytes, needs_label: bool) -> tuple[bytes, int | str]:
    try:
        features = parse_features(record)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError("expected a tf.train.Example, found other data") from None
    # Pixels as floats are no image that is read, and scores no label.
    told = {name: found for name, found in features.items() if not (found[1:] and isinstance(found[0], float))}
    image, label = _value(told, _IMAGES), _value(told, _LABELS)
    if label is None and not needs_label:
        label = UNLABELLED
    if not isinstance(image, bytes) or label is None:
        raise ValueError(
            f"expected the features image (bytes) and label, found {', '.join(sorted(features)) or 'none'}"
        )
    try:
        return image, _read_label(label)
    except ValueError:
        if needs_label:
            raise
        return image, UNLABELLED


def _read_label(label: bytes | int | float) -> int | str:
    """Returns a label as a number or text.

    Raises:
      ValueError: the text is not UTF-8, or the number not whole.
    """
    if isinstance(label, bytes):
        try:
            return label.decode()
        except UnicodeDecodeError:
            # Two of them could become the same text.
            raise ValueError(f"expected a label in UTF-8, found {label!r}") from None
    if label % 1:
        raise ValueError(f"expected a whole number for a label, found {label:g}")
    return int(label)


def _value(features: dict[str, list], names: tuple[str, ...]) -> bytes | int | float | None:
    """Returns the one value of the first of some features that is there, None where none is."""
    name = next((name for name in names if features.get(name)), None)
    if name is None:
        return None
    if len(features[name]) > 1:
        # Of a label as one-hot the first value would be class 0 or 1; of several, a choice that nobody made.
        numbers = [str(value) for value in features[name] if not isinstance(value, bytes)]
        told = f" ({', '.join(numbers[:_TOLD])}{', ...' if len(numbers) > _TOLD else ''})" if numbers else ""
        raise _SeveralValuesError(f"expected one value in the feature {name}, found {len(features[name]):,}{told}")
    return features[name][0]


register(
    Kind(
        name="TFRecord",
        expects="TFRecords (*train*tfrecord* of tf.train.Examples with image and label)",
        find=find,
        open=_open,
    )
)
