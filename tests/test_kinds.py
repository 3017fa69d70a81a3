"""Each kind of input, as people have it: the same images and labels come out of all, and nothing else out of damage."""

import gzip
import json
import math
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from components.errors import InputError
from components.example_gen.broken import Broken
from components.example_gen.dataset import Dataset, ImageSettings, inspect_dataset
from components.example_gen.idx import read_idx
from components.example_gen.kinds import find_kind
from components.example_gen.kinds.registry import list_files
from components.example_gen.reading import Digest, plain_labels, read_part
from models.features import FASHION_MNIST_CLASSES
from tests.conftest import idx_bytes
from tests.forms import (
    FORMS,
    encoded,
    write_csv,
    write_folders,
    write_idx,
    write_keras_npz,
    write_parquet,
    write_tfrecords,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 6, 6), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 2, 1, 0])
PARTS = {"train": (IMAGES[:6], LABELS[:6]), "test": (IMAGES[6:], LABELS[6:])}
# Kinds whose digest is that of the pixels.
OF_PIXELS = ("IDX", "CSV", "NPZ", "MedMNIST")


def contents(dataset: Dataset) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads all images and the numbers of their classes, by part."""
    found = {}
    for name, part in dataset.contents.parts.items():
        blocks = list(read_part(part, dataset.form, Broken(dataset.broken), Digest()))
        labels = dataset.classes.number(plain_labels([block.labels for block in blocks]))
        found[name] = (np.concatenate([block.images for block in blocks]), labels)
    return found


def assert_holds(dataset: Dataset, parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Asserts that a data set holds just these images and numbers of classes, in this order."""
    found = contents(dataset)
    assert found.keys() == parts.keys()
    for name, (images, labels) in parts.items():
        np.testing.assert_array_equal(found[name][0], images)
        np.testing.assert_array_equal(found[name][1], labels)


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as raised:
        contents(inspect_dataset(folder))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def rename(folder: Path, name: Callable[[str], str]) -> None:
    for path in [path for path in folder.iterdir() if path.is_file()]:
        content = path.read_bytes()
        path.unlink()
        target = folder / name(path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


# all forms


@pytest.fixture(scope="module")
def real(fashion_images, fashion_labels) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        "train": (fashion_images[:200], fashion_labels[:200]),
        "test": (fashion_images[200:260], fashion_labels[200:260]),
    }


@pytest.fixture(scope="module")
def read_forms(real, tmp_path_factory) -> dict[str, Dataset]:
    found = {}
    for form, write in FORMS.items():
        folder = tmp_path_factory.mktemp(form.replace(" ", "_"))
        write(folder, real)
        found[form] = inspect_dataset(folder)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_real_images_are_the_same_in_every_form_in_order_with_their_classes(read_forms, real, form):
    assert read_forms[form].class_names == tuple(map(str, range(10)))
    assert read_forms[form].image_shape == (28, 28)
    assert_holds(read_forms[form], real)


def test_digest_of_pixels_and_that_of_pictures_are_the_same_in_whatever_files_they_lie(read_forms):
    digests = {form: dataset.digest for form, dataset in read_forms.items()}
    assert len({digests[form] for form in OF_PIXELS}) == 1
    assert len({digest for form, digest in digests.items() if form not in OF_PIXELS}) == 1
    assert len(set(digests.values())) == 2


@pytest.mark.parametrize("form", FORMS)
def test_validation_images_that_the_data_give_are_a_part_of_their_own(tmp_path, form):
    parts = {"train": PARTS["train"], "val": PARTS["test"], "test": (IMAGES[3:6], LABELS[3:6])}
    FORMS[form](tmp_path, parts)
    assert_holds(inspect_dataset(tmp_path), parts)


@pytest.mark.parametrize("form", FORMS)
def test_training_images_alone_are_a_data_set(tmp_path, form):
    FORMS[form](tmp_path, {"train": PARTS["train"]})
    assert_holds(inspect_dataset(tmp_path), {"train": PARTS["train"]})


@pytest.mark.parametrize("form", ["NPZ", "Parquet"])
def test_fashion_mnist_is_recognized_by_its_test_part_in_other_files(tmp_path, fashion_mnist, real, form):
    images = read_idx(fashion_mnist / "t10k-images-idx3-ubyte.gz")
    labels = read_idx(fashion_mnist / "t10k-labels-idx1-ubyte.gz")
    FORMS[form](tmp_path, {"train": real["train"], "test": (images, labels)})
    dataset = inspect_dataset(tmp_path)
    assert dataset.is_fashion_mnist
    # Names that the files themselves tell go before.
    assert dataset.class_names == (FASHION_MNIST_CLASSES if form == "NPZ" else tuple(map(str, range(10))))


@pytest.mark.parametrize("form", ["CSV", "NPZ", "MedMNIST", "Parquet", "TFRecord"])
def test_one_file_is_a_data_set_named_after_it(tmp_path, form):
    FORMS[form](tmp_path, {"train": PARTS["train"]})
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    dataset = inspect_dataset(path)
    assert_holds(dataset, {"train": PARTS["train"]})
    assert dataset.name == path.name.partition(".")[0].replace("-", "_")


@pytest.mark.parametrize("form", ["CSV", "NPZ", "Parquet", "TFRecord", "class folders"])
def test_more_than_256_classes_are_told_apart(tmp_path, form):
    images = np.random.default_rng(0).integers(0, 256, (300, 4, 4), np.uint8)
    parts = {"train": (images, np.arange(300))}
    FORMS[form](tmp_path, parts)
    dataset = inspect_dataset(tmp_path)
    assert dataset.class_names == tuple(map(str, range(300)))
    assert_holds(dataset, parts)


@pytest.mark.parametrize("form", ["NPZ", "MedMNIST", "CSV", "Parquet", "TFRecord", "class folders"])
def test_colour_stays_colour(tmp_path, form):
    parts = {"train": (np.random.default_rng(1).integers(0, 256, (6, 5, 5, 3), np.uint8), LABELS[:6])}
    FORMS[form](tmp_path, parts)
    assert_holds(inspect_dataset(tmp_path), parts)


# IDX


@pytest.mark.parametrize(
    "name",
    [
        lambda name: name.replace("-idx", ".idx"),
        lambda name: f"{name.removesuffix('.gz')}/{name}",
        lambda name: f"emnist-letters-{name}",
        lambda name: name.replace("t10k", "test"),
        lambda name: name.removesuffix(".gz"),
        lambda name: name.replace("-idx3-ubyte.gz", "").replace("-idx1-ubyte.gz", ""),
        lambda name: name.replace("-", "_").replace(".gz", ".bin"),
    ],
    ids=["dots", "a folder each", "prefix", "test", "gzipped without saying so", "no word for IDX", "underscores"],
)
def test_idx_is_found_by_the_words_of_its_names(tmp_path, name):
    write_idx(tmp_path, PARTS)
    rename(tmp_path, name)
    assert_holds(inspect_dataset(tmp_path), PARTS)


