"""What `inspect_dataset` finds out about a folder, and what it refuses."""

import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from components.errors import InputError
from components.example_gen.dataset import ImageSettings, inspect_dataset
from components.example_gen.kinds import KINDS, Contents, PixelPart, find_kind
from components.example_gen.kinds.idx_folder import STEMS
from components.example_gen.kinds.registry import Kind
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
    """Four files shaped as Fashion-MNIST's, the images zeros (and without weight on the disk)."""
    folder = tmp_path_factory.mktemp("altered")
    for role, stem in STEMS.items():
        count = 60_000 if role.startswith("train") else 10_000
        shape = (count, 28, 28)
        path = folder / stem
        if role.endswith("labels"):
            path.write_bytes(idx_bytes((np.arange(count) % 10).astype(np.uint8)))
            continue
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
    assert {part: found.file.name for part, found in dataset.contents.parts.items()} == {
        part: STEMS[f"{part}_images"] + ending for part in ("train", "test")
    }
    assert (dataset.kind, dataset.counts, dataset.class_counts) == ("IDX", {"train": 6, "test": 3}, (2, 2, 2))
    assert dataset.describe() == "IDX: 6 train and 3 test images of 4x5, 3 classes"
    assert dataset.image_shape == (4, 5)
    assert dataset.class_names == ("0", "1", "2")
    assert not dataset.is_fashion_mnist


def test_channels_are_part_of_the_shape(idx_folder):
    rgb = np.zeros((6, 4, 5, 3), np.uint8)
    assert inspect_dataset(idx_folder(rgb, TRAIN_LABELS, rgb[:3], TEST_LABELS)).image_shape == (4, 5, 3)


@pytest.mark.parametrize("role", STEMS)
def test_any_missing_file_is_told_with_the_names_expected(folder, role):
    (folder / STEMS[role]).unlink()
    message = refusal(folder)
    if role.startswith("test"):
        other = "labels" if role.endswith("images") else "images"
        assert message.startswith(str(folder / STEMS[f"test_{other}"]))
        assert f"expected the {role.removeprefix('test_')} of test beside it, found none. Add them" in message
        return
    assert find_kind(folder) is None
    assert message.startswith(f"{folder}: expected a data set, found none of these: ")
    assert all(f"{stem}[.gz]" in message for stem in STEMS.values())
    assert all(kind.expects in message for kind in KINDS.values())


def test_training_files_alone_are_a_data_set(folder):
    for role in ("test_images", "test_labels"):
        (folder / STEMS[role]).unlink()
    assert inspect_dataset(folder).counts == {"train": 6}


def test_path_that_does_not_exist_says_so(tmp_path):
    assert "found no such file or folder" in refusal(tmp_path / "nowhere")


def test_labels_fewer_than_images_name_both_files_and_both_counts(idx_folder):
    message = refusal(idx_folder(TRAIN_IMAGES, TRAIN_LABELS[:5], TEST_IMAGES, TEST_LABELS))
    assert "train-labels-idx1-ubyte: expected one label for each of the 6 images of train-images-idx3-ubyte" in message
    assert "found labels of shape [5]" in message


def test_of_labels_with_several_columns_the_first_is_the_class(idx_folder):
    columns = np.stack([TRAIN_LABELS, np.full(6, 9, np.uint8)], axis=1)
    assert inspect_dataset(idx_folder(TRAIN_IMAGES, columns, TEST_IMAGES, TEST_LABELS)).class_counts == (2, 2, 2)


def test_images_of_two_dimensions_are_refused(idx_folder):
    message = refusal(idx_folder(TRAIN_IMAGES[:, 0], TRAIN_LABELS, TEST_IMAGES, TEST_LABELS))
    assert "expected images [N, H, W] or [N, H, W, C] of uint8, found [6, 5] of uint8" in message


def test_test_images_of_another_shape_than_training_are_refused_with_what_to_choose(idx_folder):
    message = refusal(idx_folder(TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES[:, :, :4], TEST_LABELS))
    assert "expected images of one size, found 4x5 (6), 4x4 (3). Choose one" in message
    assert "--set image_size=4,5 (and --set image_fit=pad, crop or stretch)" in message


