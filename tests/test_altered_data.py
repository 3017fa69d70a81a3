"""The gate on real images, altered: from IDX files through ExampleGen, statistics and schema to the verdict."""

import dataclasses
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.data_gate.anomalies import Anomaly, find_anomalies, refuse
from components.errors import DataRefused, InputError
from components.example_gen.dataset import inspect_dataset
from components.example_gen.idx import read_idx
from components.example_gen.ingest import SplitSettings, write_examples
from components.example_gen.kinds.idx_folder import STEMS
from components.statistics_gen.statistics import write_statistics
from models.features import SPLITS
from pipeline.pipeline import FASHION_MNIST_SCHEMA

TRAIN_SIZE, TEST_SIZE = 6_000, 1_500


class Gate:
    """Runs the data plane up to the gate on arrays, each time in a folder of its own."""

    def __init__(self, folder: Path, write_folder) -> None:
        self._folder, self._write_folder = folder, write_folder
        self._schema = text_format.Parse(FASHION_MNIST_SCHEMA.read_text(), schema_pb2.Schema())
        self.examples, self.statistics = None, {}

    def write(self, images, labels, test_images, test_labels) -> None:
        source = self._write_folder(images, labels, test_images, test_labels)
        scratch = self._folder / "scratch"
        scratch.mkdir()
        settings = SplitSettings(
            sizes=(None, 1_000, None), shards=(2, 1, 1), seed=1, stratified=True, encoding="tensor", compression=""
        )
        self.examples = write_examples(inspect_dataset(source), settings, self._folder / "examples", scratch, _pipeline)

    def check(self, accepted: dict | None = None) -> list[Anomaly]:
        targets = {split: self._folder / f"{split}.pb" for split in SPLITS}
        write_statistics(self.examples, targets, _pipeline())
        self.statistics = {split: tfdv.load_stats_binary(str(path)) for split, path in targets.items()}
        validated = {
            split: tfdv.validate_statistics(statistics, self._schema) for split, statistics in self.statistics.items()
        }
        return find_anomalies(validated, self.statistics, self._schema, self.examples, accepted or {})


def _pipeline() -> beam.Pipeline:
    return beam.Pipeline(argv=["--runner=FnApiRunner"])


@pytest.fixture(scope="module")
def originals(fashion_mnist) -> tuple[np.ndarray, ...]:
    """Real images and labels: train images, train labels, test images, test labels."""
    arrays = (read_idx(fashion_mnist / f"{stem}.gz") for stem in STEMS.values())
    return tuple(array[:size] for array, size in zip(arrays, [TRAIN_SIZE] * 2 + [TEST_SIZE] * 2, strict=True))


@pytest.fixture
def gate(tmp_path, idx_folder) -> Gate:
    return Gate(tmp_path, idx_folder)


def found(anomalies: list[Anomaly], split: str, feature: str) -> list[str]:
    return [anomaly.text for anomaly in anomalies if (anomaly.split, anomaly.feature) == (split, feature)]


def test_original_images_pass(gate, originals):
    gate.write(*originals)
    assert gate.check() == []


def test_inverted_images_are_refused(gate, originals):
    images, *rest = originals
    gate.write(255 - images, *rest)
    anomalies = gate.check()
    assert any("expected 2 to 215" in text for text in found(anomalies, "train", "image_mean"))
    with pytest.raises(DataRefused, match=r"train: image_mean: .*expected 2 to 215, found: Unexpectedly high value: 2"):
        refuse(anomalies, "error")


def test_one_blank_image_is_refused(gate, originals):
    images, *rest = originals
    gate.write(np.concatenate([images[:-1], np.zeros_like(images[:1])]), *rest)
    anomalies = gate.check()
    assert any("expected 2 to 215" in text for text in found(anomalies, "train", "image_mean"))
    assert all(anomaly.severity == "error" for anomaly in anomalies)


def test_brightness_shifted_in_one_split_is_refused(gate, originals):
    images, labels, test_images, test_labels = originals
    brighter = np.clip(test_images * 1.15, 0, 255).astype(np.uint8)
    gate.write(images, labels, brighter, test_labels)
    anomalies = gate.check()
    assert any("divergence" in text for text in found(anomalies, "test", "image_stddev"))
    assert not found(anomalies, "val", "image_stddev")