def unpacked_by_kaggle(folder: Path, *, ending: str = "") -> None:
    """Writes each file twice, with a dot in its name and in a folder of its own."""
    write_idx(folder, PARTS)
    for path in list(folder.iterdir()):
        content, stem = gzip.decompress(path.read_bytes()), path.name.removesuffix(".gz")
        path.unlink()
        (folder / stem.replace("-idx", ".idx")).write_bytes(content)
        (folder / stem).mkdir()
        (folder / stem / f"{stem}{ending}").write_bytes(gzip.compress(content) if ending else content)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_that_are_there_twice_with_the_same_content_are_read_once_and_told(tmp_path, ending):
    unpacked_by_kaggle(tmp_path, ending=ending)
    dataset = inspect_dataset(tmp_path)
    assert_holds(dataset, PARTS)
    (told,) = dataset.notes
    assert told == (
        "4 files are there twice, with the same content, and read once "
        f"(t10k-images-idx3-ubyte/t10k-images-idx3-ubyte{ending})"
    )


@pytest.mark.parametrize(
    "change", [lambda content: content[:-1] + b"\x01", lambda content: content[:-1]], ids=["a byte", "cut"]
)
def test_idx_files_that_are_there_twice_and_differ_are_refused_by_both_names(tmp_path, change):
    unpacked_by_kaggle(tmp_path)
    path = tmp_path / "train-labels-idx1-ubyte" / "train-labels-idx1-ubyte"
    path.write_bytes(change(path.read_bytes()))
    assert refusal(tmp_path) == (
        f"{tmp_path}: expected one data set in the folder, found train-labels.idx1-ubyte, "
        "train-labels-idx1-ubyte/train-labels-idx1-ubyte, which differ. Give each its own."
    )


def test_idx_that_is_called_gz_and_is_plain_is_read(tmp_path):
    write_idx(tmp_path, PARTS)
    for path in tmp_path.iterdir():
        path.write_bytes(gzip.decompress(path.read_bytes()))
    assert_holds(inspect_dataset(tmp_path), PARTS)


@pytest.mark.parametrize(("code", "layout"), [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4")], ids=str)
@pytest.mark.parametrize("columns", [0, 1, 8])
def test_idx_labels_are_whole_numbers_of_any_type_and_the_first_of_several_columns(tmp_path, code, layout, columns):
    write_idx(tmp_path, PARTS)
    for stem, (_, labels) in zip(("train", "t10k"), PARTS.values(), strict=True):
        values = labels.astype(layout)
        if columns:
            values = np.stack([values, *[values * 0 + 9] * (columns - 1)], axis=1)
        (tmp_path / f"{stem}-labels-idx1-ubyte.gz").unlink()
        head = struct.pack(f">BBBB{values.ndim}I", 0, 0, code, values.ndim, *values.shape)
        (tmp_path / f"{stem}-labels-idx{values.ndim}-int").write_bytes(head + values.tobytes())
    assert_holds(inspect_dataset(tmp_path), PARTS)


def test_idx_labels_that_are_no_whole_numbers_are_refused(tmp_path):
    write_idx(tmp_path, PARTS)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(struct.pack(">BBBBI", 0, 0, 13, 1, 6) + LABELS[:6].astype(">f4").tobytes())
    assert f"{path}: expected whole numbers as labels, found float32" in refusal(tmp_path)


def test_damaged_gzip_under_a_name_without_a_word_for_idx_is_refused(tmp_path):
    write_idx(tmp_path, PARTS)
    rename(tmp_path, lambda name: name.replace("-idx3-ubyte", "").replace("-idx1-ubyte", ""))
    path = tmp_path / "train-images.gz"
    content = bytearray(path.read_bytes())
    content[10] |= 0b110  # deflate's reserved type of block
    path.write_bytes(content)
    assert str(tmp_path) in refusal(tmp_path)


# NumPy


def test_arrays_of_kmnist_lie_in_an_archive_each(tmp_path):
    for part, (images, labels) in PARTS.items():
        np.savez_compressed(tmp_path / f"kmnist-{part}-imgs.npz", images)
        np.savez_compressed(tmp_path / f"kmnist-{part}-labels.npz", labels.astype(np.uint8))
    assert_holds(inspect_dataset(tmp_path), PARTS)


def test_arrays_may_be_files_of_their_own_and_labels_names(tmp_path):
    names = np.array(["cat", "dog", "eel"])
    for part, (images, labels) in PARTS.items():
        np.save(tmp_path / f"X_{part}.npy", images)
        np.save(tmp_path / f"y_{part}.npy", names[labels])
    dataset = inspect_dataset(tmp_path)
    assert dataset.class_names == ("cat", "dog", "eel")
    assert_holds(dataset, PARTS)


def test_pixels_of_another_type_are_read_where_they_are_whole_numbers_to_255(tmp_path):
    write_keras_npz(tmp_path, {part: (images.astype(np.float64), labels) for part, (images, labels) in PARTS.items()})
    assert_holds(inspect_dataset(tmp_path), PARTS)


@pytest.mark.parametrize("value", [0.5, -1, 256, np.nan, np.inf], ids=str)
def test_pixels_that_are_no_bytes_are_refused_with_value_and_image(tmp_path, value):
    images = PARTS["train"][0].astype(np.float32)
    images[4, 2, 3] = value
    write_keras_npz(tmp_path, {"train": (images, LABELS[:6])})
    found = f"mnist.npz, x_train: expected whole numbers from 0 to 255, found {np.float32(value)} in image 4"
    assert found in refusal(tmp_path)


def test_labels_that_are_floats_are_read_where_they_are_whole(tmp_path):
    write_keras_npz(tmp_path, {part: (images, labels.astype(np.float64)) for part, (images, labels) in PARTS.items()})
    assert_holds(inspect_dataset(tmp_path), PARTS)
    write_keras_npz(tmp_path, {"train": (IMAGES[:6], LABELS[:6] + 0.5)})
    assert "mnist.npz, y_train: expected one whole number or name an image, found [6] of float64" in refusal(tmp_path)


def test_arrays_of_images_without_labels_are_passed_over_and_told(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=IMAGES[:6], y_train=LABELS[:6], x_test=IMAGES[6:])
    dataset = inspect_dataset(tmp_path)
    assert_holds(dataset, {"train": PARTS["train"]})
    assert dataset.notes == ("x_test has no labels and is passed over",)


def test_channels_first_are_refused_with_what_to_call(tmp_path):
    write_keras_npz(tmp_path, {"train": (np.zeros((6, 3, 8, 8), np.uint8), LABELS[:6])})
    assert "channels first. Save them with numpy.moveaxis(images, 1, -1)." in refusal(tmp_path)


def test_array_with_more_behind_it_than_its_header_says_is_refused(tmp_path):
    for axis, values in zip("xy", PARTS["train"], strict=True):
        np.save(tmp_path / f"{axis}_train.npy", values)
    path = tmp_path / "x_train.npy"
    path.write_bytes(path.read_bytes() + b"\0")
    assert f"{path}: expected an array as its header says, found more behind it" in refusal(tmp_path)


# CSV


@pytest.fixture
def table(tmp_path) -> Callable[..., None]:
    """Writes the training images as one table; takes what pandas does, and whether the label is last."""

    def write(name: str = "train.csv", *, last: bool = False, **more: object) -> None:
        write_csv(tmp_path, {"train": PARTS["train"]})
        path = tmp_path / "fashion-mnist_train.csv"
        frame = pd.read_csv(path)
        path.unlink()
        frame = frame[[*frame.columns[1:], "label"]] if last else frame
        frame.to_csv(tmp_path / name, **{"index": False, **more})

    return write


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("train.csv", {}),
        ("mnist_train.csv", {"header": False}),
        ("train.csv", {"last": True}),
        ("train.csv", {"sep": ";"}),
        ("train.tsv", {"sep": "\t"}),
        ("train.csv", {"encoding": "utf-8-sig"}),
        ("train.csv.gz", {}),
        ("train.csv", {"lineterminator": "\r\n"}),
        ("train.csv", {"quoting": 1}),
        ("train.csv", {"index": True}),
        ("A_Z Handwritten Data.csv", {"header": False}),
    ],
    ids=lambda value: str(value or "plain"),
)
def test_table_is_read_as_it_is_written(table, tmp_path, name, more):
    table(name, **more)
    assert_holds(inspect_dataset(tmp_path), {"train": PARTS["train"]})


