"""Statistics, schema and gate on real images: what TFDV says, against counts made with NumPy."""

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow_data_validation as tfdv

from components.errors import DataRefused
from components.example_gen.records import ShardFormat, shard_name, write_shard
from components.statistics_gen.component import check_counts, write_statistics


def statistics_of(splits, folder: Path, shape=(28, 28), classes: int = 10, damage: bool = False) -> dict:
    """Writes each split (images, labels) as two shards and returns its statistics as the component writes them."""
    shards, targets = {}, {}
    for split, (images, labels) in splits.items():
        (folder / split).mkdir()
        shards[split] = [folder / split / shard_name(shard, 2, "") for shard in range(2)]
        targets[split] = folder / split / "FeatureStats.pb"
        half = len(images) // 3
        for path, part in zip(shards[split], (slice(half), slice(half, None)), strict=True):
            write_shard(path, [(images[part], labels[part])], ShardFormat(encoding="tensor", compression=""))
    if damage:
        content = bytearray(shards["train"][1].read_bytes())
        content[100] ^= 1
        shards["train"][1].write_bytes(content)
    write_statistics(shards, targets, shape, classes, beam.Pipeline(argv=["--runner=FnApiRunner"]))
    return {split: tfdv.load_stats_binary(str(target)) for split, target in targets.items()}


@pytest.fixture(scope="module")
def statistics(fashion_images, fashion_labels, tmp_path_factory):
    splits = {
        "train": (fashion_images[:300], fashion_labels[:300]),
        "val": (fashion_images[300:], fashion_labels[300:]),
    }
    return statistics_of(splits, tmp_path_factory.mktemp("statistics"))


def feature(statistics, name: str):
    (found,) = [feature for feature in statistics.datasets[0].features if feature.path.step[0] == name]
    return found


@pytest.mark.parametrize(("split", "part"), [("train", slice(300)), ("val", slice(300, None))])
def test_statistics_are_numpys(statistics, fashion_images, fashion_labels, split, part):
    images, labels = fashion_images[part].astype(np.float64), fashion_labels[part]
    found = statistics[split]
    assert found.datasets[0].num_examples == len(images)
    means = images.mean(axis=(1, 2))
    mean = feature(found, "image_mean").num_stats
    assert mean.common_stats.num_non_missing == len(images)
    assert mean.mean == pytest.approx(means.mean(), rel=1e-6)
    assert mean.std_dev == pytest.approx(means.std(), rel=1e-5)
    assert (mean.min, mean.max) == pytest.approx((means.min(), means.max()), rel=1e-6)
    black = feature(found, "image_black").num_stats
    assert black.mean == pytest.approx((images == 0).mean(), rel=1e-6)
    height = feature(found, "image_height").num_stats
    assert (height.min, height.max, height.std_dev) == (28, 28, 0)
    counts = {
        int(bucket.label): int(bucket.sample_count)
        for bucket in feature(found, "label").string_stats.rank_histogram.buckets
    }
    assert counts == dict(enumerate(np.bincount(labels, minlength=10).tolist()))


def test_image_is_counted_as_bytes_and_not_searched_for_frequent_values(statistics):
    image = feature(statistics["train"], "image")
    assert image.WhichOneof("stats") == "bytes_stats"
    assert image.bytes_stats.common_stats.num_non_missing == 300
    assert image.bytes_stats.avg_num_bytes == pytest.approx(784 + 16, abs=16)


def test_finished_statistics_lie_alone(fashion_images, fashion_labels, tmp_path):
    statistics_of({"train": (fashion_images[:6], fashion_labels[:6])}, tmp_path)
    names = sorted(path.name for path in (tmp_path / "train").iterdir())
    assert names == ["FeatureStats.pb", "data_tfrecord-00000-of-00002", "data_tfrecord-00001-of-00002"]


def test_damaged_shard_is_refused_by_name_and_nothing_is_written(fashion_images, fashion_labels, tmp_path):
    with pytest.raises(DataRefused, match=r"data_tfrecord-00001-of-00002: .* found a damaged one"):
        statistics_of({"train": (fashion_images[:30], fashion_labels[:30])}, tmp_path, damage=True)
    assert not (tmp_path / "train" / "FeatureStats.pb").exists()


def test_split_with_fewer_records_than_were_written_is_refused(fashion_images, fashion_labels, tmp_path):
    """As after a shard that was cut between two records, or emptied."""
    statistics_of({"train": (fashion_images[:30], fashion_labels[:30])}, tmp_path)
    targets = {"train": tmp_path / "train" / "FeatureStats.pb", "val": tmp_path / "val" / "FeatureStats.pb"}
    check_counts({"train": 30}, {"train": targets["train"]})
    with pytest.raises(DataRefused, match=r"^train: expected the 31 records that ExampleGen wrote, found 30: a shard"):
        check_counts({"train": 31}, {"train": targets["train"]})
    with pytest.raises(DataRefused, match=r"^val: expected the 5 records that ExampleGen wrote, found 0: a shard"):
        check_counts({"train": 30, "val": 5}, targets)
