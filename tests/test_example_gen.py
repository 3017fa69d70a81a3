"""Writing the splits with a real Beam pipeline. The first two pixels of an image say which one it is."""

import dataclasses
import gzip
import hashlib
import json
import shlex
import sys
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts import open_examples
from components.errors import InputError
from components.example_gen import telling
from components.example_gen.component import ImageExampleGen
from components.example_gen.dataset import Dataset, ImageSettings, inspect_dataset
from components.example_gen.ingest import SplitSettings, write_examples
from components.example_gen.kinds.idx_folder import STEMS
from models.examples import Examples
from models.features import SPLITS
from models.origins import ORIGINS_FILE, read_origins
from tests.conftest import idx_bytes
from tests.forms import FORMS

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


def write_dataset(dataset: Dataset, folder: Path, argv=FNAPI, **changes) -> Examples:
    """Writes the examples of a data set that was inspected before."""
    scratch = folder.with_name(f"scratch-{folder.name}")
    scratch.mkdir()
    return write_examples(dataset, settings(**changes), folder, scratch, lambda: beam.Pipeline(argv=list(argv)))


@pytest.fixture
def write(idx_folder, tmp_path):
    """Writes the examples below a new folder; returns what describes them and that folder."""

    def run(data=DATA, argv=FNAPI, name: str = "out", **changes) -> tuple[Examples, Path]:
        dataset = inspect_dataset(idx_folder(*data, ending=".gz"))
        return write_dataset(dataset, tmp_path / name, argv, **changes), tmp_path / name

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def records(folder: Path, split: str) -> list[tuple[int, int]]:
    """Returns (number of the image, label) of each record of a split, in order."""
    files = sorted(map(str, folder.glob(f"Split-{split}/data_tfrecord-*")))
    found = []
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        image = tf.io.parse_tensor(feature["image"].bytes_list.value[0], tf.uint8).numpy()
        assert image.shape == (4, 3)
        found.append((int(image[0, 0]) * 256 + int(image[0, 1]), feature["label"].int64_list.value[0]))
    return found


def test_splits_hold_each_example_once_with_its_label(write):
    summary, folder = write()
    assert summary.counts == {"train": 100, "val": 30, "test": 40}
    found = {split: records(folder, split) for split in SPLITS}
    assert {split: len(pairs) for split, pairs in found.items()} == summary.counts
    assert all(label == number % 5 for pairs in found.values() for number, label in pairs)
    training = [number for split in ("train", "val") for number, _ in found[split]]
    assert sorted(training) == list(range(TRAIN))
    assert sorted(number for number, _ in found["test"]) == list(range(TRAIN, TRAIN + TEST))
    assert np.bincount([label for _, label in found["val"]]).tolist() == [6] * 5


def test_each_split_is_shuffled(write):
    _, folder = write()
    for split in SPLITS:
        numbers = [number for number, _ in records(folder, split)]
        assert numbers != sorted(numbers)


def test_split_has_as_many_shards_as_asked_for_of_even_size(write):
    _, folder = write(shards=(7, 1, 3), compression="GZIP")
    for split, shards, size in (("train", 7, 100), ("val", 1, 30), ("test", 3, 40)):
        files = sorted(folder.joinpath(f"Split-{split}").iterdir())
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
    assert dataclasses.replace(again, folder=one) == first
    assert other.digest != first.digest
    assert contents(three).keys() == contents(one).keys()
    assert all(contents(three)[name] != content for name, content in contents(one).items())


def test_each_record_says_which_image_of_which_file_it_was(write):
    _, folder = write()
    for split, file, first in (("train", "train", 0), ("val", "train", 0), ("test", "t10k", TRAIN)):
        found = records(folder, split)
        names = read_origins(folder, split).names(range(len(found)))
        assert names == [f"{file}-images-idx3-ubyte.gz image {number - first}" for number, _ in found]


def test_equal_images_come_into_one_split(write):
    images = numbered(0, TRAIN)
    images[65:] = images[:65]
    labels = np.concatenate([LABELS[:65], LABELS[:65]])
    summary, folder = write((images, labels, *DATA[2:]))
    assert sum(summary.counts.values()) == TRAIN + TEST
    found = {split: {number for number, _ in records(folder, split)} for split in ("train", "val")}
    assert not found["train"] & found["val"]
    assert len(found["train"] | found["val"]) == 65


