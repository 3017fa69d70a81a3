"""Writes images and labels in the forms that people have them in, each with the library that people use for it."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.conftest import idx_bytes

Parts = dict[str, tuple[np.ndarray, np.ndarray]]


def encoded(image: np.ndarray, form: str = "PNG", **options: object) -> bytes:
    """Returns an image in one of Pillow's formats."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, form, **options)
    return stream.getvalue()


def without(png: bytes, kind: bytes) -> bytes:
    """Returns a PNG without its first chunk of a kind."""
    start = png.index(kind) - 4
    return png[:start] + png[start + 12 + int.from_bytes(png[start : start + 4]) :]


def write_idx(folder: Path, parts: Parts) -> None:
    for part, (images, labels) in parts.items():
        stem = {"train": "train", "test": "t10k", "val": "val"}[part]
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images), 1, mtime=0))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(idx_bytes(labels.astype(np.uint8)), 1, mtime=0)
        )


def write_csv(folder: Path, parts: Parts) -> None:
    for part, (images, labels) in parts.items():
        flat = images.reshape(len(images), -1)
        table = pd.DataFrame(flat, columns=[f"pixel{number + 1}" for number in range(flat.shape[1])])
        table.insert(0, "label", labels)
        table.to_csv(folder / f"fashion-mnist_{part}.csv", index=False)


def write_keras_npz(folder: Path, parts: Parts) -> None:
    arrays = {f"{axis}_{part}": values for part, pair in parts.items() for axis, values in zip("xy", pair, strict=True)}
    np.savez(folder / "mnist.npz", **arrays)


def write_medmnist(folder: Path, parts: Parts) -> None:
    arrays = {}
    for part, (images, labels) in parts.items():
        arrays |= {f"{part}_images": images, f"{part}_labels": labels[:, None].astype(np.int64)}
    np.savez_compressed(folder / "medmnist.npz", **arrays)


def write_parquet(folder: Path, parts: Parts, names: list[str] | None = None) -> None:
    (folder / "data").mkdir(parents=True)
    for part, (images, labels) in parts.items():
        told = names or [str(label) for label in range(int(labels.max()) + 1)]
        features = {"image": {"_type": "Image"}, "label": {"names": told, "_type": "ClassLabel"}}
        picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        schema = pa.schema(
            [("image", picture), ("label", pa.int64())],
            {"huggingface": json.dumps({"info": {"features": features}})},
        )
        rows = {"image": [{"bytes": encoded(image), "path": None} for image in images], "label": labels.tolist()}
        pq.write_table(pa.table(rows, schema), folder / "data" / f"{part}-00000-of-00001.parquet", row_group_size=100)


def write_tfrecords(folder: Path, parts: Parts) -> None:
    import tensorflow as tf

    for part, (images, labels) in parts.items():
        with tf.io.TFRecordWriter(str(folder / f"mnist-{part}.tfrecord-00000-of-00001")) as writer:
            for image, label in zip(images, labels.tolist(), strict=True):
                features = {
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded(image)])),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def write_folders(folder: Path, parts: Parts) -> None:
    for part, (images, labels) in parts.items():
        for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            path = folder / part / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(image))


FORMS: dict[str, Callable[[Path, Parts], None]] = {
    "IDX": write_idx,
    "CSV": write_csv,
    "NPZ": write_keras_npz,
    "MedMNIST": write_medmnist,
    "Parquet": write_parquet,
    "TFRecord": write_tfrecords,
    "class folders": write_folders,
}
