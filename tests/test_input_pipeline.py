"""Order and completeness of the batches. An image carries its number, its label follows from that."""

import contextlib
import dataclasses
import itertools
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.config import InputConfig
from models.examples import Examples, ExamplesError
from models.input_pipeline import (
    Split,
    batches_at_once,
    class_counts,
    evaluation_batches,
    first_records,
    open_split,
    steps_per_epoch,
    training_batches,
)
from tests.served_models import write_examples

COUNT, BATCH = 103, 10
NUMBERS = np.arange(COUNT)
IMAGES = np.repeat(NUMBERS.astype(np.uint8), 4 * 3).reshape(COUNT, 4, 3)
LABELS = (NUMBERS * 7 % 10).astype(np.uint8)
NAMES = tuple("abcdefghij")
# What it takes to have all images in memory.
ENOUGH = COUNT * 4 * 3


def write(folder, **options) -> Examples:
    """Writes three shards of uneven size, as one split `train`."""
    return write_examples(folder, {"train": (IMAGES, LABELS)}, NAMES, bounds=[40, 41], **options)


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Examples:
    return write(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def cached(examples) -> Split:
    return open_split(examples, "train", memory=ENOUGH, scratch=examples.folder)


@pytest.fixture(scope="module")
def on_disk(examples) -> Iterator[Split]:
    with open_split(examples, "train", memory=0, scratch=examples.folder) as split:
        yield split


@pytest.fixture(params=["cached", "on_disk"])
def split(request) -> Split:
    return request.getfixturevalue(request.param)


def numbers(split: Split, steps: int, *, seed: int = 5, first_epoch: int = 0, batch_size: int = BATCH) -> list:
    """Returns (step, numbers of the images) of some batches, having checked that each label is its image's."""
    found = []
    batches = training_batches(split, batch_size=batch_size, seed=seed, first_epoch=first_epoch)
    for step, images, labels in batches.take(steps).as_numpy_iterator():
        drawn = images[:, 0, 0, 0].astype(int)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(images, IMAGES[drawn][..., None])
        np.testing.assert_array_equal(labels, LABELS[drawn])
        found.append((int(step), drawn.tolist()))
    return found


def test_small_split_is_decoded_into_memory_and_a_large_one_is_not(cached, on_disk):
    assert cached.size == on_disk.size == COUNT
    np.testing.assert_array_equal(cached.images, IMAGES[..., None], strict=True)
    assert on_disk.images is None
    for split in (cached, on_disk):
        np.testing.assert_array_equal(split.labels, LABELS.astype(np.int64), strict=True)


def test_split_is_in_memory_if_its_pixels_fit(examples):
    assert open_split(examples, "train", memory=ENOUGH, scratch=examples.folder).images is not None
    with open_split(examples, "train", memory=ENOUGH - 1, scratch=examples.folder) as split:
        assert split.images is None


def test_batches_are_the_same_wherever_the_images_lie(cached, on_disk):
    for seed, first_epoch in ((5, 0), (6, 3)):
        arguments = {"seed": seed, "first_epoch": first_epoch}
        assert numbers(cached, 25, **arguments) == numbers(on_disk, 25, **arguments)


@pytest.mark.parametrize("promised", [COUNT, COUNT + 1], ids=["opened", "failed"])
def test_scratch_file_has_no_name_and_its_space_is_free_in_the_end(examples, tmp_path, promised):
    other, before = dataclasses.replace(examples, counts={"train": promised}), open_files()
    with contextlib.suppress(ExamplesError), open_split(other, "train", memory=0, scratch=tmp_path) as split:
        assert len(open_files() - before) == 1
        assert len(list(training_batches(split, batch_size=BATCH, seed=1).take(2))) == 2
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before


@pytest.mark.parametrize("memory", [0, ENOUGH], ids=["on_disk", "cached"])
def test_nothing_is_decoded_a_second_time(tmp_path, memory):
    examples = write(tmp_path)
    with open_split(examples, "train", memory=memory, scratch=tmp_path) as split:
        shutil.rmtree(examples.split_folder("train"))
        assert len(numbers(split, 30)) == 30
        assert sum(len(labels) for _, labels in evaluation_batches(split, batch_size=25)) == COUNT


def test_fewer_large_batches_than_small_ones_are_kept_ready(cached):
    assert batches_at_once(cached, BATCH, 4) == 4
    large = dataclasses.replace(cached, examples=dataclasses.replace(cached.examples, image_shape=(224, 224, 3)))
    assert batches_at_once(large, 250, 4) == 3  # of 37.6 MB
    assert batches_at_once(large, 2_000, 4) == 1


def open_files() -> set[str]:
    """Returns what this process has open and no folder names any more."""
    files = {os.fspath(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()}
    return {file for file in files if file.endswith("(deleted)")}


@pytest.mark.parametrize(("compression", "encoding"), [("GZIP", "tensor"), ("", "png")])
def test_compressed_shards_and_pictures_hold_the_same_examples(tmp_path, compression, encoding):
    examples = write(tmp_path, compression=compression, encoding=encoding)
    split = open_split(examples, "train", memory=ENOUGH, scratch=tmp_path)
    np.testing.assert_array_equal(split.images[..., 0], IMAGES)
    np.testing.assert_array_equal(split.labels, LABELS)


def test_no_shard_is_an_error_that_names_the_folder(examples, tmp_path):
    other = dataclasses.replace(examples, folder=tmp_path / "nothing-here")
    with pytest.raises(ExamplesError, match=r"nothing-here.Split-train: expected all shards of the split, found none"):
        open_split(other, "train", memory=ENOUGH, scratch=tmp_path)


@pytest.mark.parametrize("memory", [ENOUGH + 12, 0], ids=["cached", "on_disk"])
@pytest.mark.parametrize("promised", [102, 104])
def test_another_number_of_records_than_the_artifact_says_is_an_error_with_both(examples, promised, memory):
    other = dataclasses.replace(examples, counts={"train": promised})
    with pytest.raises(ExamplesError, match=rf"Split-train: expected {promised} examples, .* found 103\. Delete"):
        open_split(other, "train", memory=memory, scratch=examples.folder)


def test_lost_shard_is_an_error_that_names_those_found(examples, tmp_path):
    copy = dataclasses.replace(examples, folder=shutil.copytree(examples.folder, tmp_path / "copy"))
    copy.shards("train")[1].unlink()
    with pytest.raises(ExamplesError, match=r"found data_tfrecord-00000-of-00003, data_tfrecord-00002-of-00003\."):
        open_split(copy, "train", memory=ENOUGH, scratch=tmp_path)


@pytest.mark.parametrize("memory", [ENOUGH, 0], ids=["cached", "on_disk"])
def test_images_stored_otherwise_than_the_artifact_says_are_an_error(tmp_path, memory):
    other = dataclasses.replace(write(tmp_path, encoding="png"), encoding="tensor")
    with pytest.raises(tf.errors.InvalidArgumentError, match="not stored as the examples say"):
        open_split(other, "train", memory=memory, scratch=tmp_path)


def test_first_records_are_those_of_the_first_shard_and_all_where_there_are_fewer(examples):
    records = first_records(examples, "train", 64)
    assert len(records) == 64
    images, labels = examples.parse(tf.constant(records))
    np.testing.assert_array_equal(images[..., 0], IMAGES[:64])
    np.testing.assert_array_equal(labels, LABELS[:64])
    assert len(first_records(examples, "train", 1_000)) == COUNT


def test_each_epoch_draws_every_image_once_up_to_the_remainder(split):
    assert steps_per_epoch(split, BATCH) == 10
    batches = [drawn for _, drawn in numbers(split, 40)]
    for epoch in range(4):
        drawn = np.concatenate(batches[epoch * 10 : epoch * 10 + 10])
        assert len(drawn) == len(set(drawn.tolist())) == 100


def test_what_one_epoch_leaves_out_another_draws(split):
    batches = numbers(split, 60)
    assert {number for _, drawn in batches for number in drawn} == set(range(COUNT))


def test_epochs_have_different_orders_and_none_is_that_of_the_file(split):
    batches = [drawn for _, drawn in numbers(split, 30)]
    epochs = [np.concatenate(batches[start : start + 10]) for start in (0, 10, 20)]
    for one, other in itertools.combinations([*epochs, np.arange(100)], 2):
        assert np.mean(one == other) < 0.1


def test_same_seed_gives_the_same_batches_and_another_seed_others(split):
    first = numbers(split, 20, seed=5)
    assert numbers(split, 20, seed=5) == first
    other = numbers(split, 20, seed=6)
    assert np.mean(np.array([a for _, a in first]) == np.array([b for _, b in other])) < 0.1


@pytest.mark.parametrize("first_epoch", [1, 3])
def test_resumed_training_sees_the_batches_of_the_unbroken_one(split, first_epoch):
    unbroken = numbers(split, 50)
    assert [step for step, _ in unbroken] == list(range(50))
    assert numbers(split, 50 - 10 * first_epoch, first_epoch=first_epoch) == unbroken[10 * first_epoch :]


def test_examples_of_each_class_are_counted_and_a_class_without_any_is_zero(examples, tmp_path):
    more = dataclasses.replace(examples, class_names=(*NAMES, "k"))
    for memory in (math.inf, 0):
        with open_split(more, "train", memory=memory, scratch=tmp_path) as split:
            found = class_counts(split)
        assert found.tolist() == [11, 10, 10, 10, 11, 10, 10, 11, 10, 10, 0]  # labels of 100, 101, 102: 0, 7, 4


def test_batch_larger_than_the_split_is_the_whole_split(split):
    assert steps_per_epoch(split, 1_000) == 1
    for _, drawn in numbers(split, 3, batch_size=1_000):
        assert sorted(drawn) == NUMBERS.tolist()


@pytest.mark.parametrize("batch_size", [1, 25, 103, 500])
def test_evaluation_takes_every_example_once_in_order(split, batch_size):
    images, labels = zip(*evaluation_batches(split, batch_size=batch_size).as_numpy_iterator(), strict=True)
    assert [len(batch) for batch in labels][:-1] == [batch_size] * (len(labels) - 1)
    np.testing.assert_array_equal(np.concatenate(images), IMAGES[..., None], strict=True)
    np.testing.assert_array_equal(np.concatenate(labels), LABELS.astype(np.int64), strict=True)


@pytest.fixture(scope="module")
def streamed(examples) -> Split:
    return open_split(examples, "train", memory=ENOUGH, scratch=examples.folder, streamed=True)


def test_streamed_epoch_has_each_image_at_most_once_and_the_next_another_order(streamed):
    found = numbers(streamed, 20)
    first, second = ([number for _, drawn in found[start : start + 10] for number in drawn] for start in (0, 10))
    assert [step for step, _ in found] == list(range(20))
    assert len(set(first)) == len(set(second)) == 100
    assert first != second
    assert numbers(streamed, 20) == found


def test_streamed_training_that_is_resumed_sees_what_the_unbroken_one_would(streamed):
    assert numbers(streamed, 10, first_epoch=2) == numbers(streamed, 30)[20:]


# Of 103, seven: 103 * k / 7.
SEVEN = [0, 14, 29, 44, 58, 73, 88]


@pytest.mark.parametrize("in_spans", [True, False])
@pytest.mark.parametrize("kind", ["cached", "on_disk", "streamed"])
def test_sample_is_of_the_whole_window_wherever_its_images_lie(examples, tmp_path, monkeypatch, kind, in_spans):
    """Of data that are no window the first ones, for their shards are shuffled."""
    examples = dataclasses.replace(examples, parts=(("1", {}), ("2", {})) if in_spans else ())
    monkeypatch.setattr("models.input_pipeline._SAMPLE_BYTES", 7 * IMAGES[0].size)
    monkeypatch.setattr("models.memory._MOST_ROWS", 20)  # rows of a block: some blocks have none of the sample
    memory = ENOUGH if kind == "cached" else 0
    with open_split(examples, "train", memory=memory, scratch=tmp_path, streamed=kind == "streamed") as split:
        wanted = SEVEN if in_spans else range(7)
        np.testing.assert_array_equal(split.sample(), IMAGES[wanted, ..., None], strict=True)


@pytest.mark.parametrize("kind", ["cached", "on_disk", "streamed"])
def test_evaluation_of_some_rows_takes_these_alone_in_order(request, kind):
    batches = evaluation_batches(request.getfixturevalue(kind), batch_size=3, rows=np.array(SEVEN))
    images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    assert [len(batch) for batch in labels] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(images), IMAGES[SEVEN, ..., None], strict=True)
    np.testing.assert_array_equal(np.concatenate(labels), LABELS[SEVEN].astype(np.int64), strict=True)


def test_streamed_split_holds_all_labels_and_the_sample_and_gives_them_all(examples, tmp_path, monkeypatch):
    monkeypatch.setattr("models.input_pipeline._SAMPLE_BYTES", 7 * IMAGES[0].size)
    few = open_split(examples, "train", memory=0, scratch=tmp_path, streamed=True)
    np.testing.assert_array_equal(few.labels, LABELS)
    np.testing.assert_array_equal(few.images, IMAGES[:7, ..., None])
    assert few.size == COUNT
    images, labels = zip(*evaluation_batches(few, batch_size=30).as_numpy_iterator(), strict=True)
    np.testing.assert_array_equal(np.concatenate(images), IMAGES[..., None])
    np.testing.assert_array_equal(np.concatenate(labels), LABELS)


@pytest.mark.parametrize("kind", ["cached", "on_disk", "streamed"])
def test_unshuffled_epochs_are_in_the_order_of_the_shards(request, kind):
    batches = training_batches(
        request.getfixturevalue(kind), batch_size=BATCH, seed=5, settings=InputConfig(shuffle=False)
    )
    drawn = np.concatenate([images[:, 0, 0, 0] for _, images, _ in batches.take(20).as_numpy_iterator()])
    # What a pass leaves over is what the next one begins with.
    assert drawn.tolist() == [*range(103), *range(97)]


def test_shuffle_buffer_holds_images_by_their_bytes(cached, monkeypatch):
    held = []
    monkeypatch.setattr(tf.data.Dataset, "shuffle", lambda self, count, **_: held.append(count) or self)
    for shape in ((28, 28), (1024, 1024, 3)):
        examples = dataclasses.replace(cached.examples, image_shape=shape)
        training_batches(dataclasses.replace(cached, examples=examples, streamed=True), batch_size=4, seed=1)
    assert held == [10_000, 85]


def test_parallelism_and_prefetching_change_no_batch(cached, streamed):
    for split in (cached, streamed):
        one, more = (
            [
                images[:, 0, 0, 0].tolist()
                for _, images, _ in training_batches(
                    split, batch_size=BATCH, seed=5, settings=InputConfig(parallel=many, prefetch=many)
                )
                .take(12)
                .as_numpy_iterator()
            ]
            for many in (1, 8)
        )
        assert one == more
