"""A model's predictions for shards and image files, and the file that keeps them."""

import dataclasses
import gzip
import json
import shutil
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from components.artifacts import describe_examples
from components.bulk_inferrer import inference
from components.bulk_inferrer.component import BulkInferrer, Predictions
from components.bulk_inferrer.inference import predict
from components.errors import InputError, PipelineError
from components.evaluator.slices import SLICINGS, slicing
from pipeline.report.predictions import quality_by_slice, read_predictions
from tests.served_models import NAMES, banded_images, export_banded_model, write_examples

CLASSES = np.array([0, 1, 2, 2, 1, 0, 1])
# The last two are labelled wrongly.
LABELS = np.array([0, 1, 2, 2, 1, 2, 0])
IMAGES = banded_images(CLASSES)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("examples"), {"test": (IMAGES, LABELS)}, shards=2)


@pytest.fixture(scope="module")
def shards(examples):
    return examples.shards("test")


@pytest.fixture(scope="module")
def model(shards, tmp_path_factory):
    return export_banded_model(tmp_path_factory.mktemp("model"), list(shards))


@pytest.fixture
def registered():
    """Registers slicings and takes them out again."""
    before = set(SLICINGS)
    yield
    for name in SLICINGS.keys() - before:
        del SLICINGS[name]


def pipeline() -> beam.Pipeline:
    return beam.Pipeline(argv=["--runner=FnApiRunner"])


def predicted(model, found, target, **more):
    rows = predict(model, found, target, pipeline(), **more)
    table = pq.read_table(target)
    assert len(table) == rows
    return table.to_pydict()


def test_each_record_has_a_row_in_the_order_of_the_shards(model, examples, shards, tmp_path):
    found = predicted(model, shards, tmp_path / "predictions.parquet", examples=examples)
    assert found["example"] == list(range(7))
    assert found["label"] == LABELS.tolist()
    assert found["prediction"] == CLASSES.tolist()
    assert found["class_name"] == [NAMES[index] for index in CLASSES]
    assert found["source"] == [str(shards[0])] * 4 + [str(shards[1])] * 3
    assert set(found["brightness"]) == {"medium"}
    assert list(found)[-2:] == ["probabilities", "brightness"]


def test_probabilities_are_those_that_the_served_model_gives(model, shards, tmp_path):
    found = predicted(model, shards, tmp_path / "predictions.parquet")
    served = tf.saved_model.load(str(model)).signatures["predict_images"](images=tf.constant(IMAGES))
    np.testing.assert_allclose(found["probabilities"], served["probabilities"].numpy(), atol=1e-6)
    np.testing.assert_allclose(found["probability"], served["probabilities"].numpy().max(axis=1), atol=1e-6)
    assert "brightness" not in found


def test_batches_do_not_change_the_predictions(model, examples, shards, tmp_path, monkeypatch):
    whole = predicted(model, shards, tmp_path / "whole.parquet", examples=examples)
    monkeypatch.setattr(inference, "inference_rows", lambda image_shape: 2)
    parts = predicted(model, shards, tmp_path / "parts.parquet", examples=examples)
    assert {**whole, "probabilities": None, "probability": None} == {
        **parts,
        "probabilities": None,
        "probability": None,
    }


def test_registered_slicing_is_a_column_that_the_report_reads(registered, model, examples, shards, tmp_path):
    @slicing("parity")
    def by_parity(images, labels, class_names):
        assert images.dtype == np.uint8
        assert images.shape == (len(labels), 9, 7, 1)
        return np.where(labels % 2 == 0, f"even, as {class_names[0]}", "odd")

    target = tmp_path / "predictions.parquet"
    found = predicted(model, shards, target, examples=examples)
    assert found["parity"] == ["even, as ant" if label % 2 == 0 else "odd" for label in LABELS]
    quality = {
        (part.slicing, part.value): (part.examples, part.accuracy)
        for part in quality_by_slice(read_predictions(target, list(NAMES)))
    }
    # Of the five labels 0 and 2, the last two are wrong.
    assert quality["parity", "even, as ant"] == (5, 3 / 5)
    assert quality["parity", "odd"] == (2, 1.0)
    assert quality["class", "bee"] == (2, 1.0)


def test_slicing_that_fails_is_named_and_nothing_is_written(registered, model, examples, shards, tmp_path):
    slicing("broken")(lambda images, labels, class_names: labels)
    with pytest.raises(PipelineError, match=r"slicing broken: expected 4 names \(str\)"):
        predict(model, shards[:1], tmp_path / "predictions.parquet", pipeline(), examples=examples)
    assert not list(tmp_path.iterdir())


def test_record_that_is_not_stored_as_the_artifact_says_is_one_line_that_says_where(model, examples, shards, tmp_path):
    other = dataclasses.replace(examples, encoding="png")
    with pytest.raises(
        InputError, match=r"data_tfrecord-00000-of-00002: expected images stored as png, .* found tensor"
    ):
        predict(model, shards[:1], tmp_path / "predictions.parquet", pipeline(), examples=other)
    assert not list(tmp_path.iterdir())


def test_shard_is_known_to_be_compressed_by_its_first_bytes(model, shards, tmp_path):
    packed = tmp_path / "tfrecord-without-an-ending"
    packed.write_bytes(gzip.compress(shards[0].read_bytes()))
    found = predicted(model, [packed], tmp_path / "predictions.parquet")
    assert found["label"] == LABELS[:4].tolist()


def test_damaged_shard_is_one_line_that_says_where(model, shards, tmp_path):
    content = bytearray(shards[0].read_bytes())
    content[-3] ^= 255
    damaged = tmp_path / "data_tfrecord-00000-of-00001"
    damaged.write_bytes(content)
    with pytest.raises(InputError, match="expected TFRecords, found a damaged one after record 0"):
        predict(model, [damaged], tmp_path / "predictions.parquet", pipeline())


def test_component_keeps_the_predictions_for_the_test_split(model, examples, tmp_path):
    given, trained, kept = standard_artifacts.Examples(), standard_artifacts.Model(), Predictions()
    given.uri, trained.uri, kept.uri = str(examples.folder), str(tmp_path / "model"), str(tmp_path)
    describe_examples(given, examples)
    shutil.copytree(model, Path(trained.uri, "Format-Serving"))
    context = BaseBeamExecutor.Context(["--runner=FnApiRunner", "--sdk_container_image=none"], None, str(tmp_path), "1")
    BulkInferrer.EXECUTOR_SPEC.executor_class(context).Do(
        {"examples": [given], "model": [trained]}, {"predictions": [kept]}, {}
    )
    found = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    assert found["prediction"] == CLASSES.tolist()
    assert set(found["brightness"]) == {"medium"}
    assert kept.get_int_custom_property("examples") == 7
    assert json.loads(kept.get_string_custom_property("class_names")) == list(NAMES)