def test_labels_of_a_table_may_be_names(tmp_path):
    write_csv(tmp_path, {"train": (PARTS["train"][0], np.array(["eel", "ant", "eel", "ant", "eel", "cat"]))})
    dataset = inspect_dataset(tmp_path)
    assert dataset.class_names == ("ant", "cat", "eel")
    assert_holds(dataset, {"train": (PARTS["train"][0], np.array([2, 0, 2, 0, 2, 1]))})


def test_table_of_savetxt_has_no_header_and_whole_numbers_as_labels(tmp_path):
    images, labels = PARTS["train"]
    np.savetxt(tmp_path / "train.csv", np.column_stack([labels + 9, images.reshape(6, -1)]), delimiter=",")
    dataset = inspect_dataset(tmp_path)
    assert dataset.class_names == ("9", "10", "11")
    assert_holds(dataset, {"train": PARTS["train"]})


def test_numbers_of_columns_as_pandas_writes_them_are_a_header_and_no_image(tmp_path):
    images, labels = PARTS["train"]
    frame = pd.DataFrame(np.column_stack([labels, images.reshape(6, -1)]))
    frame.to_csv(tmp_path / "train.csv", index=False)
    assert (tmp_path / "train.csv").read_text().startswith("0,1,2,3,")
    assert_holds(inspect_dataset(tmp_path), {"train": PARTS["train"]})


def test_labels_of_a_table_are_told_apart_by_more_than_blanks_and_none_may_be_empty(table, tmp_path):
    table()
    path = tmp_path / "train.csv"
    lines = path.read_text().splitlines()
    for number, label in enumerate(["a", " a", "b ", "1.5", "b", "2.0"], 1):
        lines[number] = label + lines[number][1:]
    path.write_text("\n".join(lines))
    assert inspect_dataset(tmp_path).class_names == ("1.5", "2", "a", "b")
    path.write_text("\n".join(lines).replace("1.5", "  "))
    assert refusal(tmp_path) == f"{path}: expected a label for each image, found none for image 3. Complete the file."


def test_table_without_labels_is_passed_over_and_told(table, tmp_path):
    table()
    table("test.csv")
    pd.read_csv(tmp_path / "test.csv").drop(columns="label").to_csv(tmp_path / "test.csv", index=False)
    dataset = inspect_dataset(tmp_path)
    assert_holds(dataset, {"train": PARTS["train"]})
    assert dataset.notes == ("test.csv has no column of labels and is passed over",)


def test_table_about_something_else_is_no_data_set(tmp_path):
    (tmp_path / "train.csv").write_text("label,price\nfish,3\nmeat,7\n")
    assert "expected a data set, found none of these" in refusal(tmp_path)


def test_empty_table_of_a_part_is_refused_and_one_without_pixels_told(table, tmp_path):
    table()
    (tmp_path / "test.csv").write_text("label,p1,p2\n")
    assert inspect_dataset(tmp_path).notes == ("test.csv has no columns of pixels and is passed over",)
    (tmp_path / "test.csv").write_text("")
    assert refusal(tmp_path) == f"{tmp_path / 'test.csv'}: expected a table of images, found an empty file. Delete it."


def test_pixels_that_are_no_square_are_refused_with_their_number(tmp_path):
    write_csv(tmp_path, {"train": (np.zeros((6, 2, 5), np.uint8), LABELS[:6])})
    assert "expected the pixels of a square image, gray or in three colours, found 10 columns" in refusal(tmp_path)


def test_row_with_a_value_too_few_and_a_value_that_is_none_are_one_line(table, tmp_path):
    table()
    path = tmp_path / "train.csv"
    lines = path.read_text().splitlines()
    for line in (lines[2].rpartition(",")[0], lines[2].rpartition(",")[0] + ",", lines[2].rpartition(",")[0] + ",x"):
        path.write_text("\n".join([*lines[:2], line, *lines[3:]]))
        message = refusal(tmp_path)
        assert message.startswith((f"{path}: expected a ", f"{path}, image 1: expected a value in each column"))


# Several data sets


def write_labels(folder: Path, form: str, labels: list[str]) -> tuple[Path, str]:
    """Writes images with texts for labels; returns the file that they are in, and what follows it in a message."""
    images = IMAGES[: len(labels)]
    if form == "NumPy":
        np.savez(folder / "data.npz", x_train=images, y_train=np.array(labels))
        return folder / "data.npz", ", image 3: expected a label, found an empty text. Name"
    if form == "CSV":
        table = pd.DataFrame(images.reshape(len(images), -1), columns=[f"pixel{n}" for n in range(36)])
        table.insert(0, "label", labels)
        table.to_csv(folder / "train.csv", index=False)
        return folder / "train.csv", ": expected a label for each image, found none for image 3. Complete"
    if form == "Parquet":
        parquet(folder / "train.parquet", {"image": [encoded(image) for image in images], "label": labels})
        return folder / "train.parquet", ", image 3: expected a label, found an empty text. Name"
    if form == "class folders":
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            (folder / label).mkdir(exist_ok=True)
            (folder / label / f"{number}.png").write_bytes(encoded(image))
        return folder / labels[3] / "3.png", ": expected a label, found an empty text. Name"
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(folder / "train.tfrecord")) as writer:
        for image, label in zip(images, labels, strict=True):
            values = {"image": encoded(image), "label": label.encode()}
            features = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in values.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return folder / "train.tfrecord", ", image 3: expected a label, found an empty text. Name"