def test_images_of_other_sizes_become_what_is_asked_for(idx_folder):
    folder = idx_folder(TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES[:, :, :4], TEST_LABELS)
    assert inspect_dataset(folder, ImageSettings(size=(3, 3))).image_shape == (3, 3)
    assert inspect_dataset(folder, ImageSettings(size=(3, 3), channels=3)).image_shape == (3, 3, 3)


def test_four_channels_stay_as_they_are_and_become_three_where_they_are_fitted(idx_folder):
    opaque = np.zeros((6, 4, 5, 4), np.uint8)
    folder = idx_folder(opaque, TRAIN_LABELS, opaque[:3], TEST_LABELS)
    assert inspect_dataset(folder).image_shape == (4, 5, 4)
    assert inspect_dataset(folder, ImageSettings(size=(8, 8))).image_shape == (8, 8, 3)


def test_label_that_training_lacks_names_file_label_and_position(idx_folder):
    message = refusal(idx_folder(TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, np.array([0, 7, 1], np.uint8)))
    assert "t10k-labels-idx1-ubyte: expected the 3 classes that training has" in message
    assert "found 7 in test at position 1" in message


def test_training_label_beyond_listed_classes_is_refused(folder):
    (folder / "classes.txt").write_text("cat\ndog\n")
    message = refusal(folder)
    assert "train-labels-idx1-ubyte: expected labels below 2" in message
    assert "found 2 at position 2" in message


def test_classes_txt_names_the_classes_in_order_and_a_name_without_images_is_left_out_and_told(folder):
    (folder / "classes.txt").write_text("zebra\n\n  ant \ncat\nunused\n")
    dataset = inspect_dataset(folder)
    assert dataset.class_names == ("zebra", "ant", "cat")
    assert dataset.describe().endswith("; no image of unused: 3 classes of the 4 that are named")


@pytest.mark.parametrize(
    ("shift", "values", "note"),
    [
        ([1, 2, 3], (1, 2, 3), "labels from 1 to 3: 3 classes, numbered from 0"),
        ([0, 2, 7], (0, 2, 7), "labels from 0 to 7 without 1, 3, 4, 5, 6: 3 classes, numbered from 0"),
    ],
    ids=["from 1", "holes"],
)
def test_labels_from_1_or_with_holes_are_classes_without_an_empty_one_and_told(idx_folder, shift, values, note):
    train, test = (np.array(shift, np.uint8)[labels] for labels in (TRAIN_LABELS, TEST_LABELS))
    dataset = inspect_dataset(idx_folder(TRAIN_IMAGES, train, TEST_IMAGES, test))
    assert (dataset.class_values, dataset.class_names) == (values, tuple(map(str, values)))
    assert dataset.notes == (note,)
    assert dataset.classes.number(test).tolist() == TEST_LABELS.tolist()


def test_one_class_alone_is_refused(idx_folder):
    message = refusal(idx_folder(TRAIN_IMAGES, TRAIN_LABELS * 0, TEST_IMAGES, TEST_LABELS * 0))
    assert "train-labels-idx1-ubyte: expected two or more classes, found 0 alone" in message


@pytest.mark.parametrize("text", ["cat\ncat\ndog\n", "cat\n", "\n \n"], ids=["twice", "one", "blank"])
def test_classes_txt_with_too_few_different_names_is_refused(folder, text):
    (folder / "classes.txt").write_text(text)
    assert f"{folder / 'classes.txt'}: expected two or more different class names" in refusal(folder)


def test_real_files_are_fashion_mnist(fashion_mnist):
    dataset = inspect_dataset(fashion_mnist)
    assert dataset.is_fashion_mnist
    assert dataset.class_names == FASHION_MNIST_CLASSES
    assert dataset.image_shape == (28, 28)


def mixed(folder: Path, originals: Path, others: Path, roles: tuple[str, ...]) -> Path:
    """A folder with the original files of some roles and other ones of the rest."""
    for role, stem in STEMS.items():
        if role in roles:
            (folder / f"{stem}.gz").symlink_to(originals / f"{stem}.gz")
        else:
            (folder / stem).symlink_to(others / stem)
    return folder


