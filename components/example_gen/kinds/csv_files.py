"""CSV as Kaggle has it: a row an image, its label and its pixels in columns, with or without a header.

The label's column is called label, class, target or y, or, without a header, is the first. Images are square and gray,
or square in three colours, the channels of a pixel side by side.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from components.errors import InputError, first_line
from components.example_gen.kinds.arrays import as_pixels
from components.example_gen.kinds.registry import (
    PARTS,
    UNLABELLED,
    Contents,
    Kind,
    Listing,
    PixelPart,
    one_each,
    part_of,
    register,
    without_strangers,
    words_of,
)
from models.features import TRAIN

_LABELS = ("label", "labels", "class", "target", "y")
_NO_PIXEL = ("", "id", "index", "usage", "unnamed: 0")
# Fewer columns are no image but a table about something else, such as boxes in images.
_LEAST_PIXELS = 9
_BLOCK_BYTES, _LONGEST_LINE = 1 << 22, 1 << 26
# With an exponent as numpy.savetxt writes it.
_NUMBER = re.compile(r"\s*-?\d+(\.\d*)?(e[+-]?\d+)?\s*")


class Table(NamedTuple):
    """A CSV file: its delimiter, and the positions of its columns."""

    file: Path
    delimiter: str
    columns: int
    has_header: bool
    label: int
    pixels: tuple[int, ...]


def find(folder: Path, listing: Listing, for_training: bool) -> tuple[dict[str, Table], tuple[str, ...]] | None:
    """Returns the tables of a folder by part, and notes of those without labels; None where there is none of training.

    Raises:
      InputError: two tables are of one part, or one is empty.
    """
    named: dict[str | None, list[Path]] = {}
    tables: dict[Path, Table] = {}
    notes, empty = [], []
    for path in listing.files:
        if path.name.lower().endswith((".csv", ".csv.gz", ".tsv")):
            table = _look(path, for_training)
            if table is None:
                if part_of(path.name):
                    notes.append(f"{path.name} has no columns of pixels and is passed over")
                    empty += [] if path.stat().st_size else [path]
                continue
            if table.label < 0 and for_training:
                notes.append(f"{path.name} has no column of labels and is passed over")
                continue
            tables[path] = table
            named.setdefault(part_of(path.name), []).append(path)
    found, strangers = without_strangers(named)
    if not found or (for_training and TRAIN not in found):
        return None
    if empty:
        raise InputError(f"{empty[0]}: expected a table of images, found an empty file. Delete it.")
    return {part: tables[path] for part, path in one_each(folder, found).items()}, (*notes, *strangers)


def _look(path: Path, for_training: bool) -> Table | None:
    """Returns what the first line of a file says of it, None if it is no table of images; `label` is -1 without one."""
    import pyarrow as pa

    try:
        with pa.input_stream(path, compression="detect") as stream:
            first = b""
            while b"\n" not in first and len(first) < _LONGEST_LINE and (more := stream.read(1 << 20)):
                first += more
            first = first.decode("utf-8-sig", "replace").partition("\n")[0].strip("\r")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}). Use a good copy.") from None
    delimiter = max(",;\t", key=first.count)
    names = [name.strip().strip('"').strip() for name in first.split(delimiter)]
    if all(_NUMBER.fullmatch(name) for name in names):
        # pandas calls columns that have no names 0, 1, 2, ...
        has_header = names == [str(n) for n in range(len(names))]
        # For prediction the first may be a pixel like the others.
        unlabelled = not for_training and square_shape(len(names)) and not square_shape(len(names) - 1)
        label, pixels = (-1, range(len(names))) if unlabelled else (0, range(1, len(names)))
    else:
        lower = [name.lower() for name in names]
        labels = [number for number, name in enumerate(lower) if name in _LABELS]
        has_header, label = True, labels[0] if labels else -1
        pixels = [
            n
            for n, name in enumerate(lower)
            if n != label and name not in _NO_PIXEL and words_of(name)[-1:] and re.search(r"\d", name)
        ]
    if len(pixels) < _LEAST_PIXELS:
        return None
    return Table(path, delimiter, len(names), has_header, label, tuple(pixels))


def _label(text: str) -> str:
    """Returns a label without what programs add to it: blanks, and the point of a whole number (3.0, 3.00e+00)."""
    text = text.strip()
    if "." in text and _NUMBER.fullmatch(text) and (value := float(text)).is_integer():
        return str(int(value))
    return text


def square_shape(pixels: int) -> tuple[int, ...] | None:
    """Returns the shape of a square image of so many values, gray before coloured; None where there is none."""
    for channels in (1, 3):
        side = math.isqrt(pixels // channels)
        if side * side * channels == pixels:
            return (side, side) if channels == 1 else (side, side, channels)
    return None


def _open(found: tuple[dict[str, Table], tuple[str, ...]]) -> Contents:
    tables, notes = found

    def part(name: str) -> PixelPart:
        table = tables[name]
        return PixelPart(file=table.file, label_file=table.file, blocks=lambda: _blocks(table))

    return Contents(parts={name: part(name) for name in PARTS if name in tables}, notes=notes)


def _blocks(table: Table) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    import pyarrow as pa
    from pyarrow import csv

    shape = square_shape(len(table.pixels))
    if shape is None:
        raise InputError(
            f"{table.file}: expected the pixels of a square image, gray or in three colours, found "
            f"{len(table.pixels):,} columns of them. Bring the images into another form, such as NPZ."
        )
    names = [f"c{number}" for number in range(table.columns)]
    pixels = [names[number] for number in table.pixels]
    label = {names[table.label]: pa.string()} if table.label >= 0 else {}
    start = 0
    try:
        with csv.open_csv(
            table.file,
            csv.ReadOptions(column_names=names, skip_rows=int(table.has_header), block_size=_BLOCK_BYTES),
            csv.ParseOptions(delimiter=table.delimiter),
            csv.ConvertOptions(
                column_types={**label, **dict.fromkeys(pixels, pa.float32())},
                include_columns=[*label, *pixels],
            ),
        ) as reader:
            for batch in reader:
                if not len(batch):
                    continue
                gap = next((n for n, column in enumerate(batch.columns) if column.null_count), None)
                if gap is not None:
                    row = start + batch.columns[gap].is_null().index(True).as_py()
                    raise InputError(
                        f"{table.file}, image {row:,}: expected a value in each column, found none in column "
                        f"{gap + 1}. Complete the row."
                    )
                values = np.stack([column.to_numpy() for column in batch.columns[len(label) :]], axis=1)
                labels = [_label(text) for text in batch[0].to_pylist()] if label else [UNLABELLED] * len(batch)
                if "" in labels:
                    raise InputError(
                        f"{table.file}: expected a label for each image, found none for image "
                        f"{start + labels.index(''):,}. Complete the file."
                    )
                yield as_pixels(values, str(table.file), start).reshape(-1, *shape), np.array(labels)
                start += len(batch)
    except (pa.ArrowInvalid, OSError) as error:
        # Without the whole row behind it.
        reason = re.sub(r"(got \d+): .*", r"\1", first_line(error).replace("CSV parse error: ", ""))
        raise InputError(
            f"{table.file}: expected a label and {len(table.pixels):,} pixels in each row, found: {reason[:200]}. "
            "Mend the row, or use a good copy."
        ) from None


register(
    Kind(name="CSV", expects="CSV (*train*.csv with a label and the pixels of an image a row)", find=find, open=_open)
)
