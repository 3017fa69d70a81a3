"""Asks the served model about a folder: python -m pipeline.predict INPUT RESULT.

INPUT is a folder (or a file) of TFRecord shards of tf.train.Examples, or of PNG or JPEG images of the model's size.
RESULT ends in .csv, .parquet or .tfrecord (tf.train.Examples with the columns as features).
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from components.bulk_inferrer.sources import find_sources
from components.errors import InputError
from components.prediction_columns import PREDICTIONS_FILE
from components.pusher.serving_folder import nothing_served, served_version
from models.files import replacing
from pipeline.output_root import OutputRoot


def main(argv: list[str]) -> int:
    """Returns the exit status: 0, or 2 for an input or a model that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.predict",
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
    arguments = parser.parse_args(argv)
    try:
        count = predict_folder(arguments.input, arguments.result, model_to_ask(arguments.model))
    except InputError as error:
        print(f"predict: {error}", file=sys.stderr)
        return error.exit_status
    print(f"{count:,} answers in {arguments.result}")
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


def predict_folder(source: Path, result: Path, saved_model: Path) -> int:
    """Writes the predictions to `result` and returns their number.

    Raises:
      InputError: the input, the model or the ending of `result` cannot be used; nothing is written.
    """
    writers = {".csv": _write_csv, ".parquet": _write_parquet, ".tfrecord": _write_tfrecord}
    if result.suffix not in writers:
        raise InputError(f"{result}: expected a name that ends in {', '.join(writers)}.")
    if not result.resolve().parent.is_dir():
        raise InputError(f"{result}: expected its folder to exist. Make it first.")
    sources = find_sources(source)
    # TensorFlow takes seconds to import, and a wrong name must not wait for it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import apache_beam as beam

    from components.bulk_inferrer.inference import predict

    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch, replacing(result) as partial:
        predictions = Path(scratch, PREDICTIONS_FILE)
        count = predict(saved_model, sources, predictions, beam.Pipeline(argv=["--runner=FnApiRunner"]))
        writers[result.suffix](predictions, partial)
    return count


def _rows(predictions: Path) -> Iterator[dict]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(predictions).iter_batches():
        yield from batch.to_pylist()


def _write_csv(predictions: Path, target: Path) -> None:
    import csv

    with target.open("w", newline="") as stream:
        rows = _rows(predictions)
        first = next(rows)
        writer = csv.DictWriter(stream, list(first))
        writer.writeheader()
        for row in (first, *rows):
            # A list in a cell, as numbers between spaces.
            writer.writerow({**row, "probabilities": " ".join(f"{value:.6f}" for value in row["probabilities"])})


def _write_parquet(predictions: Path, target: Path) -> None:
    import shutil

    shutil.copy(predictions, target)


def _write_tfrecord(predictions: Path, target: Path) -> None:
    import tensorflow as tf

    kinds: dict[type, Callable[[list], tf.train.Feature]] = {
        str: lambda values: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values])),
        int: lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values)),
        float: lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values)),
    }
    with tf.io.TFRecordWriter(str(target)) as writer:
        for row in _rows(predictions):
            lists = {name: value if isinstance(value, list) else [value] for name, value in row.items()}
            # What has no label has no such feature.
            features = {name: kinds[type(values[0])](values) for name, values in lists.items() if values[0] is not None}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