@pytest.mark.parametrize(
    ("form", "empty"),
    [
        *((form, empty) for form in ("NumPy", "CSV", "Parquet", "TFRecord") for empty in ("", "  ")),
        # There is no folder without a name.
        ("class folders", "  "),
    ],
)
def test_empty_label_is_no_class_of_its_own_but_refused_by_its_place(tmp_path, form, empty):
    file, told = write_labels(tmp_path, form, ["cat", "dog", "cat", empty, "dog", empty])
    with pytest.raises(InputError) as raised:
        inspect_dataset(tmp_path)
    assert str(raised.value).startswith(f"{file}{told}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("around", ["train_test_split", "training_data", "train/v2", "test-data"])
@pytest.mark.parametrize("form", FORMS)
def test_words_of_folders_around_the_data_make_no_part_of_another(tmp_path, form, around):
    folder = tmp_path / "data" / around
    folder.mkdir(parents=True)
    FORMS[form](folder, PARTS)
    # An IDX file lies in the folder itself.
    assert_holds(inspect_dataset(folder if form == "IDX" else tmp_path / "data"), PARTS)


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("Parquet", {"train": "split/train.parquet", "test": "split/test.parquet"}),
        ("Parquet", {"train": "training_data/v1/train/0000.parquet", "test": "training_data/v1/test/0000.parquet"}),
        ("Parquet", {"train": "train/part-0.parquet", "test": "test/part-0.parquet"}),
        ("TFRecord", {"train": "training-set-train.tfrecord", "test": "training-set-test.tfrecord-00000-of-00001"}),
        ("TFRecord", {"train": "dev_set/1.0.0/dev_set-train.tfrecord", "test": "dev_set/1.0.0/dev_set-test.tfrecord"}),
        ("TFRecord", {"train": "test/train/0.tfrecord", "test": "test/test/0.tfrecord"}),
    ],
    ids=str,
)
def test_file_is_of_the_part_that_its_name_says_or_the_nearest_folder(tmp_path, form, names):
    (tmp_path / "as written").mkdir()
    FORMS[form](tmp_path / "as written", PARTS)
    for part, name in names.items():
        (path,) = (path for path in (tmp_path / "as written").rglob(f"*{part}*") if path.is_file())
        (tmp_path / "train_test_split" / name).parent.mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "train_test_split" / name)
    assert_holds(inspect_dataset(tmp_path / "train_test_split"), PARTS)
    assert_holds(inspect_dataset(tmp_path), PARTS)


def test_data_of_another_kind_beside_are_told(tmp_path):
    for form in ("IDX", "CSV"):
        FORMS[form](tmp_path, {"train": (np.arange(18 * 16, dtype=np.uint8).reshape(18, 4, 4), np.arange(18) % 2)})
    assert (
        inspect_dataset(tmp_path).describe().startswith("IDX: 18 train images of 4x4, 2 classes; CSV is there as well")
    )


def test_two_data_sets_in_folders_of_one_are_refused(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        FORMS["Parquet"](tmp_path / name, {"train": (np.zeros((4, 4, 4), np.uint8), np.arange(4) % 2)})
    message = refusal(tmp_path)
    assert f"{tmp_path / 'one' / 'data'}, {tmp_path / 'two' / 'data'}: expected one data set" in message
    assert "found files of train in each of 2 folders" in message


def test_pictures_of_a_format_that_is_not_read_are_no_class_lost_without_a_word(tmp_path):
    for number, name in enumerate(("a", "b", "c")):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(
            tmp_path / name / f"x.{'tif' if name == 'c' else 'png'}"
        )
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path / 'c' / 'x.tif'}: expected .png, .jpg")
    assert "found 1 of a format that is not read. Convert them" in message


# Parquet


def parquet(path: Path, columns: dict[str, list], metadata: dict | None = None, **more: object) -> None:
    schema = pa.table(columns)
    pq.write_table(schema.replace_schema_metadata(metadata) if metadata else schema, path, **more)


def test_plain_bytes_and_names_as_labels_are_read(tmp_path):
    names = ["eel", "ant", "eel", "ant", "eel", "cat"]
    parquet(tmp_path / "train.parquet", {"img": [encoded(image) for image in PARTS["train"][0]], "label": names})
    dataset = inspect_dataset(tmp_path)
    assert dataset.class_names == ("ant", "cat", "eel")
    assert_holds(dataset, {"train": (PARTS["train"][0], np.array([2, 0, 2, 0, 2, 1]))})


def test_names_of_the_hub_are_those_of_the_classes_and_its_column_is_found(tmp_path):
    features = {"image": {"_type": "Image"}, "species": {"_type": "ClassLabel", "names": ["eel", "ant", "cat", "fox"]}}
    columns = {"image": [encoded(image) for image in PARTS["train"][0]], "species": LABELS[:6].tolist()}
    parquet(tmp_path / "train.parquet", columns, {"huggingface": json.dumps({"info": {"features": features}})})
    dataset = inspect_dataset(tmp_path)
    assert dataset.class_names == ("eel", "ant", "cat")
    assert dataset.notes == ("no image of fox: 3 classes of the 4 that are named",)
    assert_holds(dataset, {"train": PARTS["train"]})


def hub(path: Path, names: list[str], labels: list[int]) -> None:
    features = {"label": {"_type": "ClassLabel", "names": names}}
    columns = {"image": [encoded(image) for image in IMAGES[: len(labels)]], "label": labels}
    path.parent.mkdir(exist_ok=True)
    parquet(path, columns, {"huggingface": json.dumps({"info": {"features": features}})})


def test_files_of_one_data_set_that_name_the_classes_otherwise_are_refused(tmp_path):
    train, test = tmp_path / "train.parquet", tmp_path / "test.parquet"
    hub(train, ["cat", "dog"], [0, 1])
    hub(test, ["bird", "dog"], [0, 1])
    told = f"{train}: expected the class names of {test}, found label 0 called 'cat' here and 'bird' there. Number the"
    assert refusal(tmp_path).startswith(told)
    # Answers need no labels.
    kind, files = find_kind(tmp_path, for_training=False)
    assert len(kind.open(files).parts) == 2
    # A list that goes on where the other ends says nothing else.
    hub(test, ["cat", "dog", "bird"], [0, 1])
    assert inspect_dataset(tmp_path).class_names == ("cat", "dog")
    # One file without names takes them from nobody.
    parquet(test, {"image": [encoded(IMAGES[0])], "label": [1]})
    assert inspect_dataset(tmp_path).class_names == ("cat", "dog")


def test_lists_of_tfds_that_name_the_classes_otherwise_are_refused_and_those_of_other_features_passed_over(tmp_path):
    FORMS["TFRecord"](tmp_path, PARTS)
    (tmp_path / "label.labels.txt").write_text("eel\nant\ncat\n")
    (tmp_path / "super_label.labels.txt").write_text("fish\ninsect\nmammal\n")
    assert inspect_dataset(tmp_path).class_names == ("eel", "ant", "cat")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "label.labels.txt").write_text("eel\nbee\ncat\n")
    assert "found label 1 called 'bee' here and 'ant' there" in refusal(tmp_path)


@pytest.mark.parametrize("metadata", ["{", '{"info": 3}', '{"info": {"features": {"label": {"names": [1, 2]}}}}'])
def test_metadata_that_are_none_are_refused_with_the_file(tmp_path, metadata):
    columns = {"image": [encoded(image) for image in PARTS["train"][0]], "label": LABELS[:6].tolist()}
    parquet(tmp_path / "train.parquet", columns, {"huggingface": metadata})
    assert f"{tmp_path / 'train.parquet'}: expected the features of the columns as JSON" in refusal(tmp_path)


def test_row_without_an_image_or_a_label_is_refused_by_its_number(tmp_path):
    whole = {"image": [encoded(image) for image in PARTS["train"][0]], "label": LABELS[:6].tolist()}
    for column, told in (("image", "no bytes"), ("label", "the label None")):
        values = [*whole[column][:4], None, *whole[column][5:]]
        parquet(tmp_path / "train.parquet", {**whole, column: values})
        assert f"train.parquet, row 4: expected the bytes of an image and one label, found {told}" in refusal(tmp_path)


