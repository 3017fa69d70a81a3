"""Asks the served model about images: python -m pipeline.predict INPUT RESULT.

INPUT is a folder or a file of any kind that ExampleGen reads, with or without labels: pictures, IDX, CSV, NumPy,
Parquet, TFRecords. Images are prepared as for training; what is no image is passed over.
RESULT ends in .csv, .parquet or .tfrecord (tf.train.Examples with the columns as features).
"""

import argparse
import contextlib
import csv
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import InputError
from components.example_gen.kinds import find_kind
from components.example_gen.kinds.registry import nothing_found
from components.example_gen.reading import Broken
from components.prediction_columns import COLUMNS
from components.pusher.serving_folder import nothing_served, served_version
from models.card import CARD_FILE, read_card
from models.files import replacing
from pipeline.output_root import OutputRoot
from pipeline.project import program
from pipeline.run.console import Console

if TYPE_CHECKING:
    import pyarrow as pa

_LEAVE_OUT = "--skip-broken"


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 for an input or a model that cannot be used."""
    parser = argparse.ArgumentParser(
        prog=program("python -m pipeline.predict"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("input", type=Path, help="folder or file to ask about")
    parser.add_argument("result", type=Path, help="file of the predictions: .csv, .parquet or .tfrecord")
    parser.add_argument(
        "--model",
        type=Path,
        default=OutputRoot().serving("fashion_mnist"),
        help="served folder or one version of it (output/serving/fashion_mnist)",
    )
    parser.add_argument(_LEAVE_OUT, action="store_true", help="leave out broken images, and name them")
    arguments = parser.parse_args(argv)
    try:
        model = model_to_ask(arguments.model)
        count, warnings = predict_folder(arguments.input, arguments.result, model, skip_broken=arguments.skip_broken)
    except InputError as error:
        print(f"predict: {error}", file=sys.stderr)
        return error.exit_status
    for warning in warnings:
        print(f"predict: {warning}", file=sys.stderr)
    print(f"{count:,} {'answer' if count == 1 else 'answers'} in {arguments.result}")
    return 0


def model_to_ask(folder: Path) -> Path:
    """Returns the SavedModel to ask: `folder` itself, or the version of it that is served.

    Raises:
      InputError: there is none.
    """
    if (folder / "saved_model.pb").is_file():
        return folder
    version = served_version(folder)
    if version is None:
        raise nothing_served(folder)
    return folder / str(version)


def predict_folder(
    source: Path, result: Path, saved_model: Path, *, skip_broken: bool = False
) -> tuple[int, list[str]]:
    """Writes the predictions to `result`; returns their number and what a person should know of the images.

    Raises:
      InputError: the input, the model or the ending of `result` cannot be used; nothing is written.
    """
    if result.suffix not in _WRITERS:
        raise InputError(f"{result}: expected a name that ends in {', '.join(_WRITERS)}.")
    if not result.resolve().parent.is_dir():
        raise InputError(f"{result}: expected its folder to exist. Make it first.")
    found = find_kind(source, for_training=False)
    if found is None:
        raise InputError(f"{source}: expected images, with or without labels, {nothing_found(source)}.")
    card = read_card(saved_model)
    if card is None:
        raise InputError(f"{saved_model}: expected a model with {CARD_FILE}, found none. Publish it anew.")
    kind, files = found
    contents = kind.open(files)
    with tempfile.TemporaryDirectory() as scratch, Console(Path(scratch, "log.txt")) as console:
        console.start("predict")
        # TensorFlow takes seconds to import, and a wrong name must not wait for it; what it prints is for nobody here.
        import tensorflow as tf

        from components.bulk_inferrer.folder import Asking

        model = tf.saved_model.load(str(saved_model))
        asking = Asking(card, model.signatures["predict_images"], Broken(math.inf if skip_broken else 0, _LEAVE_OUT))
        with replacing(result) as partial, _WRITERS[result.suffix](partial) as write:
            for table in asking.predictions(contents):
                write(table)
                console.progress(f"{asking.count:,} images answered", lasting=True)
    return asking.count, [*contents.notes, *asking.warnings()]


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
    with tf.io.TFRecordWriter(str(target)) as writer:

        def write(table: "pa.Table") -> None:
            for row in table.to_pylist():
                lists = {name: value if isinstance(value, list) else [value] for name, value in row.items()}
                # What has no label has no such feature.
                features = {
                    name: kinds[type(values[0])](values) for name, values in lists.items() if values[0] is not None
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())

        yield write


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet, ".tfrecord": _write_tfrecord}


if __name__ == "__main__":
    sys.exit(main())
