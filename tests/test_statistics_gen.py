"""Statistics, schema and gate on real images: what TFDV says, against counts made with NumPy."""

import struct
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow_data_validation as tfdv
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts import describe_examples
from components.errors import DataRefused
from components.statistics_gen.component import ImageStatisticsGen
from components.statistics_gen.statistics import check_counts, write_statistics
from models.examples import Examples
from tests.conftest import write_examples

FNAPI = ["--runner=FnApiRunner"]


def statistics_of(examples: Examples) -> dict:
    """Returns the statistics of each split as the component writes them, in the folder of the split."""
    targets = {split: examples.split_folder(split) / "FeatureStats.pb" for split in examples.counts}
    write_statistics(examples, targets, beam.Pipeline(argv=FNAPI))
    return {split: tfdv.load_stats_binary(str(target)) for split, target in targets.items()}


@pytest.fixture(scope="module")
def statistics(fashion_images, fashion_labels, tmp_path_factory):
    splits = {
        "train": (fashion_images[:300], fashion_labels[:300]),
        "val": (fashion_images[300:], fashion_labels[300:]),
    }
    return statistics_of(write_examples(tmp_path_factory.mktemp("statistics"), splits))


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


def test_finished_statistics_lie_alone(fashion_images, fashion_labels, examples):
    artifact = examples({"train": (fashion_images[:6], fashion_labels[:6])})
    statistics_of(artifact)
    names = sorted(path.name for path in artifact.split_folder("train").iterdir())
    assert names == [
        "FeatureStats.pb",
        "accumulator.pickle",
        "data_tfrecord-00000-of-00002",
        "data_tfrecord-00001-of-00002",
    ]


def test_damaged_shard_is_refused_by_name_and_nothing_is_written(fashion_images, fashion_labels, examples):
    artifact = examples({"train": (fashion_images[:30], fashion_labels[:30])})
    shard = artifact.shards("train")[1]
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataRefused, match=r"data_tfrecord-00001-of-00002: .* found a damaged one"):
        statistics_of(artifact)
    assert not (artifact.split_folder("train") / "FeatureStats.pb").exists()


def test_split_shorter_than_its_artifact_says_is_refused(fashion_images, fashion_labels, examples):
    """A shard that ends between two records, after the first of fifteen, reads without an error."""
    artifact = examples({"train": (fashion_images[:30], fashion_labels[:30])})
    shard = artifact.shards("train")[1]
    (length,) = struct.unpack_from("<Q", shard.read_bytes())
    shard.write_bytes(shard.read_bytes()[: 16 + length])
    with pytest.raises(DataRefused, match=r"^train: expected the 30 records that ExampleGen wrote, found 16: a shard"):
        statistics_of(artifact)


def test_split_with_fewer_records_than_were_written_is_refused(fashion_images, fashion_labels, examples):
    """As after a shard that was cut between two records, or emptied."""
    artifact = examples({"train": (fashion_images[:30], fashion_labels[:30])})
    statistics_of(artifact)
    targets = {split: artifact.split_folder(split) / "FeatureStats.pb" for split in ("train", "val")}
    check_counts({"train": 30}, {"train": targets["train"]})
    with pytest.raises(DataRefused, match=r"^train: expected the 31 records that ExampleGen wrote, found 30: a shard"):
        check_counts({"train": 31}, {"train": targets["train"]})
    with pytest.raises(DataRefused, match=r"^val: expected the 5 records that ExampleGen wrote, found 0: a shard"):
        check_counts({"train": 30, "val": 5}, targets)


def test_node_asks_the_artifact_what_is_in_it_and_writes_statistics_of_each_split(
    fashion_images, fashion_labels, examples, tmp_path
):
    splits = {"train": (fashion_images[:9], fashion_labels[:9]), "val": (fashion_images[9:14], fashion_labels[9:14])}
    described = examples(splits, encoding="png", compression="GZIP")
    channel = types.Channel(type=standard_artifacts.Examples)
    component = ImageStatisticsGen(examples=channel)
    source, written = standard_artifacts.Examples(), standard_artifacts.ExampleStatistics()
    source.uri, written.uri = str(described.folder), str(tmp_path / "written")
    source.split_names = artifact_utils.encode_split_names(["train", "val"])
    describe_examples(source, described)
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=FNAPI, tmp_dir=str(tmp_path / "tmp"), unique_id="1"
    )
    component.executor_spec.executor_class(context).Do({"examples": [source]}, {"statistics": [written]}, {})
    assert written.split_names == source.split_names
    for split, count in (("train", 9), ("val", 5)):
        found = tfdv.load_stats_binary(str(Path(written.uri, f"Split-{split}", "FeatureStats.pb")))
        assert feature(found, "image_height").num_stats.common_stats.num_non_missing == count