def test_labels_that_are_floats_of_a_table_are_read_where_they_are_whole(tmp_path):
    images = [encoded(image) for image in PARTS["train"][0]]
    parquet(tmp_path / "train.parquet", {"image": images, "label": LABELS[:6].astype(float).tolist()})
    assert_holds(inspect_dataset(tmp_path), {"train": PARTS["train"]})
    parquet(tmp_path / "train.parquet", {"image": images, "label": (LABELS[:6] + 0.5).tolist()})
    assert "train.parquet, row 0: expected the bytes of an image and one label, found the label 0.5" in refusal(
        tmp_path
    )


# TFRecord


@pytest.mark.parametrize("end", ["\n", "\r\n", ""], ids=["unix", "windows", "none at the end"])
def test_names_of_tfds_are_those_of_the_classes(tmp_path, end):
    FORMS["TFRecord"](tmp_path, PARTS)
    (tmp_path / "label.labels.txt").write_bytes((end or "\n").join(["eel", "ant", "cat"]).encode() + end.encode())
    dataset = inspect_dataset(tmp_path)
    assert dataset.class_names == ("eel", "ant", "cat")
    assert_holds(dataset, PARTS)


def write_records(path: Path, labels: list) -> None:
    """Writes a record for each label, bytes, float or int, with the first images."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for image, label in zip(IMAGES, labels, strict=False):
            kinds = {bytes: ("bytes_list", tf.train.BytesList), float: ("float_list", tf.train.FloatList)}
            name, kind = kinds.get(type(label), ("int64_list", tf.train.Int64List))
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded(image)])),
                "label": tf.train.Feature(**{name: kind(value=[label])}),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def test_features_of_floats_beside_image_and_label_are_passed_over(tmp_path):
    import tensorflow as tf

    def floats(*values: float) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    with tf.io.TFRecordWriter(str(tmp_path / "train.tfrecord")) as writer:
        for number, image in enumerate(IMAGES[:4]):
            features = {
                "image": floats(*(image.ravel() / 255)),
                "image_raw": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded(image)])),
                "label": floats(0.5, 0.5),
                "class": tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 2])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    assert contents(inspect_dataset(tmp_path))["train"][1].tolist() == [0, 1, 0, 1]


def test_whole_floats_are_labels_of_records(tmp_path):
    write_records(tmp_path / "train.tfrecord", [3.0, 1, 3.0, 1.0])
    dataset = inspect_dataset(tmp_path)
    assert (dataset.class_values, contents(dataset)["train"][1].tolist()) == ((1, 3), [1, 0, 1, 0])


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (0.5, "expected a whole number for a label, found 0.5"),
        (math.nan, "expected a whole number for a label, found nan"),
        ("caf\u00e9".encode("latin-1"), r"expected a label in UTF-8, found b'caf\xe9'"),
    ],
    ids=["half", "none", "Latin-1"],
)
def test_label_of_a_record_that_cannot_be_told_from_others_is_refused(tmp_path, label, told):
    write_records(tmp_path / "train.tfrecord", [0.0, label, 1.0])
    if isinstance(label, bytes):
        write_records(tmp_path / "train.tfrecord", [b"tea", label, "caf\u00e8".encode("latin-1")])
    assert refusal(tmp_path) == f"{tmp_path / 'train.tfrecord'}, record 1: {told}. Use a good copy."
    # Asked for answers nobody needs it.
    kind, files = find_kind(tmp_path, for_training=False)
    assert len([picture for picture in kind.open(files).parts["train"].pictures() if not picture.fault]) == 3


def test_records_of_another_kind_are_refused_with_their_features(tmp_path):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(tmp_path / "train.tfrecord")) as writer:
        feature = {"audio": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"x"]))}
        writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    assert "train.tfrecord, record 0: expected the features image (bytes) and label, found audio" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"label": [0, 0, 1, 0, 0, 0]}, "feature label, found 6 (0, 0, 1, 0, 0, ...)"),
        ({"label": [b"cat", b"dog"]}, "feature label, found 2"),
        ({"image": [encoded(IMAGES[0]), encoded(IMAGES[1])]}, "feature image, found 2"),
    ],
    ids=["one-hot", "texts", "images"],
)
def test_record_of_several_values_is_refused_and_not_taken_for_its_first(tmp_path, changed, told):
    import tensorflow as tf

    def feature(values: list) -> tf.train.Feature:
        if isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    with tf.io.TFRecordWriter(str(tmp_path / "train.tfrecord")) as writer:
        for number, image in enumerate(IMAGES[:4]):
            values = {"image": [encoded(image)], "label": [number % 2], **(changed if number == 2 else {})}
            features = tf.train.Features(feature={name: feature(value) for name, value in values.items()})
            writer.write(tf.train.Example(features=features).SerializeToString())
    message = refusal(tmp_path)
    assert f"train.tfrecord, record 2: expected one value in the {told}. Write one image a record, and" in message
    # Asked for answers it is told as well, and the records before it can be had.
    kind, files = find_kind(tmp_path, for_training=False)
    assert [told in picture.fault for picture in kind.open(files).parts["train"].pictures()] == [False, False, True]


@pytest.mark.parametrize("form", ["Parquet", "TFRecord"])
def test_shards_that_are_not_there_are_told_by_their_number(tmp_path, form):
    FORMS[form](tmp_path, PARTS)
    assert inspect_dataset(tmp_path).notes == ()
    (path,) = tmp_path.rglob("*train*")
    path.rename(path.with_name(path.name.replace("00000-of-00001", "00002-of-00005")))
    dataset = inspect_dataset(tmp_path)
    assert_holds(dataset, PARTS)
    assert dataset.notes == (f"4 of the 5 files {path.name.partition('-00000')[0]}-*-of-00005 are not there",)


# class folders


@pytest.fixture
def folders(tmp_path) -> Path:
    """Classes b, a and c, whose pictures are numbered through all of them."""
    for part, (images, labels) in PARTS.items():
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = tmp_path / "data" / part / "bac"[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(image))
    return tmp_path / "data"


# The classes are numbered in the order of their names, a, b and c.
BY_NAME = {part: (images, np.array([1, 0, 2])[labels]) for part, (images, labels) in PARTS.items()}


def test_folders_of_train_and_test_are_parts_and_those_below_are_classes(folders):
    dataset = inspect_dataset(folders)
    assert (dataset.class_names, dataset.notes) == (("a", "b", "c"), ())
    assert_holds(dataset, BY_NAME)


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "in folders of a download"])
def test_folders_of_classes_alone_are_all_training(folders, tmp_path, wrapped):
    shutil.rmtree(folders / "test")
    target = tmp_path / "new" / ("pets-main/pets" if wrapped else "")
    target.parent.mkdir(parents=True, exist_ok=True)
    (folders / "train").rename(target)
    assert_holds(inspect_dataset(tmp_path / "new"), {"train": BY_NAME["train"]})


def test_folder_around_train_and_test_is_no_class(folders, tmp_path):
    (tmp_path / "around" / "v2").mkdir(parents=True)
    folders.rename(tmp_path / "around" / "v2" / "data")
    assert_holds(inspect_dataset(tmp_path / "around"), BY_NAME)


def test_part_in_a_folder_of_its_own_name_is_no_class_and_what_is_no_part_is_passed_over(folders):
    """As Kaggle has Intel's scenes: seg_train/seg_train/<class>, and seg_pred without classes."""
    for part in PARTS:
        (folders / f"seg_{part}").mkdir()
        (folders / part).rename(folders / f"seg_{part}" / f"seg_{part}")
    (folders / "seg_pred" / "seg_pred").mkdir(parents=True)
    (folders / "seg_pred" / "seg_pred" / "1.png").write_bytes(encoded(IMAGES[0]))
    dataset = inspect_dataset(folders)
    assert_holds(dataset, BY_NAME)
    assert dataset.notes == ("1 file passed over, no pictures of a class (1.png)",)


