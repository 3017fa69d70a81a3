"""Parquet as the Hugging Face hub has data sets: a column of encoded images, and one of labels.

`image` is a struct of `bytes` and `path`, or plain bytes; the names of the classes stand in the schema's metadata.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import InputError, first_line
from components.example_gen.kinds.registry import (
    SUFFIXES,
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
from models.features import TRAIN

if TYPE_CHECKING:
    import pyarrow as pa

_LABELS = ("label", "labels", "class", "target", "fine_label")
_ROWS = 64


def find(
    folder: Path, listing: Listing, for_training: bool
) -> tuple[dict[str, list[Path]], tuple[str, ...], bool] | None:
    """Returns the Parquet files of a folder by part, and notes; None where there is none of training."""
    found: dict[str | None, list[Path]] = {}
    # A table about the images may lie beside folders of them; where there are none, what it lacks is told.
    alone = not any(path.suffix.lower() in SUFFIXES for path in listing.files)
    for path in listing.files:
        if path.suffix == ".parquet":
            part = part_of_file(path, folder)
            if (part and alone) or path == folder or _may_hold_images(path):
                found.setdefault(part, []).append(path)
    files, notes = without_strangers(found)
    return (files, notes, for_training) if TRAIN in files or (files and not for_training) else None


def _open(found: tuple[dict[str, list[Path]], tuple[str, ...], bool]) -> Contents:
    files, notes, for_training = found
    names = {path: _columns(path, for_training) for paths in files.values() for path in paths}
    return Contents(
        parts=picture_parts(
            {part: [(path, *names[path][:2]) for path in paths] for part, paths in files.items()},
            _pictures if for_training else _pictures_or_faults,
        ),
        # Answers are asked for pictures from anywhere, whose labels nobody needs.
        class_names=agreed_names({path: columns[2] for path, columns in names.items()}) if for_training else None,
        notes=notes + missing_shards(names),
    )


def _may_hold_images(path: Path) -> bool:
    """Whether a file has a column of images, or is damaged, which is told when it is read."""
    import pyarrow.parquet as pq

    try:
        return any(_is_image(field.type) for field in pq.read_schema(path))
    except _failures():
        return True


def _columns(path: Path, for_training: bool) -> tuple[str, str | None, tuple[str, ...] | None]:
    """Returns the columns of images and of labels, and the names of the classes if the schema tells them."""
    if not for_training:
        # What is wrong with one file is told when it is read, and the others are answered.
        with contextlib.suppress(InputError):
            return _read_columns(path, for_training)
        return "", None, None
    return _read_columns(path, for_training)


def _read_columns(path: Path, for_training: bool) -> tuple[str, str | None, tuple[str, ...] | None]:
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except _failures() as error:
        raise InputError(f"{path}: expected Parquet, found {first_line(error).rstrip('.')}. Use a good copy.") from None
    features = _features(path, (schema.metadata or {}).get(b"huggingface"))
    images = [field.name for field in schema if _is_image(field.type)]
    classes = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    labels = [name for name in (*_LABELS, *classes) if name in schema.names]
    if not images or (for_training and not labels):
        told = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise InputError(
            f"{path}: expected a column of images (a struct of bytes and path, or bytes) and one of labels (label), "
            f"found {told}. Rename the columns."
        )
    image = "image" if "image" in images else images[0]
    if not labels:
        return image, None, None
    given = features.get(labels[0], {}).get("names")
    return image, labels[0], tuple(given) if given else None


def _features(path: Path, told: bytes | None) -> dict[str, dict]:
    """Returns what the metadata that the Hugging Face hub adds say of each column; of the classes, their names."""
    try:
        features = json.loads(told)["info"]["features"] if told else {}
        found = {name: feature for name, feature in features.items() if isinstance(feature, dict)}
        for feature in found.values():
            # `...`.join takes texts alone.
            "".join(feature.get("names") or ())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: expected the features of the columns as JSON in the metadata, found "
            f"{first_line(error).rstrip('.')}. Use a good copy."
        ) from None
    return found


def _is_image(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_image(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _pictures_or_faults(files: list[tuple[Path, str, str | None]]) -> Iterator[Picture]:
    """Yields the pictures of each file and, where it is damaged, one that says so in the place of the rest."""
    for file in files:
        position = 0
        try:
            if not file[1]:
                _read_columns(file[0], False)
            for picture in _pictures([file]):
                yield picture
                position += 1
        except InputError as error:
            reason = str(error).removeprefix(f"{file[0]}").lstrip(":, ")
            yield Picture(file[0], position, b"", UNLABELLED, reason)


def _pictures(files: list[tuple[Path, str, str | None]]) -> Iterator[Picture]:
    import pyarrow.parquet as pq

    for path, image, label in files:
        position = 0
        try:
            with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file:
                for batch in file.iter_batches(_ROWS, columns=[image, *([label] if label else [])]):
                    labels = batch[label].to_pylist() if label else [UNLABELLED] * len(batch)
                    for picture, given in zip(batch[image].to_pylist(), labels, strict=True):
                        encoded = picture.get("bytes") if isinstance(picture, dict) else picture
                        if isinstance(given, float) and given.is_integer():
                            given = int(given)
                        if encoded is None or given is None or not isinstance(given, int | str):
                            raise InputError(
                                f"{path}, row {position:,}: expected the bytes of an image and one label, found "
                                f"{'no bytes' if encoded is None else f'the label {given!r}'}. Complete the file."
                            )
                        yield Picture(path, position, encoded, given)
                        position += 1
                if position != file.metadata.num_rows:
                    raise InputError(
                        f"{path}: expected {file.metadata.num_rows:,} rows, found {position:,}. Use a good copy."
                    )
        except _failures() as error:
            raise InputError(
                f"{path}: expected Parquet, found a damaged file after row {position:,} "
                f"({first_line(error).rstrip('.')}). Use a good copy."
            ) from None


def _failures() -> tuple[type[Exception], ...]:
    """Returns what pyarrow raises where a file is damaged."""
    import pyarrow as pa

    return (pa.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError, MemoryError)


register(Kind(name="Parquet", expects="Parquet (*train*.parquet with columns image and label)", find=find, open=_open))