@pytest.mark.parametrize("form", ["class folders", "Parquet", "NPZ"])
def test_records_are_those_of_idx_to_the_byte_in_whatever_form_the_images_came(tmp_path, form):
    images = np.random.default_rng(0).integers(0, 256, (TRAIN + TEST, 4, 3), np.uint8)
    parts = {"train": (images[:TRAIN], LABELS[:TRAIN]), "test": (images[TRAIN:], LABELS[TRAIN:])}
    written = {}
    for name in ("IDX", form):
        (tmp_path / name).mkdir()
        FORMS[name](tmp_path / name, parts)
        write_dataset(inspect_dataset(tmp_path / name), tmp_path / f"{name} out")
        written[name] = contents(tmp_path / f"{name} out")
        del written[name][ORIGINS_FILE]
    assert written[form] == written["IDX"]
    assert len(written[form]) == 3 + 1 + 2


def test_labels_with_holes_are_numbered_by_class_in_every_split(write):
    values = np.array([3, 7, 8, 100, 255], np.uint8)
    images, labels, others, their_labels = DATA
    examples, folder = write((images, values[labels], others, values[their_labels]))
    assert examples.class_names == ("3", "7", "8", "100", "255")
    for split in SPLITS:
        assert all(label == LABELS[number] for number, label in records(folder, split))


@pytest.mark.parametrize("allowed", [1, 2])
def test_broken_pictures_are_left_out_of_the_records_as_far_as_is_allowed(tmp_path, allowed):
    (tmp_path / "data").mkdir()
    FORMS["class folders"](tmp_path / "data", {"train": DATA[:2], "test": DATA[2:]})
    # One has no header, of the other only the pixels are cut.
    for place, kept in (("train/1/1.png", 0), ("train/2/7.png", 50)):
        path = tmp_path / "data" / place
        path.write_bytes(path.read_bytes()[:kept])
    dataset = inspect_dataset(tmp_path / "data", ImageSettings(broken=allowed))
    if allowed == 1:
        with pytest.raises(InputError, match=r"7\.png \(.*\): expected at most 1 broken pictures, found one more"):
            write_dataset(dataset, tmp_path / "out")
        assert not list((tmp_path / "out").rglob("*"))
        return
    examples = write_dataset(dataset, tmp_path / "out")
    assert examples.counts == {"train": TRAIN - 2 - 30, "val": 30, "test": TEST}
    found = records(tmp_path / "out", "train") + records(tmp_path / "out", "val")
    assert sorted(found) == [(number, LABELS[number]) for number in range(TRAIN) if number not in (1, 7)]
    names = read_origins(tmp_path / "out", "train").names(range(TRAIN - 32))
    assert not {"train/1/1.png", "train/2/7.png"} & set(names)


def test_there_are_no_more_shards_than_examples(write):
    _, folder = write(sizes=(3, 2, 1), shards=(4, 4, 4))
    assert {split: len(list((folder / f"Split-{split}").iterdir())) for split in SPLITS} == {
        "train": 3,
        "val": 2,
        "test": 1,
    }


def test_digest_covers_every_shard_in_order(write):
    summary, folder = write()
    shards = [path for split in SPLITS for path in sorted((folder / f"Split-{split}").iterdir())]
    digests = "".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in shards)
    assert summary.digest == hashlib.sha256(digests.encode()).hexdigest()


@pytest.mark.slow  # each of the two workers imports TensorFlow
def test_number_of_workers_does_not_change_a_byte(write, monkeypatch):
    # Beam hands the name of the interpreter to a shell as it is, and waits for ever for what that does not start.
    monkeypatch.setattr(sys, "executable", shlex.quote(sys.executable))
    one, first = write(name="one")
    workers = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    two, second = write(argv=FNAPI + workers, name="two")
    assert dataclasses.replace(two, folder=first) == one
    assert contents(second) == contents(first)


@pytest.mark.parametrize(("quiet_seconds", "told"), [(0.001, True), (60.0, False)])
def test_what_takes_longer_tells_how_many_examples_are_written(write, caplog, monkeypatch, quiet_seconds, told):
    monkeypatch.setattr(telling, "QUIET_SECONDS", quiet_seconds)
    with caplog.at_level("INFO", logger="progress"):
        summary, _ = write()
    total = sum(summary.counts.values())
    assert (f"{total} of {total} examples written" in caplog.messages) is told


def test_smaller_splits_are_drawn_from_the_whole_file(write):
    summary, folder = write(sizes=(20, 0.1, 10))
    assert summary.counts == {"train": 20, "val": 13, "test": 10}
    assert max(number for number, _ in records(folder, "train")) > 60


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            (DATA[0], DATA[1][:-1], DATA[2], DATA[3]),
            r"train-labels.*: expected one label for each of the 130 images .* shape \[129\]",
        ),
        (
            (DATA[0], DATA[1], DATA[2], DATA[3] + 3),
            r"t10k-labels.*: expected the 5 classes that training has, found 5 in test at position 2",
        ),
    ],
    ids=["too few labels", "unknown label"],
)
def test_bad_data_are_refused_before_anything_is_written(write, tmp_path, data, message):
    with pytest.raises(InputError, match=message):
        write(data)
    assert not [name for name in contents(tmp_path) if name.startswith("out/")]


