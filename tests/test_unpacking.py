"""Bringing pixels to plain files: what Beam's workers decode, range by range, is what was in the pictures."""

import errno
import functools
import itertools
import re

import apache_beam as beam
import numpy as np
import pytest

from components.errors import InputError
from components.example_gen import telling, unpacking
from components.example_gen.dataset import ImageSettings, inspect_dataset
from components.pictures import fit
from models.row_reader import RowReader
from tests.forms import FORMS, encoded

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
    with RowReader(found.plain, (0, *shape), found.stride) as rows:
        return rows.gather(found.rows)


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


@pytest.mark.parametrize(
    ("shape", "stride", "size"),
    # Small images of odd sizes fill whole pages by the dozen, large ones each.
    [((28, 28), 832, 256), ((51, 51), 2_624, 256), ((64, 64), 4_096, 256), ((299, 299, 3), 270_336, 248)],
)
def test_ranges_cover_each_image_once_and_begin_at_a_page(scratch, shape, stride, size):
    reading = unpacking._Reading(scratch, "train")
    reading.ends = list(range(3_001))
    ranges = list(unpacking._ranges(reading, unpacking.ImageForm(shape, "pad"), scratch))
    assert [(piece.start, piece.stop) for piece in ranges] == [*itertools.pairwise([*range(0, 3_000, size), 3_000])]
    assert all(piece.stride == stride and piece.start * stride % 4096 == 0 for piece in ranges)
    assert reading.plain.stat().st_size == 3_000 * stride


def test_range_of_large_images_is_bounded_in_bytes(scratch):
    reading = unpacking._Reading(scratch, "train")
    reading.ends = list(range(101))
    ranges = list(unpacking._ranges(reading, unpacking.ImageForm((1_999, 1_999, 3), "pad"), scratch))
    # 11,988,992 bytes each: five are below 64 MiB.
    assert [piece.stop - piece.start for piece in ranges] == [5] * 20


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


def test_worker_that_does_not_see_the_folder_says_so_in_a_line(folder, scratch, few):
    dataset = inspect_dataset(folder("Parquet"))
    reading = unpacking._read(dataset, scratch)["train"]
    (piece, *_) = unpacking._ranges(reading, dataset.form, scratch)
    reading.packed.unlink()
    with pytest.raises(InputError, match=r"train-packed: expected what the run has put there, .* Each host has"):
        unpacking._decode((0, piece), scratch)


def test_disk_without_room_is_one_line_also_through_beam(folder, scratch, few, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking, "write_text", full)
    with pytest.raises(InputError, match=r"train: the pixels cannot be written there \(No space left on device\)\."):
        unpacking.unpack(inspect_dataset(folder("Parquet")), scratch, NEW_PIPELINE)


def test_broken_pictures_are_named_by_file_and_position_in_their_order(folder, scratch, few, monkeypatch, caplog):
    def written(image: np.ndarray, *_: object) -> bytes:
        cut = any(np.array_equal(image, IMAGES[number]) for number in (13, 2, 25))
        return encoded(image)[:300] if cut else encoded(image)

    monkeypatch.setattr("tests.forms.encoded", written)
    data = folder("Parquet")
    with caplog.at_level("WARNING", logger="progress"):
        unpacking.unpack(inspect_dataset(data, ImageSettings(broken=3)), scratch, NEW_PIPELINE)
    (line,) = [message for message in caplog.messages if message.startswith("broken and left out: ")]
    assert re.findall(r"(\w+)-00000-of-00001\.parquet, image (\d+) \(", line) == [
        ("train", "2"),
        ("train", "13"),
        ("test", "5"),
    ]


def test_what_takes_long_tells_how_far_it_is(folder, scratch, few, monkeypatch, caplog):
    monkeypatch.setattr(telling, "QUIET_SECONDS", 0.0001)
    with caplog.at_level("INFO", logger="progress"):
        unpacking.unpack(inspect_dataset(folder("Parquet")), scratch, NEW_PIPELINE)
    assert f"{COUNT} of {COUNT} images read" in caplog.messages
    assert f"{COUNT} of {COUNT} images decoded" in caplog.messages


def test_what_the_pictures_were_decoded_from_is_gone_afterwards(folder, scratch):
    unpacking.unpack(inspect_dataset(folder("Parquet")), scratch, NEW_PIPELINE)
    assert not list(scratch.glob("*-packed"))
