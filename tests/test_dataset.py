"""What `inspect_dataset` finds out about a folder, and what it refuses."""

import dataclasses
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from components.errors import InputError
from components.example_gen.dataset import inspect_dataset, read_images
from components.example_gen.kinds.idx_folder import STEMS, find_files
from components.example_gen.kinds.registry import KINDS, Kind, find_kind
from models.features import FASHION_MNIST_CLASSES
from tests.conftest import idx_bytes

TRAIN_IMAGES = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
TRAIN_LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)
TEST_IMAGES = TRAIN_IMAGES[:3] + 100
TEST_LABELS = np.array([2, 1, 0], np.uint8)
ALL = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


@pytest.fixture
def folder(idx_folder) -> Path:
    return idx_folder(*ALL)


@pytest.fixture(scope="module")
def altered(tmp_path_factory) -> Path:
    """Four files shaped as Fashion-MNIST's, all of them zeros (and without weight on the disk)."""
    folder = tmp_path_factory.mktemp("altered")
    for role, stem in STEMS.items():
        count = 60_000 if role.startswith("train") else 10_000
        shape = (count, 28, 28) if role.endswith("images") else (count,)
        path = folder / stem
        path.write_bytes(struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape))
        os.truncate(path, path.stat().st_size + int(np.prod(shape)))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as raised:
        inspect_dataset(folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("ending", ["", ".gz"], ids=["plain", "gz"])
def test_folder_of_four_files_is_described(idx_folder, ending):
    dataset = inspect_dataset(idx_folder(*ALL, ending=ending))
    assert {role: path.name for role, path in dataset.files.items()} == {
        role: stem + ending for role, stem in STEMS.items()
    }
    assert dataset.image_shape == (4, 5)
    assert dataset.class_names == ("0", "1", "2")
    assert not dataset.is_fashion_mnist


def test_channels_are_part_of_the_shape(idx_folder):
    rgb = np.zeros((6, 4, 5, 3), np.uint8)
    assert inspect_dataset(idx_folder(rgb, TRAIN_LABELS, rgb[:3], TEST_LABELS)).image_shape == (4, 5, 3)


@pytest.mark.parametrize("role", STEMS)
def test_any_missing_file_is_told_with_the_names_expected(folder, role):
    (folder / STEMS[role]).unlink()
    assert find_files(folder) is None
    message = refusal(folder)
    assert message.startswith(f"{folder}: expected ")
    assert all(f"{stem}[.gz]" in message for stem in STEMS.values())
    assert "make data" in message


def test_labels_fewer_than_images_name_both_files_and_both_counts(idx_folder):
    message = refusal(idx_folder(TRAIN_IMAGES, TRAIN_LABELS[:5], TEST_IMAGES, TEST_LABELS))
    assert "train-labels-idx1-ubyte: expected one label for each of the 6 images of train-images-idx3-ubyte" in message
    assert "found labels of shape [5]" in message


def test_labels_of_two_dimensions_are_refused(idx_folder):
    message = refusal(idx_folder(TRAIN_IMAGES, TRAIN_LABELS[:, None], TEST_IMAGES, TEST_LABELS))
    assert "found labels of shape [6, 1]" in message


def test_images_of_two_dimensions_are_refused(idx_folder):
    message = refusal(idx_folder(TRAIN_IMAGES[:, 0], TRAIN_LABELS, TEST_IMAGES, TEST_LABELS))
    assert "expected images [N, H, W] or [N, H, W, C], found [6, 5]" in message


def test_test_images_of_another_shape_than_training_are_refused(idx_folder):
    message = refusal(idx_folder(TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES[:, :, :4], TEST_LABELS))
    assert "t10k-images-idx3-ubyte: expected images of shape [4, 5] as in training, found [4, 4]" in message


def test_label_out_of_classes_names_file_label_and_position(idx_folder):
    message = refusal(idx_folder(TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, np.array([0, 7, 1], np.uint8)))
    assert "t10k-labels-idx1-ubyte: expected labels below 3" in message
    assert "found 7 at position 1" in message


def test_training_label_beyond_listed_classes_is_refused(folder):
    (folder / "classes.txt").write_text("cat\ndog\n")
    message = refusal(folder)
    assert "train-labels-idx1-ubyte: expected labels below 2" in message
    assert "found 2 at position 2" in message


def test_classes_txt_names_the_classes_in_order_without_blank_lines(folder):
    (folder / "classes.txt").write_text("zebra\n\n  ant \ncat\nunused\n")
    assert inspect_dataset(folder).class_names == ("zebra", "ant", "cat", "unused")


@pytest.mark.parametrize("text", ["cat\ncat\ndog\n", "cat\n", "\n \n"], ids=["twice", "one", "blank"])
def test_classes_txt_with_too_few_different_names_is_refused(folder, text):
    (folder / "classes.txt").write_text(text)
    assert f"{folder / 'classes.txt'}: expected two or more different class names" in refusal(folder)


def test_real_files_are_fashion_mnist(fashion_mnist):
    dataset = inspect_dataset(fashion_mnist)
    assert dataset.is_fashion_mnist
    assert dataset.class_names == FASHION_MNIST_CLASSES
    assert dataset.image_shape == (28, 28)


@pytest.mark.parametrize("role", STEMS)
def test_one_original_file_is_enough_to_recognize_fashion_mnist(altered, fashion_mnist, tmp_path, role):
    for other, stem in STEMS.items():
        if other != role:
            (tmp_path / stem).symlink_to(altered / stem)
    (tmp_path / f"{STEMS[role]}.gz").symlink_to(fashion_mnist / f"{STEMS[role]}.gz")
    dataset = inspect_dataset(tmp_path)
    assert dataset.is_fashion_mnist
    assert dataset.class_names == FASHION_MNIST_CLASSES


def test_files_shaped_as_fashion_mnist_are_not_taken_for_it(altered):
    assert not inspect_dataset(altered).is_fashion_mnist


def test_classes_txt_goes_before_the_names_of_fashion_mnist(altered, fashion_mnist, tmp_path):
    for stem in STEMS.values():
        (tmp_path / stem).symlink_to(altered / stem)
    (tmp_path / STEMS["test_labels"]).unlink()
    (tmp_path / f"{STEMS['test_labels']}.gz").symlink_to(fashion_mnist / f"{STEMS['test_labels']}.gz")
    (tmp_path / "classes.txt").write_text("\n".join("abcdefghij"))
    assert inspect_dataset(tmp_path).class_names == tuple("abcdefghij")


def test_digest_is_sha256_over_the_sha256_of_dimensions_and_values_of_each_file(folder):
    shapes = ("(6, 4, 5)", "(6,)", "(3, 4, 5)", "(3,)")
    parts = [
        hashlib.sha256(shape.encode() + values.tobytes()).hexdigest() for shape, values in zip(shapes, ALL, strict=True)
    ]
    assert inspect_dataset(folder).digest == hashlib.sha256("".join(parts).encode()).hexdigest()


def test_digest_depends_neither_on_the_folder_nor_on_gzip(folder, idx_folder, tmp_path):
    before = inspect_dataset(folder).digest
    zipped = idx_folder(*ALL, name="zipped", ending=".gz")
    assert {path.suffix for path in inspect_dataset(zipped).files.values()} == {".gz"}
    assert inspect_dataset(zipped).digest == before
    folder.rename(tmp_path / "elsewhere")
    assert inspect_dataset(tmp_path / "elsewhere").digest == before


@pytest.mark.parametrize(
    "changed",
    [
        (TRAIN_IMAGES, TRAIN_LABELS[[1, 0, 2, 3, 4, 5]], TEST_IMAGES, TEST_LABELS),
        (TRAIN_IMAGES[[1, 0, 2, 3, 4, 5]], TRAIN_LABELS, TEST_IMAGES, TEST_LABELS),
        (TRAIN_IMAGES.reshape(6, 5, 4), TRAIN_LABELS, TEST_IMAGES.reshape(3, 5, 4), TEST_LABELS),
        (TRAIN_IMAGES[:3], TRAIN_LABELS[:3], TRAIN_IMAGES[3:], TRAIN_LABELS[3:]),
    ],
    ids=["labels swapped", "images swapped", "sides swapped", "test files changed"],
)
def test_digest_tells_the_same_bytes_in_another_order_apart(folder, idx_folder, changed):
    assert inspect_dataset(idx_folder(*changed, name="changed")).digest != inspect_dataset(folder).digest


@pytest.mark.parametrize("role", STEMS)
def test_digest_changes_with_one_pixel_though_size_and_time_do_not(folder, role):
    before = inspect_dataset(folder).digest
    path = folder / STEMS[role]
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert inspect_dataset(folder).digest != before


def test_damage_in_any_file_is_found(folder):
    path = folder / STEMS["train_images"]
    path.write_bytes(idx_bytes(TRAIN_IMAGES)[:-7])
    message = refusal(folder)
    assert "6x4x5 = 120 bytes, the file holds 113" in message


def test_files_named_as_emnist_names_them_are_found(idx_folder):
    images, labels = np.zeros((4, 5, 5), np.uint8), np.array([0, 1, 0, 1], np.uint8)
    folder = idx_folder(images, labels, images, labels, name="emnist letters")
    for path in list(folder.iterdir()):
        path.rename(folder / f"emnist-letters-{path.name.replace('t10k', 'test')}")
    dataset = inspect_dataset(folder)
    assert dataset.files["test_labels"].name == "emnist-letters-test-labels-idx1-ubyte"
    assert dataset.name == "emnist_letters"


def test_two_data_sets_in_one_folder_are_refused_by_name(idx_folder):
    images, labels = np.zeros((4, 5, 5), np.uint8), np.array([0, 1, 0, 1], np.uint8)
    folder = idx_folder(images, labels, images, labels)
    (folder / "emnist-train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(InputError, match=r"one data set in the folder, found train-images-.*, emnist-train-images-"):
        inspect_dataset(folder)


@pytest.mark.parametrize(
    ("folder", "name"), [("raw", "raw"), ("my data-2", "my_data_2"), ("a.b", "a_b")], ids=["plain", "blank", "dot"]
)
def test_data_set_is_named_after_its_folder_in_letters_digits_and_underscores(idx_folder, folder, name):
    assert inspect_dataset(idx_folder(*ALL, name=folder)).name == name


def test_fashion_mnist_has_its_name_whatever_its_folder(fashion_mnist, tmp_path):
    (tmp_path / "raw").symlink_to(fashion_mnist)
    assert inspect_dataset(tmp_path / "raw").name == "fashion_mnist"


def test_folder_named_by_a_relative_path_is_kept_as_an_absolute_one(folder, monkeypatch):
    monkeypatch.chdir(folder)
    dataset = inspect_dataset(Path())
    assert (dataset.folder, dataset.name) == (folder.resolve(), "data")


def test_schema_beside_the_files_is_read_and_without_one_there_is_none(folder):
    assert inspect_dataset(folder).schema == ""
    (folder / "schema.pbtxt").write_text('feature { name: "label" }')
    assert inspect_dataset(folder).schema == 'feature { name: "label" }'


def test_digest_is_that_of_the_content_whatever_kind_of_file_holds_it(folder, tmp_path, monkeypatch):
    (tmp_path / "arrays").mkdir()
    (tmp_path / "arrays" / "all.bin").write_bytes(b"")
    arrays = {"train": (TRAIN_IMAGES, TRAIN_LABELS), "test": (TEST_IMAGES, TEST_LABELS)}
    kind = Kind(
        name="arrays",
        expects="all.bin",
        find=lambda folder: {"all": folder / "all.bin"} if (folder / "all.bin").exists() else None,
        image_shape=lambda files, part: arrays[part][0].shape,
        images=lambda files, part: iter([arrays[part][0][:1].tobytes(), arrays[part][0][1:].tobytes()]),
        labels=lambda files, part: arrays[part][1],
    )
    monkeypatch.setitem(KINDS, "arrays", kind)
    found = inspect_dataset(tmp_path / "arrays")
    assert (found.kind, inspect_dataset(folder).kind) == ("arrays", "IDX")
    assert found.digest == inspect_dataset(folder).digest
    assert found.class_names == inspect_dataset(folder).class_names


def test_kind_that_gives_fewer_pixels_than_it_says_is_refused_in_one_line(folder, monkeypatch):
    short = dataclasses.replace(KINDS["IDX"], images=lambda files, part: iter([b"abc"]))
    monkeypatch.setitem(KINDS, "IDX", short)
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte: expected 6x4x5 = 120 bytes of pixels, found 3\."):
        inspect_dataset(folder)


def test_pixels_are_handed_over_block_by_block_with_their_digest(folder):
    blocks = []
    digest = read_images("IDX", find_files(folder), "test", blocks.append)
    assert b"".join(blocks) == TEST_IMAGES.tobytes()
    assert digest == hashlib.sha256(b"(3, 4, 5)" + TEST_IMAGES.tobytes()).hexdigest()
    assert find_kind(folder.parent) is None
