"""Asks the served model about images: python -m pipeline.predict INPUT RESULT.

INPUT is a folder or a file of any kind that ExampleGen reads, with or without labels: pictures, IDX, CSV, NumPy,
Parquet, TFRecords. Images are prepared as for training; what is no image is passed over.
RESULT ends in .csv, .parquet or .tfrecord (tf.train.Examples with the columns as features).
"""

import contextlib
import csv
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import InputError, disk_told, first_line
from components.example_gen.broken import Broken
from components.example_gen.kinds import find_kind
from components.example_gen.kinds.class_folders import refuse_unread
from components.example_gen.kinds.registry import Listing, list_files, nothing_found
from components.example_gen.reading import check_channels
from components.prediction_columns import COLUMNS
from models.card import CARD_FILE, read_card
from models.files import replacing
from models.host import for_good
from models.plain_paths import plain
from models.tfrecords import parse_features, read_records
from pipeline.output_root import OutputRoot
from pipeline.project import a_path
from pipeline.run.console import Console, legible
from pipeline.scratch import scratch
from pipeline.served import model_to_ask, parser_of
from pipeline.stopping import how_stopped, stoppable
from pipeline.surroundings import taken_over

if TYPE_CHECKING:
    import pyarrow as pa

_LEAVE_OUT = "--skip-broken"


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 for an input or a model that cannot be used."""
    parser = parser_of("predict", __doc__)
    parser.add_argument("input", type=a_path, help="folder or file to ask about")
    parser.add_argument("result", type=a_path, help="file of the predictions: .csv, .parquet or .tfrecord")
    parser.add_argument(_LEAVE_OUT, action="store_true", help="leave out broken images, and name them")
    arguments = parser.parse_args(argv)
    legible()
    try:
        with stoppable(), disk_told():
            model = model_to_ask(OutputRoot(arguments.output_root), arguments.model)
            count, warnings = predict_folder(
                arguments.input, arguments.result, model, skip_broken=arguments.skip_broken
            )
    except InputError as error:
        print(f"predict: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt as error:
        state, status = how_stopped(error)
        print(f"predict: {state}; nothing is written.", file=sys.stderr)
        return status
    for warning in warnings:
        print(f"predict: {warning}", file=sys.stderr)
    print(f"{count:,} {'answer' if count == 1 else 'answers'} in {arguments.result}")
    return 0


def predict_folder(
    source: Path, result: Path, saved_model: Path, *, skip_broken: bool = False
) -> tuple[int, list[str]]:
    """Writes the predictions to `result`; returns their number and what a person should know of the images.

    Raises:
      InputError: the input, the model or the ending of `result` cannot be used; nothing is written.
    """
    if result.suffix not in _WRITERS:
        raise InputError(f"{result}: expected a name that ends in {', '.join(_WRITERS)}.")
    if not Path(os.path.realpath(result)).parent.is_dir():
        raise InputError(f"{result}: expected its folder to exist. Make it first.")
    if result.is_dir():
        raise InputError(f"{result}: expected the name of a file, found a folder. Name another.")
    listing = _without_result(list_files(source), result)
    found = find_kind(source, for_training=False, listing=listing)
    if found is None:
        refuse_unread(listing.files)
        raise InputError(f"{source}: expected images, with or without labels, {nothing_found(source)}.")
    card = read_card(saved_model)
    if card is None:
        raise InputError(f"{saved_model}: expected a model with {CARD_FILE}, found none. Publish it anew.")
    kind, files = found
    contents = kind.open(files)
    for part in contents.parts.values():
        check_channels(part, tuple(card["image_shape"]))
    with scratch() as folder, taken_over(os.environ, folder), Console(folder / "log.txt") as console:
        console.start("predict")
        # TensorFlow takes seconds to import, and a wrong name must not wait for it; what it prints is for nobody here.
        with for_good():
            import tensorflow as tf

            from components.bulk_inferrer.folder import Asking

        try:
            with plain(saved_model) as named:
                loaded = tf.saved_model.load(str(named))
            model = loaded.signatures["predict_images"]
        except Exception as error:  # of a damaged model TensorFlow raises whatever the damage leads to
            reason = first_line(error).rstrip(".")
            raise InputError(
                f"{saved_model}: expected a model that can be loaded, found a damaged one ({reason}). Serve another "
                "version (python -m pipeline.rollback), or publish it anew."
            ) from None
        asking = Asking(card, model, Broken(math.inf if skip_broken else 0, _LEAVE_OUT))
        with _told(result), replacing(result) as partial, _WRITERS[result.suffix](partial) as write:
            for table in asking.predictions(contents):
                write(table)
                console.progress(f"{asking.count:,} images answered", lasting=True)
            if len(asking.broken) and not asking.count:
                raise InputError(f"{source}: expected images that can be read, found none: {asking.broken}.")
    return asking.count, [*contents.notes, *asking.warnings()]


def _without_result(listing: Listing, result: Path) -> Listing:
    """Returns the input without an earlier result, which lies among it.

    Raises:
      InputError: the result would take the place of a file of the input.
    """
    if not result.exists():
        return listing
    others = [path for path in listing.files if not (path.exists() and path.samefile(result))]
    if len(others) < len(listing.files) and not _is_result(result):
        raise InputError(f"{result}: expected a name of its own, found a file of the input. Name another.")
    return Listing(others, listing.hidden)


def _is_result(path: Path) -> bool:
    """Whether a file is one that this command wrote."""
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as stream:
                return next(csv.reader(stream), []) == COLUMNS.names
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_schema(path).names == COLUMNS.names
        record = next(read_records(path, "", check=True), None)
        return record is not None and {"source", "class_name"} <= set(parse_features(record))
    except (OSError, ValueError, LookupError, TypeError):
        return False


@contextlib.contextmanager
def _told(result: Path) -> Iterator[None]:
    """Says in a line that the result cannot be written; what cannot be read is told by whoever reads it."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{result}: cannot be written ({error.strerror or error}). Free some space, mend the permissions of its "
            "folder, or name another; nothing was written."
        ) from None


@contextlib.contextmanager
def _write_csv(target: Path) -> Iterator[Callable[["pa.Table"], None]]:
    with target.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS.names)
        writer.writeheader()

        def write(table: "pa.Table") -> None:
            for row in table.to_pylist():
                # A list in a cell, as numbers between spaces.
                writer.writerow({**row, "probabilities": " ".join(f"{value:.6f}" for value in row["probabilities"])})

        yield write


@contextlib.contextmanager
def _write_parquet(target: Path) -> Iterator[Callable[["pa.Table"], None]]:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(target, COLUMNS) as writer:
        yield writer.write_table


@contextlib.contextmanager
def _write_tfrecord(target: Path) -> Iterator[Callable[["pa.Table"], None]]:
    import tensorflow as tf

    kinds: dict[type, Callable[[list], tf.train.Feature]] = {
        str: lambda values: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values])),
        int: lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values)),
        float: lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values)),
    }
    # Its own errors tell neither the file nor, in a line, what is wrong with it.
    with _as_os_errors(tf.errors.OpError), tf.io.TFRecordWriter(str(target)) as writer:

        def write(table: "pa.Table") -> None:
            for row in table.to_pylist():
                lists = {name: value if isinstance(value, list) else [value] for name, value in row.items()}
                # What has no label has no such feature.
                features = {
                    name: kinds[type(values[0])](values) for name, values in lists.items() if values[0] is not None
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())

        yield write


@contextlib.contextmanager
def _as_os_errors(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        raise OSError(first_line(error)) from error


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet, ".tfrecord": _write_tfrecord}


if __name__ == "__main__":
    sys.exit(main())