def test_images_dimmed_everywhere_is_drift_from_the_accepted_data(gate, originals, tmp_path, idx_folder):
    images, labels, test_images, test_labels = originals
    gate.write(*originals)
    gate.check()
    later_folder = tmp_path / "later"
    later_folder.mkdir()
    later = Gate(later_folder, lambda *arrays: idx_folder(*arrays, name="later_data"))
    later.write(images * 0.9, labels, test_images * 0.9, test_labels)
    anomalies = later.check(accepted=gate.statistics)
    assert {anomaly.severity for anomaly in anomalies} == {"warning"}
    assert any("divergence" in text for text in found(anomalies, "train", "image_stddev"))
    refuse(anomalies, "error")
    with pytest.raises(DataRefused, match="warning: train: image_stddev"):
        refuse(anomalies, "warning")


def test_missing_class_is_refused(gate, originals):
    images, labels, test_images, test_labels = originals
    kept, test_kept = labels != 4, test_labels != 4
    gate.write(images[kept], labels[kept], test_images[test_kept], test_labels[test_kept])
    anomalies = gate.check()
    for split in SPLITS:
        assert any(
            "Expected at least 10 unique values but found only 9" in text for text in found(anomalies, split, "label")
        ), anomalies


def test_class_that_doubled_is_refused(gate, originals):
    images, labels, *test = originals
    halves = np.concatenate([np.flatnonzero(labels == 3), np.flatnonzero(labels != 3)[::2]])
    gate.write(images[halves], labels[halves], *test)
    anomalies = gate.check()
    told = found(anomalies, "test", "label")
    assert any("'3' differs by" in text and "from that in train; 3.0 are allowed" in text for text in told), told


def test_label_10_is_refused_before_anything_is_written(originals, idx_folder):
    images, labels, *test = originals
    folder = idx_folder(images, np.where(np.arange(len(labels)) == 77, 10, labels), *test)
    (folder / "classes.txt").write_text("\n".join("abcdefghij"))
    with pytest.raises(
        InputError, match=r"train-labels-idx1-ubyte: expected labels below 10, .*found 10 at position 77"
    ):
        inspect_dataset(folder)


def test_images_of_another_shape_are_refused(gate, originals):
    images, labels, test_images, test_labels = originals
    gate.write(images[:, :24], labels, test_images[:, :24], test_labels)
    anomalies = gate.check()
    assert any("expected 28 to 28" in text for text in found(anomalies, "train", "image_height"))


def test_100_test_images_leaked_into_train_are_counted(gate, originals):
    images, labels, test_images, test_labels = originals
    gate.write(
        np.concatenate([images, test_images[:100]]),
        np.concatenate([labels, test_labels[:100]]),
        test_images,
        test_labels,
    )
    anomalies = gate.check()
    leaks = [text for split in ("val", "test") for text in found(anomalies, split, "image")]
    # Some of the 100 are drawn into val; whichever split they are in, each is in test as well.
    assert sum(int(text.split("found ")[1].split(":")[0]) for text in leaks) == 100


def test_one_image_under_two_labels_is_refused(gate, originals):
    images, labels, *test = originals
    gate.write(np.concatenate([images, images[:1]]), np.append(labels, (labels[0] + 1) % 10), *test)
    texts = [anomaly.text for anomaly in gate.check() if anomaly.feature == "image"]
    assert any("expected one label for each image, found 1 with two" in text for text in texts)


def test_images_stored_otherwise_than_their_artifact_says_are_refused(gate, originals):
    gate.write(*originals)
    gate.examples = dataclasses.replace(gate.examples, encoding="png")
    anomalies = gate.check()
    for split in SPLITS:
        assert found(anomalies, split, "image_height"), anomalies
        assert found(anomalies, split, "image_mean"), anomalies
    assert {anomaly.severity for anomaly in anomalies} == {"error"}


def test_corrupt_record_is_refused_with_the_shard_named(gate, originals):
    gate.write(*originals)
    shard = gate.examples.shards("train")[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(Exception, match=f"{shard.name}: expected records of an image and a label") as failure:
        gate.check()
    assert "DataRefused" in str(failure.value) or isinstance(failure.value, DataRefused)