@pytest.mark.parametrize("part", ["train", "test"])
def test_images_and_labels_of_one_part_are_enough_to_recognize_fashion_mnist(altered, fashion_mnist, tmp_path, part):
    dataset = inspect_dataset(mixed(tmp_path, fashion_mnist, altered, (f"{part}_images", f"{part}_labels")))
    assert dataset.is_fashion_mnist
    assert dataset.class_names == FASHION_MNIST_CLASSES


@pytest.mark.parametrize("roles", [("train_images", "test_images"), ("train_labels", "test_labels")], ids=str)
def test_original_images_with_other_labels_or_the_reverse_are_another_data_set(altered, fashion_mnist, tmp_path, roles):
    assert not inspect_dataset(mixed(tmp_path, fashion_mnist, altered, roles)).is_fashion_mnist


def test_resized_fashion_mnist_is_another_data_set(fashion_mnist):
    assert not inspect_dataset(fashion_mnist, ImageSettings(size=(14, 14))).is_fashion_mnist


def test_files_shaped_as_fashion_mnist_are_not_taken_for_it(altered):
    assert not inspect_dataset(altered).is_fashion_mnist


def test_classes_txt_goes_before_the_names_of_fashion_mnist(fashion_mnist, tmp_path):
    for role in STEMS.values():
        (tmp_path / f"{role}.gz").symlink_to(fashion_mnist / f"{role}.gz")
    (tmp_path / "classes.txt").write_text("\n".join("abcdefghij"))
    assert inspect_dataset(tmp_path).class_names == tuple("abcdefghij")


def test_digest_is_sha256_over_values_dimensions_and_number_of_images_and_labels(folder):
    def sha(content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    told = []
    for part, images, labels in (("train", TRAIN_IMAGES, TRAIN_LABELS), ("test", TEST_IMAGES, TEST_LABELS)):
        of_images = sha(f"(4, 5) {len(images)} {sha(images.tobytes())}".encode())
        of_labels = sha(f"{len(images)} {sha(labels.astype('<i8').tobytes())}".encode())
        told.append(f"{part} {of_images} {of_labels}")
    assert inspect_dataset(folder).digest == sha("\n".join(told).encode())


def test_digest_depends_neither_on_the_folder_nor_on_gzip(folder, idx_folder, tmp_path):
    before = inspect_dataset(folder).digest
    zipped = idx_folder(*ALL, name="zipped", ending=".gz")
    assert {part.file.suffix for part in inspect_dataset(zipped).contents.parts.values()} == {".gz"}
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
    assert dataset.contents.parts["test"].label_file.name == "emnist-letters-test-labels-idx1-ubyte"
    assert dataset.name == "emnist_letters"


def test_two_data_sets_in_one_folder_are_refused_by_name(idx_folder):
    images, labels = np.zeros((4, 5, 5), np.uint8), np.array([0, 1, 0, 1], np.uint8)
    folder = idx_folder(images, labels, images, labels)
    (folder / "emnist-train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(InputError, match=r"one data set in the folder, found emnist-train-images-.*, train-images-"):
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
    file = tmp_path / "arrays" / "all.bin"
    file.write_bytes(b"")
    arrays = {"train": (TRAIN_IMAGES, TRAIN_LABELS), "test": (TEST_IMAGES, TEST_LABELS)}

    def part(images: np.ndarray, labels: np.ndarray) -> PixelPart:
        blocks = [(images[:1], labels[:1]), (images[1:], labels[1:])]
        return PixelPart(file=file, label_file=file, blocks=lambda: iter(blocks))

    kind = Kind(
        name="arrays",
        expects="all.bin",
        find=lambda folder, listing, for_training: file if file in listing.files else None,
        open=lambda found: Contents(parts={name: part(*pair) for name, pair in arrays.items()}),
    )
    monkeypatch.setitem(KINDS, "arrays", kind)
    found = inspect_dataset(tmp_path / "arrays")
    assert (found.kind, inspect_dataset(folder).kind) == ("arrays", "IDX")
    assert found.digest == inspect_dataset(folder).digest
    assert found.class_names == inspect_dataset(folder).class_names
    assert find_kind(tmp_path / "empty") is None