def test_truncated_images_are_refused_before_anything_is_written(idx_folder, tmp_path):
    """Cut after they were inspected: by then `inspect_dataset` has seen them whole."""
    dataset = inspect_dataset(idx_folder(*DATA))
    path = dataset.folder / STEMS["test_images"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="40x4x3 = 480 bytes, the file holds 479"):
        write_dataset(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("role", ["train_images", "train_labels", "test_images", "test_labels"])
def test_data_changed_after_they_were_inspected_are_refused_and_nothing_is_left(idx_folder, tmp_path, role):
    dataset = inspect_dataset(idx_folder(*DATA))
    path = dataset.folder / STEMS[role]
    content = bytearray(path.read_bytes())
    content[-1] = (content[-1] + 1) % 5
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        write_dataset(dataset, tmp_path / "out")
    assert str(raised.value).startswith(f"{dataset.folder}: expected files of the digest {dataset.digest[:12]} ")
    assert f"found {inspect_dataset(dataset.folder).digest[:12]}: they were changed" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_labels_replaced_by_fewer_after_they_were_inspected_are_refused_in_a_line(idx_folder, tmp_path):
    dataset = inspect_dataset(idx_folder(*DATA, ending=".gz"))
    (dataset.folder / f"{STEMS['train_labels']}.gz").write_bytes(gzip.compress(idx_bytes(LABELS[:10])))
    with pytest.raises(
        InputError, match=r"expected one label for each of the 130 images .* found labels of shape \[10\]"
    ):
        write_dataset(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_channels_are_kept(write):
    colour = np.random.default_rng(0).integers(0, 256, (20, 4, 3, 3), np.uint8)
    _, folder = write((colour, LABELS[:20], colour[:5], LABELS[:5]), sizes=(None, 5, None), encoding="png")
    (path,) = folder.joinpath("Split-val").iterdir()
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        image = tf.io.decode_png(feature["image"].bytes_list.value[0]).numpy()
        assert any(np.array_equal(image, original) for original in colour)


def component_of(dataset: Dataset, **changes: object) -> ImageExampleGen:
    return ImageExampleGen(dataset=dataset, split=settings(**changes))


def test_properties_of_the_node_are_the_same_for_the_same_data_in_another_folder(idx_folder):
    """They are TFX's cache key: what is written depends on the data and the settings, on no path."""
    plain, zipped = idx_folder(*DATA, name="plain"), idx_folder(*DATA, name="zipped", ending=".gz")
    first, again = (component_of(inspect_dataset(folder)).exec_properties for folder in (plain, zipped))
    assert first == again
    assert str(plain.parent) not in json.dumps(first)
    other = idx_folder(DATA[0], np.roll(DATA[1], 1), *DATA[2:], name="other")
    assert component_of(inspect_dataset(other)).exec_properties != first
    (plain / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    assert component_of(inspect_dataset(plain)).exec_properties != first
    assert component_of(inspect_dataset(zipped), seed=43).exec_properties != first


def test_artifact_of_the_node_says_what_is_in_it(idx_folder, tmp_path):
    dataset = inspect_dataset(idx_folder(*DATA))
    component = component_of(dataset, encoding="png", compression="GZIP")
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path / "artifact")
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=list(FNAPI), tmp_dir=str(tmp_path / "tmp"), unique_id="1"
    )
    component.executor_spec.executor_class(context).Do({}, {"examples": [artifact]}, component.exec_properties)
    assert artifact_utils.decode_split_names(artifact.split_names) == list(SPLITS)
    assert examples_utils.get_payload_format(artifact) == example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE
    again = write_dataset(dataset, tmp_path / "again", encoding="png", compression="GZIP")
    assert open_examples(artifact) == dataclasses.replace(again, folder=tmp_path / "artifact")
    written = contents(tmp_path / "artifact")
    assert written.pop(ORIGINS_FILE)[:4] == b"PAR1"
    assert {name: content[:2] for name, content in written.items()} == {
        f"Split-{split}/data_tfrecord-{number:05d}-of-{shards:05d}.gz": b"\x1f\x8b"
        for split, shards in (("train", 3), ("val", 1), ("test", 2))
        for number in range(shards)
    }
