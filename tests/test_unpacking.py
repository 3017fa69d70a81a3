"""Bringing pixels to plain files: what Beam's workers decode, range by range, is what was in the pictures."""

import functools
import itertools

import apache_beam as beam
import numpy as np
import pytest

from components.errors import InputError
from components.example_gen import unpacking
from components.example_gen.dataset import ImageSettings, inspect_dataset
from components.pictures import fit
from tests.forms import FORMS

SHAPE, COUNT = (64, 64), 30
IMAGES = np.random.default_rng(3).integers(0, 256, (COUNT, *SHAPE), np.uint8)
LABELS = np.arange(COUNT) % 3
PARTS = {"train": (IMAGES[:20], LABELS[:20]), "test": (IMAGES[20:], LABELS[20:])}
NEW_PIPELINE = functools.partial(beam.Pipeline, argv=["--runner=FnApiRunner"])


@pytest.fixture
def folder(tmp_path):
    """Gives a folder with the images in one of the forms, by its name."""

    def write(form: str):
        (tmp_path / form).mkdir()
        FORMS[form](tmp_path / form, PARTS)
        return tmp_path / form

    return write


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def few(monkeypatch):
    """Ranges of four images."""
    monkeypatch.setattr(unpacking, "_FEWEST_ROWS", 4)


def pixels(found: unpacking.Unpacked, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.fromfile(found.plain, np.uint8).reshape(-1, *shape)[found.rows]


@pytest.mark.parametrize("form", ["class folders", "Parquet", "TFRecord", "IDX"])
def test_pixels_are_those_of_the_images_with_their_labels_in_whatever_form_they_came(folder, scratch, few, form):
    unpacked = unpacking.unpack(inspect_dataset(folder(form)), scratch, NEW_PIPELINE)
    for part, (images, labels) in PARTS.items():
        found = unpacked[part]
        order = np.argsort(found.positions) if form != "class folders" else np.argsort(_numbers(found.files))
        assert np.array_equal(pixels(found)[order], images)
        assert np.array_equal(found.labels[order], labels)
        assert len(set(found.groups.tolist())) == len(images)


def _numbers(files: list[str]) -> list[int]:
    return [int(file.rpartition("/")[2].partition(".")[0]) for file in files]


def test_groups_are_the_same_for_pixels_and_for_pictures_of_them(folder, scratch):
    groups = []
    for form in ("IDX", "Parquet"):
        (scratch / form).mkdir()
        unpacked = unpacking.unpack(inspect_dataset(folder(form)), scratch / form, NEW_PIPELINE)
        groups.append({part: found.groups.tolist() for part, found in unpacked.items()})
    assert groups[0] == groups[1]


def test_pixels_of_another_size_are_fitted_as_pictures_are(folder, scratch, few):
    dataset = inspect_dataset(folder("IDX"), ImageSettings(size=(32, 32)))
    unpacked = unpacking.unpack(dataset, scratch, NEW_PIPELINE)
    expected = [fit(image, (32, 32), "pad") for image in PARTS["train"][0]]
    assert np.array_equal(pixels(unpacked["train"], (32, 32)), expected)


def test_broken_pictures_have_no_row_and_the_others_keep_theirs(folder, scratch, few):
    data = folder("class folders")
    # Of one only the pixels are cut, the other cannot even be looked at.
    for number, kept in ((7, 300), (11, 0)):
        (path,) = data.glob(f"train/*/{number}.png")
        path.write_bytes(path.read_bytes()[:kept])
    found = unpacking.unpack(inspect_dataset(data, ImageSettings(broken=2)), scratch, NEW_PIPELINE)["train"]
    numbers = _numbers(found.files)
    assert sorted(numbers) == sorted(set(range(20)) - {7, 11})
    assert np.array_equal(pixels(found), PARTS["train"][0][numbers])
    assert np.array_equal(found.labels, PARTS["train"][1][numbers])
    assert len(found.positions) == len(found.groups) == 18


def test_ranges_cover_each_image_once_and_begin_at_a_page(scratch):
    reading = unpacking._Reading(scratch, "train")
    reading.ends = list(range(3_001))
    # 784 bytes an image: 256 of them are 49 pages.
    ranges = list(unpacking._ranges(reading, unpacking.ImageForm((28, 28), "pad"), scratch))
    assert [(piece.start, piece.stop) for piece in ranges] == [
        *itertools.pairwise([*range(0, 3_000, 256), 3_000]),
    ]
    assert all(piece.start * 784 % 4096 == 0 for piece in ranges)
    assert reading.plain.stat().st_size == 3_000 * 784


def test_another_attempt_at_a_range_writes_the_same_bytes(folder, scratch, few):
    dataset = inspect_dataset(folder("Parquet"))
    reading = unpacking._read(dataset, scratch)["train"]
    second = list(unpacking._ranges(reading, dataset.form, scratch))[1]
    (scratch / "done").mkdir()
    attempts = []
    for _ in range(2):
        unpacking._decode((1, second), scratch / "done")
        attempts.append((reading.plain.read_bytes(), (scratch / "done/1").read_bytes()))
    assert attempts[0] == attempts[1]
    written = np.frombuffer(attempts[0][0], np.uint8).reshape(-1, *SHAPE)
    assert np.array_equal(written[4:8], IMAGES[4:8]) and not written[:4].any() and not written[8:].any()


def test_worker_that_cannot_write_says_so_in_a_line(folder, scratch, few):
    dataset = inspect_dataset(folder("Parquet"))
    reading = unpacking._read(dataset, scratch)["train"]
    (piece, *_) = unpacking._ranges(reading, dataset.form, scratch)
    with pytest.raises(InputError, match=r"train: the pixels cannot be written there \(.*\)\. Free some space"):
        unpacking._decode((0, piece), scratch / "no such folder")


def test_what_the_pictures_were_decoded_from_is_gone_afterwards(folder, scratch):
    unpacking.unpack(inspect_dataset(folder("Parquet")), scratch, NEW_PIPELINE)
    assert not list(scratch.glob("*-packed"))