def test_one_class_with_folders_below_it_stays_a_class_of_test(folders):
    for name in "bc":
        shutil.rmtree(folders / "test" / name)
    (folders / "test" / "a").rename(folders / "test" / "b")
    (folders / "test" / "b" / "a").mkdir()
    (folders / "test" / "b" / "1.png").rename(folders / "test" / "b" / "a" / "1.png")
    assert contents(inspect_dataset(folders))["test"][1].tolist() == [1]


@pytest.mark.parametrize("name", ["metadata.parquet", "train/metadata.parquet", "train.parquet"])
def test_table_beside_folders_of_classes_is_none_of_the_images(folders, name):
    parquet(folders / name, {"path": ["a"], "label": [1]})
    boxes = pd.DataFrame({"path": ["a"], "label": [1], "x1": [0], "y1": [0], "x2": [4], "y2": [4]})
    boxes.to_csv(folders / "boxes.csv", index=False)
    assert_holds(inspect_dataset(folders), BY_NAME)


@pytest.mark.parametrize("names", [("Training", "Testing"), ("TRAIN", "test_set"), ("train_images", "t10k")], ids=str)
def test_parts_are_known_by_their_words(folders, names):
    for part, name in zip(PARTS, names, strict=True):
        (folders / part).rename(folders / name)
    assert_holds(inspect_dataset(folders), BY_NAME)


def test_what_is_hidden_or_no_picture_is_passed_over_and_counted(folders):
    for name in (".DS_Store", "train/a/._0.tif", "train/a/Thumbs.db", "train/b/desktop.ini", "README.txt"):
        (folders / name).write_bytes(b"text")
    for name in ("train/.ipynb_checkpoints", "__MACOSX/train/a", "train/@eaDir"):
        (folders / name).mkdir(parents=True)
        (folders / name / "1.png").write_bytes(encoded(IMAGES[0]))
    (folders / "train" / "at_the_top.png").write_bytes(encoded(IMAGES[0]))
    dataset = inspect_dataset(folders)
    assert_holds(dataset, BY_NAME)
    # Of a hidden folder the folder counts.
    assert dataset.notes == ("9 files passed over, no pictures of a class (README.txt)",)


def test_what_the_top_of_a_disk_has_is_no_class_and_need_not_be_readable(folders, monkeypatch):
    """ext4's `lost+found` is root's alone. Patched, because root may read everything."""
    names = ("lost+found", "$RECYCLE.BIN", "System Volume Information", "#recycle", "@Recycle")
    for name in names:
        (folders / "train" / name).mkdir()
        (folders / "train" / name / "1.png").write_bytes(encoded(IMAGES[0]))
    scandir = os.scandir

    def refuse(place: str) -> object:
        if place.endswith(names):
            raise PermissionError(13, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert inspect_dataset(folders / "train").class_names == ("a", "b", "c")


def test_picture_without_a_suffix_and_one_in_a_folder_below_its_class_count(folders):
    (folders / "train" / "b" / "0.png").rename(folders / "train" / "b" / "0")
    (folders / "train" / "a" / "more").mkdir()
    (folders / "train" / "a" / "1.png").rename(folders / "train" / "a" / "more" / "1.PNG")
    assert_holds(inspect_dataset(folders), BY_NAME)


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "test1"), ("train_images", "test_images"), ("train",)])
def test_parts_without_folders_of_classes_are_no_classes(tmp_path, parts):
    """As many a competition has them, with a table of labels beside."""
    for part, image in zip(parts, IMAGES, strict=False):
        (tmp_path / part).mkdir()
        (tmp_path / part / "0.png").write_bytes(encoded(image))
    (tmp_path / "train.csv").write_text("image_id,label\n0.png,cat\n")
    told = f"expected a folder for each class, found pictures in {', '.join(sorted(parts))} themselves. Sort them into "
    told += "train/<class>/ (and test/<class>/); a table of their labels is not read."
    assert refusal(tmp_path) == f"{tmp_path}: {told}"


# What is said of parts where the classes are looked for, below them, and of those that are there twice.
IN_PLACE = (
    "{0}: expected a folder for each class, found {1} in their place. Call the parts train, val and test, and point "
    "--data-dir at the folder that they are in."
)
BELOW = (
    "{0}: expected a folder for each class, found the parts train and test below {1}. Point --data-dir at {0}/{1}, or "
    "sort the pictures into train/<class>/ and test/<class>/."
)
TWICE = "{0}: expected one folder of train, found {1}. Put them into one, or take the others away."


@pytest.mark.parametrize(
    ("places", "told", "names"),
    [
        (("trainset/cat", "trainset/dog", "testset/cat", "testset/dog"), IN_PLACE, "testset, trainset"),
        (("train2017/cat", "val2017/cat"), IN_PLACE, "train2017, val2017"),
        (("docs", "mydata/train/cat", "mydata/train/dog", "mydata/test/cat"), BELOW, "mydata"),
        ((".", "mydata/train/cat", "mydata/train/dog", "mydata/test/cat"), BELOW, "mydata"),
        (("cats/train", "cats/test", "dogs/train", "dogs/test"), BELOW, "cats"),
        (
            ("docs", "training_data/train/cat", "training_data/train/dog", "training_data/test/cat"),
            IN_PLACE,
            "test, train",
        ),
        (
            ("train_test_split/train/cat", "train_test_split/train/dog", "train_test_split/test"),
            IN_PLACE,
            "test, train",
        ),
        (("train", "test", "validation", "unlabeled"), IN_PLACE, "test, train, validation"),
        (("train/cat", "train/dog", "train_masks/cat", "train_masks/dog", "test/cat"), TWICE, "train, train_masks"),
    ],
    ids=lambda value: value[0].replace("/", "-") if isinstance(value, tuple) else "",
)
def test_parts_where_classes_are_looked_for_are_refused_and_not_trained_on(tmp_path, places, told, names):
    for number, place in enumerate(places):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "0.png").write_bytes(encoded(IMAGES[number]))
    assert refusal(tmp_path) == told.format(tmp_path, names)


@pytest.mark.parametrize("names", [("bus", "train"), ("trainers", "valve"), ("Train station", "Valley")], ids=str)
def test_train_may_be_a_class_beside_others(tmp_path, names):
    for name, image in zip(names, IMAGES, strict=False):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(encoded(image))
    assert inspect_dataset(tmp_path).class_names == names


def test_classes_txt_orders_the_classes(folders):
    (folders / "classes.txt").write_text("c\na\nb\n")
    dataset = inspect_dataset(folders)
    assert dataset.class_names == ("c", "a", "b")
    assert_holds(dataset, {part: (images, np.array([2, 1, 0])[labels]) for part, (images, labels) in PARTS.items()})


