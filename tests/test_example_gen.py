"""Writing the splits with a real Beam pipeline. The first two pixels of an image say which one it is."""

import hashlib
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf

from components import example_gen
from components.example_gen.dataset import find_files
from components.errors import InputError
from components.example_gen.component import ExamplesSummary, SplitSettings, write_examples
from models.features import SPLITS

TRAIN, TEST = 130, 40
FNAPI = ("--runner=FnApiRunner",)


def numbered(first: int, count: int) -> np.ndarray:
    """Returns `count` different images: uint8 [count, 4, 3]."""
    images = np.zeros((count, 4, 3), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(first, first + count), 256)
    return images


LABELS = (np.arange(TRAIN + TEST) % 5).astype(np.uint8)
DATA = (numbered(0, TRAIN), LABELS[:TRAIN], numbered(TRAIN, TEST), LABELS[TRAIN:])


def settings(**changes: object) -> SplitSettings:
    values = {"sizes": (None, 30, None), "shards": (3, 1, 2), "seed": 42, "stratified": True}
    return SplitSettings(**{**values, "encoding": "tensor", "compression": "", **changes})


@pytest.fixture
def write(idx_folder, tmp_path):
    """Writes the examples below a new folder; returns the summary and that folder."""

    def run(data=DATA, argv=FNAPI, classes: int = 5, name: str = "out", **changes) -> tuple[ExamplesSummary, Path]:
        scratch = tmp_path / f"scratch-{name}"
        scratch.mkdir()
        folders = {split: tmp_path / name / split for split in SPLITS}
        files = find_files(idx_folder(*data, ending=".gz"))
        pipeline = beam.Pipeline(argv=list(argv))
        return write_examples(files, classes, settings(**changes), folders, scratch, pipeline), tmp_path / name

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def examples(folder: Path, compression: str = "") -> list[tuple[int, int]]:
    """Returns (number of the image, label) of each record of a split, in order."""
    files = sorted(map(str, folder.glob("data_tfrecord-*")))
    found = []
    for record in tf.data.TFRecordDataset(files, compression).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        image = tf.io.parse_tensor(feature["image"].bytes_list.value[0], tf.uint8).numpy()
        assert image.shape == (4, 3)
        found.append((int(image[0, 0]) * 256 + int(image[0, 1]), feature["label"].int64_list.value[0]))
    return found


def test_splits_hold_each_example_once_with_its_label(write):
    summary, folder = write()
    assert summary.counts == {"train": 100, "val": 30, "test": 40}
    found = {split: examples(folder / split) for split in SPLITS}
    assert {split: len(pairs) for split, pairs in found.items()} == summary.counts
    assert all(label == number % 5 for pairs in found.values() for number, label in pairs)
    training = [number for split in ("train", "val") for number, _ in found[split]]
    assert sorted(training) == list(range(TRAIN))
    assert sorted(number for number, _ in found["test"]) == list(range(TRAIN, TRAIN + TEST))
    assert np.bincount([label for _, label in found["val"]]).tolist() == [6] * 5


def test_each_split_is_shuffled(write):
    _, folder = write()
    for split in SPLITS:
        numbers = [number for number, _ in examples(folder / split)]
        assert numbers != sorted(numbers)


def test_split_has_as_many_shards_as_asked_for_of_even_size(write):
    _, folder = write(shards=(7, 1, 3), compression="GZIP")
    for split, shards, size in (("train", 7, 100), ("val", 1, 30), ("test", 3, 40)):
        files = sorted(folder.joinpath(split).iterdir())
        expected = [f"data_tfrecord-{number:05d}-of-{shards:05d}.gz" for number in range(shards)]
        assert [file.name for file in files] == expected
        counts = [sum(1 for _ in tf.data.TFRecordDataset(str(file), "GZIP")) for file in files]
        assert sum(counts) == size
        assert max(counts) - min(counts) <= 1


def test_same_seed_gives_the_same_bytes_and_another_seed_others(write):
    (first, one), (again, two), (other, three) = (
        write(seed=seed, name=f"run-{number}") for number, seed in enumerate((42, 42, 43))
    )
    assert contents(one) == contents(two)
    assert first == again
    assert other.digest != first.digest
    assert contents(three).keys() == contents(one).keys()
    assert all(contents(three)[name] != content for name, content in contents(one).items())


def test_digest_covers_every_shard_in_order(write):
    summary, folder = write()
    shards = [path for split in SPLITS for path in sorted((folder / split).iterdir())]
    digests = "".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in shards)
    assert summary.digest == hashlib.sha256(digests.encode()).hexdigest()


@pytest.mark.slow  # each of the two workers imports TensorFlow
def test_number_of_workers_does_not_change_a_byte(write):
    one, first = write(name="one")
    workers = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    two, second = write(argv=FNAPI + workers, name="two")
    assert two == one
    assert contents(second) == contents(first)


@pytest.mark.parametrize(("quiet_seconds", "told"), [(0.0, True), (60.0, False)])
def test_what_takes_longer_tells_how_many_examples_are_written(write, caplog, monkeypatch, quiet_seconds, told):
    monkeypatch.setattr(example_gen, "_QUIET_SECONDS", quiet_seconds)
    with caplog.at_level("INFO", logger="progress"):
        summary, _ = write()
    total = sum(summary.counts.values())
    assert (f"{total} of {total} examples written" in caplog.messages) is told


def test_smaller_splits_are_drawn_from_the_whole_file(write):
    summary, folder = write(sizes=(20, 0.1, 10))
    assert summary.counts == {"train": 20, "val": 13, "test": 10}
    assert max(number for number, _ in examples(folder / "train")) > 60


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((DATA[0], DATA[1][:-1], DATA[2], DATA[3]), r"train-labels.*: expected 130 labels, found shape \[129\]"),
        ((DATA[0], DATA[1], DATA[2], DATA[3] + 3), r"t10k-labels.*: expected labels below 5, found 7 at position 4"),
    ],
    ids=["too few labels", "unknown label"],
)
def test_bad_data_are_refused_before_anything_is_written(write, tmp_path, data, message):
    with pytest.raises(InputError, match=message):
        write(data)
    assert not [name for name in contents(tmp_path) if name.startswith("out/")]


def test_truncated_images_are_refused_before_anything_is_written(idx_folder, tmp_path):
    folder = idx_folder(*DATA)
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    files = find_files(folder)
    (tmp_path / "scratch").mkdir()
    folders = {split: tmp_path / "out" / split for split in SPLITS}
    with pytest.raises(InputError, match="40x4x3 = 480 bytes, the file holds 479"):
        write_examples(files, 5, settings(), folders, tmp_path / "scratch", beam.Pipeline(argv=list(FNAPI)))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_channels_are_kept(write):
    colour = np.random.default_rng(0).integers(0, 256, (20, 4, 3, 3), np.uint8)
    _, folder = write((colour, LABELS[:20], colour[:5], LABELS[:5]), sizes=(None, 5, None), encoding="png")
    (path,) = folder.joinpath("val").iterdir()
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        image = tf.io.decode_png(feature["image"].bytes_list.value[0]).numpy()
        assert any(np.array_equal(image, original) for original in colour)