def test_numbers_as_names_of_folders_are_numbers_and_9_comes_before_10(tmp_path):
    labels = np.array([9, 10, 100, 9, 10, 100])
    write_folders(tmp_path, {"train": (IMAGES[:6], labels)})
    assert inspect_dataset(tmp_path).class_values == (9, 10, 100)
    shutil.rmtree(tmp_path / "train")
    for name in ("s9", "s10", "s100"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(encoded(IMAGES[0]))
    assert inspect_dataset(tmp_path).class_names == ("s9", "s10", "s100")


def test_part_whose_folders_are_all_numbers_has_the_classes_of_training_where_some_are_none(tmp_path):
    for place, image in zip(("train/1", "train/2", "train/x", "test/2"), IMAGES, strict=False):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "0.png").write_bytes(encoded(image))
    assert_holds(
        inspect_dataset(tmp_path), {"train": (IMAGES[:3], np.array([0, 1, 2])), "test": (IMAGES[3:4], np.array([1]))}
    )


def test_umlauts_of_a_mac_are_those_of_others(folders):
    (folders / "train" / "a").rename(folders / "train" / "Ka\u0308fer")
    (folders / "test" / "a").rename(folders / "test" / "K\u00e4fer")
    (folders / "classes.txt").write_text("Ka\u0308fer\nb\nc\n")
    dataset = inspect_dataset(folders)
    assert dataset.class_names == ("K\u00e4fer", "b", "c")
    assert_holds(dataset, BY_NAME)


def test_link_to_a_folder_above_is_followed_once(folders):
    before = list_files(folders).files
    (folders / "train" / "d").symlink_to(folders)
    (folders / "train" / "a" / "more").symlink_to(folders / "train" / "b")
    (folders / "train" / "b" / "more").symlink_to(folders / "train" / "a")
    # Of a and b, which hold each other, each twice.
    assert len(list_files(folders).files) == len(before) + 4
    (folders / "train" / "a" / "more").unlink()
    (folders / "train" / "b" / "more").unlink()
    assert list_files(folders).files == before
    assert_holds(inspect_dataset(folders), BY_NAME)


def test_link_to_itself_is_a_picture_that_cannot_be_read(folders):
    (folders / "train" / "a" / "again.png").symlink_to("again.png")
    message = refusal(folders)
    assert message.startswith(f"{folders / 'train' / 'a' / 'again.png'} (it cannot be read: ")
    assert_holds(inspect_dataset(folders, ImageSettings(broken=1)), BY_NAME)
    (folders / "loop").symlink_to("loop")
    assert refusal(folders / "loop").startswith(
        f"{folders / 'loop'}: cannot be read (Too many levels of symbolic links"
    )


@pytest.mark.parametrize("database", ["metadata.db", "metadata.toml"])
def test_outputs_of_runs_among_the_data_are_none_of_them(folders, database):
    """As where a run is started in the folder of the data; records of TFRecords go before folders of pictures."""
    (folders / "output" / "artifacts").mkdir(parents=True)
    write_tfrecords(folders / "output" / "artifacts", PARTS)
    assert inspect_dataset(folders).kind == "TFRecord"
    (folders / "output" / database).touch()
    dataset = inspect_dataset(folders)
    assert dataset.kind == "class folders"
    assert_holds(dataset, BY_NAME)
    assert dataset.notes == ("1 file passed over, no pictures of a class (output)",)


def test_class_may_be_a_link_to_a_folder_elsewhere_and_two_parts_the_same_one(folders, tmp_path):
    shutil.rmtree(folders / "test")
    (folders / "train").rename(tmp_path / "elsewhere")
    for part in PARTS:
        (folders / part).symlink_to(tmp_path / "elsewhere")
    assert_holds(inspect_dataset(folders), dict.fromkeys(PARTS, BY_NAME["train"]))


def test_names_may_hold_any_blank_and_leftovers_any_character(folders):
    (folders / "train" / "a").rename(folders / "train" / "3.14\u202fPM\u00a0x")
    (folders / "test" / "a").rename(folders / "test" / "3.14\u202fPM\u00a0x")
    (folders / "train" / "Icon\r").write_bytes(b"")
    dataset = inspect_dataset(folders)
    assert dataset.class_names == ("3.14\u202fPM\u00a0x", "b", "c")
    assert dataset.notes == ("1 file passed over, no pictures of a class (Icon\r)",)


@pytest.mark.parametrize("name", [b"K\xe4fer", b"two\nlines"])
def test_folder_whose_name_is_no_text_is_refused_with_its_bytes(folders, name):
    (folders / "train" / "a").rename(folders / "train" / os.fsdecode(name))
    message = refusal(folders)
    path = f"train/{os.fsdecode(name)}/1.png"
    assert message == (f"{folders}: expected names in UTF-8 without control characters, found {path!a}. Rename it.")


def test_class_that_cannot_be_read_is_refused_and_not_left_out(folders, monkeypatch):
    """Patched, because root may read everything."""
    scandir = os.scandir

    def refuse(place: str) -> object:
        if place.endswith("train/b"):
            raise PermissionError(13, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert refusal(folders) == f"{folders / 'train' / 'b'}: cannot be read (Permission denied). Check its permissions."


def test_class_that_only_test_has_is_refused_by_name(folders):
    (folders / "test" / "c").rename(folders / "test" / "d")
    assert "expected the 3 classes that training has, found d in test" in refusal(folders)


# broken pictures


@pytest.mark.parametrize("form", ["Parquet", "TFRecord", "class folders"])
def test_broken_picture_is_named_and_left_out_where_so_many_may_be(tmp_path, form, monkeypatch):
    whole = PARTS["train"][0]

    def written(image: np.ndarray, *_: object) -> bytes:
        return encoded(image)[:60] if (image == whole[4]).all() else encoded(image)

    monkeypatch.setattr("tests.forms.encoded", written)
    FORMS[form](tmp_path, PARTS)
    place = "4.png (" if form == "class folders" else ", image 4 ("
    message = refusal(tmp_path)
    assert place in message
    assert "expected no broken picture. Replace or delete it, or leave such out with --set broken_images=NUMBER." in (
        message
    )
    left = {"train": tuple(np.delete(values, 4, axis=0) for values in PARTS["train"]), "test": PARTS["test"]}
    assert_holds(inspect_dataset(tmp_path, ImageSettings(broken=1)), left)


# damage


def npy(folder: Path, parts: dict) -> None:
    for part, pair in parts.items():
        for axis, values in zip("xy", pair, strict=True):
            np.save(folder / f"{axis}_{part}.npy", values.astype(np.uint8))


def csv_gz(folder: Path, parts: dict) -> None:
    write_csv(folder, parts)
    for path in list(folder.iterdir()):
        path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()


def checked_parquet(folder: Path, parts: dict) -> None:
    write_parquet(folder, parts)
    for path in (folder / "data").iterdir():
        pq.write_table(pq.read_table(path), path, write_page_checksum=True)


def jpegs(folder: Path, parts: dict) -> None:
    for part, (images, labels) in parts.items():
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / part / f"c{label}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(image, "JPEG"))


CHECKED = {
    "IDX": write_idx,
    "NPZ": write_keras_npz,
    "MedMNIST": FORMS["MedMNIST"],
    "CSV in gzip": csv_gz,
    "Parquet with checksums": checked_parquet,
    "TFRecord": FORMS["TFRecord"],
    "PNG": write_folders,
}
# What has no checksum: a changed byte may be another pixel or, in a text, another label; a file that ends early at the
# end of a row is a shorter one.
UNCHECKED = {"CSV": write_csv, "NPY": npy, "Parquet": write_parquet, "JPEG": jpegs}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Callable[[str], tuple[Path, list[Path], dict]]:
    """Writes a form once and returns its folder, its files and what it holds."""
    known = {}

    def write(form: str) -> tuple[Path, list[Path], dict]:
        if form not in known:
            folder = tmp_path_factory.mktemp("damaged")
            (CHECKED | UNCHECKED)[form](folder, PARTS)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            known[form] = folder, files, contents(inspect_dataset(folder))
        return known[form]

    return write


def record_ends(path: Path) -> set[int]:
    """Returns where the records of a TFRecord file end: cut there, it is a shorter file and whole."""
    ends, content = [0], path.read_bytes() if "tfrecord" in path.name else b""
    while ends[-1] < len(content):
        ends.append(ends[-1] + 16 + struct.unpack_from("<Q", content, ends[-1])[0])
    return set(ends[1:])


def damaged(data: st.DataObject, files: list[Path]) -> tuple[Path, bytes]:
    """Draws a file and what is left of it after a cut or with one byte changed."""
    path = data.draw(st.sampled_from(files), label="file")
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1), label="byte")
    if data.draw(st.booleans(), label="cut"):
        assume(place not in record_ends(path))
        return path, content[:place]
    change = data.draw(st.integers(1, 255), label="change")
    return path, content[:place] + bytes([content[place] ^ change]) + content[place + 1 :]


def read_damaged(folder: Path, path: Path, content: bytes) -> dict | str:
    """Returns what a data set holds with other content of one file, or the line that refuses it."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        return contents(inspect_dataset(folder))
    except InputError as error:
        assert "\n" not in str(error)
        assert str(folder) in str(error)
        return str(error)
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("form", CHECKED)
@settings(max_examples=50)
@given(data=st.data())
def test_damage_in_a_file_with_checksums_is_refused_or_changes_nothing(written, form, data):
    folder, files, whole = written(form)
    found = read_damaged(folder, *damaged(data, files))
    if not isinstance(found, str):
        assert found.keys() == whole.keys()
        for part, (images, labels) in whole.items():
            np.testing.assert_array_equal(found[part][0], images)
            np.testing.assert_array_equal(found[part][1], labels)


def promise_of_idx(folder: Path, zipped: bool) -> Path:
    """Writes images whose rows are called 2^31 more than they are."""
    write_idx(folder, PARTS)
    path = folder / "t10k-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[8] ^= 0x80
    if not zipped:
        path.unlink()
        path = path.with_suffix("")
    path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    return path


def promise_of_npy(folder: Path, name: str, was: bytes, told: bytes) -> Path:
    """Writes arrays of which the header of one tells another number of rows, or another length of its own."""
    npy(folder, PARTS)
    path = folder / name
    content = path.read_bytes()
    # In the place of blanks behind it.
    was = was.ljust(len(told))
    assert content.count(was) == 1
    path.write_bytes(content.replace(was, told))
    return path


def promise_of_tfrecord(folder: Path) -> Path:
    """Writes a record whose length, with the checksum that fits, is 2^40."""
    FORMS["TFRecord"](folder, PARTS)
    path = sorted(folder.rglob("*tfrecord*"))[0]
    length = struct.pack("<Q", 1 << 40)
    path.write_bytes(length + tf_checksum(length) + path.read_bytes()[12:])
    return path


def tf_checksum(data: bytes) -> bytes:
    """The masked CRC-32C of TensorFlow's records."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


PROMISES = {
    "IDX in gzip": lambda folder: promise_of_idx(folder, zipped=True),
    "IDX": lambda folder: promise_of_idx(folder, zipped=False),
    "images of NPY": lambda folder: promise_of_npy(folder, "x_train.npy", b"(6, 6, 6), }", b"(6, 6, 6000000000), }"),
    "labels of NPY": lambda folder: promise_of_npy(folder, "y_train.npy", b"(6,), }", b"(6000000000,), }"),
    "header of NPY": lambda folder: promise_of_npy(folder, "y_test.npy", b"\1\0v\0", b"\2\0v\0"),
    "TFRecord": promise_of_tfrecord,
}


@pytest.mark.parametrize("form", PROMISES)
def test_what_a_damaged_header_promises_is_one_line_and_asked_of_no_memory(tmp_path, form):
    path = PROMISES[form](tmp_path)
    tracemalloc.start()
    message = refusal(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(path) in message
    assert peak < 8 << 20


@pytest.mark.parametrize("form", ["IDX", "NPY"])
def test_promised_images_without_labels_are_asked_of_no_memory(tmp_path, form):
    path = tmp_path / ("pictures-idx3-ubyte" if form == "IDX" else "pictures.npy")
    if form == "IDX":
        path.write_bytes(struct.pack(">BBBB3I", 0, 0, 8, 3, 1 << 31, 2, 2) + bytes(8))
    else:
        with path.open("wb") as stream:
            header = {"shape": (1 << 31, 2, 2), "fortran_order": False, "descr": "|u1"}
            np.lib.format.write_array_header_1_0(stream, header)
            stream.write(bytes(8))
    kind, found = find_kind(tmp_path, for_training=False)
    tracemalloc.start()
    with pytest.raises(InputError, match="cut short"):
        list(kind.open(found).parts["train"].blocks())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("form", UNCHECKED)
@settings(max_examples=50)
@given(data=st.data())
def test_damage_in_a_file_without_checksums_is_one_line_or_leaves_images_of_that_shape(written, form, data):
    folder, files, _ = written(form)
    found = read_damaged(folder, *damaged(data, files))
    if not isinstance(found, str):
        assert {images.shape[1:] for images, _ in found.values()} == {(6, 6)}
        if form != "CSV":
            assert {part: len(labels) for part, (_, labels) in found.items()} == {"train": 6, "test": 3}


@given(content=st.binary(max_size=200), name=st.sampled_from(["train.csv", "train.npz", "x_train.npy", "a/b.png"]))
@settings(max_examples=60)
def test_any_bytes_under_any_name_are_refused_in_a_line(tmp_path, content, name):
    shutil.rmtree(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(content)
    refusal(tmp_path)


@pytest.mark.parametrize("name", ["train.parquet", "train.tfrecord", "train-images-idx3-ubyte"])
@given(content=st.binary(max_size=200))
@settings(max_examples=30)
def test_any_bytes_under_the_name_of_one_kind_are_refused_by_that_name(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    told = refusal(tmp_path)
    # Of IDX the two files of a part are told together, by the folder, or the labels if these are what is wrong.
    assert str(tmp_path / ("" if name.endswith("ubyte") else name)).rstrip("/") in told


# prediction


def test_prediction_takes_pictures_wherever_they_lie_and_needs_no_label(tmp_path):
    for place in ("b.png", "a.png"):
        (tmp_path / place).write_bytes(encoded(IMAGES[0]))
    assert find_kind(tmp_path) is None
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "c.jpg").write_bytes(encoded(IMAGES[0], "JPEG"))
    kind, found = find_kind(tmp_path, for_training=False)
    pictures = list(kind.open(found).parts["train"].pictures())
    assert [(picture.file.name, picture.label) for picture in pictures] == [
        ("a.png", -1),
        ("b.png", -1),
        ("c.jpg", "some"),
    ]
    assert pictures[0].encoded == encoded(IMAGES[0])
