"""A model's predictions for shards and image files, and the file that keeps them."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from components.artifacts import Predictions, custom_properties, describe_examples
from components.bulk_inferrer import inference
from components.bulk_inferrer.component import BulkInferrer
from components.bulk_inferrer.inference import comparable, predict
from components.errors import DataRefused, InputError, PipelineError
from components.evaluator.slices import SLICINGS, slicing
from models.card import write_card
from pipeline.report.predictions import quality_by_slice, read_predictions
from tests.served_models import NAMES, SHAPE, banded_images, export_banded_model, write_examples

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


def predicted(model, examples, target):
    rows = predict(examples, {target: model}, pipeline())
    table = pq.read_table(target)
    assert len(table) == rows
    return table.to_pydict()


def test_each_record_has_a_row_in_the_order_of_the_shards(model, examples, shards, tmp_path):
    found = predicted(model, examples, tmp_path / "predictions.parquet")
    assert found["example"] == list(range(7))
    assert found["label"] == LABELS.tolist()
    assert found["prediction"] == CLASSES.tolist()
    assert found["class_name"] == [NAMES[index] for index in CLASSES]
    assert found["source"] == [str(shards[0])] * 4 + [str(shards[1])] * 3
    assert set(found["brightness"]) == {"medium"}
    assert list(found)[-2:] == ["probabilities", "brightness"]


def test_probabilities_are_those_that_the_served_model_gives(model, examples, tmp_path):
    found = predicted(model, examples, tmp_path / "predictions.parquet")
    served = tf.saved_model.load(str(model)).signatures["predict_images"](images=tf.constant(IMAGES))
    np.testing.assert_allclose(found["probabilities"], served["probabilities"].numpy(), atol=1e-6)
    np.testing.assert_allclose(found["probability"], served["probabilities"].numpy().max(axis=1), atol=1e-6)


def test_batches_do_not_change_the_predictions(model, examples, tmp_path, monkeypatch):
    whole = predicted(model, examples, tmp_path / "whole.parquet")
    monkeypatch.setattr(inference, "inference_rows", lambda image_shape: 2)
    parts = predicted(model, examples, tmp_path / "parts.parquet")
    assert {**whole, "probabilities": None, "probability": None} == {
        **parts,
        "probabilities": None,
        "probability": None,
    }


def test_registered_slicing_is_a_column_that_the_report_reads(registered, model, examples, tmp_path):
    @slicing("parity")
    def by_parity(images, labels, class_names):
        assert images.dtype == np.uint8
        assert images.shape == (len(labels), 9, 7, 1)
        return np.where(labels % 2 == 0, f"even, as {class_names[0]}", "odd")

    target = tmp_path / "predictions.parquet"
    found = predicted(model, examples, target)
    assert found["parity"] == ["even, as ant" if label % 2 == 0 else "odd" for label in LABELS]
    quality = {
        (part.slicing, part.value): (part.examples, part.accuracy)
        for part in quality_by_slice(read_predictions(target, list(NAMES)))
    }
    # Of the five labels 0 and 2, the last two are wrong.
    assert quality["parity", "even, as ant"] == (5, 3 / 5)
    assert quality["parity", "odd"] == (2, 1.0)
    assert quality["class", "bee"] == (2, 1.0)


def test_slicing_that_fails_is_named_and_nothing_is_written(registered, model, examples, tmp_path):
    slicing("broken")(lambda images, labels, class_names: labels)
    with pytest.raises(PipelineError, match=r"slicing broken: expected [34] names \(str\)"):
        predict(examples, {tmp_path / "predictions.parquet": model}, pipeline())
    assert not list(tmp_path.iterdir())


def test_record_that_is_not_stored_as_the_artifact_says_is_one_line_that_says_where(model, examples, tmp_path):
    other = dataclasses.replace(examples, encoding="png")
    with pytest.raises(InputError, match=r"0000\d-of-00002: expected images stored as png, .* found tensor"):
        predict(other, {tmp_path / "predictions.parquet": model}, pipeline())
    assert not list(tmp_path.iterdir())


def test_compressed_pictures_are_read_as_their_artifact_says(model, examples, tmp_path):
    packed = write_examples(tmp_path / "packed", {"test": (IMAGES, LABELS)}, encoding="png", compression="GZIP")
    found = predicted(model, packed, tmp_path / "predictions.parquet")
    assert (found["label"], found["prediction"]) == (LABELS.tolist(), CLASSES.tolist())


def test_damaged_shard_is_one_line_that_says_where(model, tmp_path):
    damaged = write_examples(tmp_path / "damaged", {"test": (IMAGES, LABELS)}, shards=1)
    (shard,) = damaged.shards("test")
    content = bytearray(shard.read_bytes())
    content[-3] ^= 255
    shard.write_bytes(content)
    with pytest.raises(DataRefused, match=r"expected records of .*, found a damaged one after record 0"):
        predict(damaged, {tmp_path / "predictions.parquet": model}, pipeline())


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_shard_that_was_cut_between_two_records_is_told_by_the_numbers_and_nothing_is_written(
    model, tmp_path, compression
):
    damaged = write_examples(tmp_path / "damaged", {"test": (IMAGES, LABELS)}, compression=compression)
    shard = damaged.shards("test")[1]
    content = shard.read_bytes()
    if compression:
        shard.write_bytes(content[:5])
    else:
        shard.write_bytes(content[: 2 * (int.from_bytes(content[:8], "little") + 16)])
    told = f"{shard.parent}: expected the 7 records that ExampleGen wrote, found {4 if compression else 6}: a shard"
    with pytest.raises(DataRefused, match=re.escape(told)):
        predict(damaged, {tmp_path / "answers" / "predictions.parquet": model}, pipeline())
    assert not list((tmp_path / "answers").iterdir())


@pytest.mark.parametrize("damage", ["damaged", "empty"])
def test_damaged_shard_is_no_reason_against_a_baseline(model, tmp_path, damage):
    damaged = write_examples(tmp_path / "damaged", {"test": (IMAGES, LABELS)}, shards=1)
    (shard,) = damaged.shards("test")
    shard.write_bytes(bytes(20) + shard.read_bytes() if damage == "damaged" else b"")
    told = f"{shard}: expected records of .* damaged one after record 0" if damage == "damaged" else "found 0: a shard"
    with pytest.raises(DataRefused, match=told):
        comparable(model, damaged)


def test_each_model_has_a_file_of_its_own_with_the_same_rows(model, examples, shards, tmp_path):
    other = export_banded_model(tmp_path / "other", list(shards), bias=1000.0)
    targets = {tmp_path / "predictions.parquet": model, tmp_path / "baseline.parquet": other}
    assert predict(examples, targets, pipeline()) == 7
    first, second = map(pq.ParquetFile, targets)
    groups = [[file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] for file in (first, second)]
    assert groups == [[4, 3], [4, 3]]
    found, others = (file.read().to_pydict() for file in (first, second))
    assert [found[name] == others[name] for name in ("source", "example", "label", "brightness")] == [True] * 4
    assert (found["prediction"], others["prediction"]) == (CLASSES.tolist(), [0] * 7)


@pytest.fixture
def infer(model, examples, tmp_path):
    """Runs the executor on the model as candidate, beside baselines; returns the artifact."""
    given, trained, kept = standard_artifacts.Examples(), standard_artifacts.Model(), Predictions()
    given.uri, trained.uri, kept.uri = str(examples.folder), str(tmp_path / "model"), str(tmp_path)
    describe_examples(given, examples)
    shutil.copytree(model, Path(trained.uri, "Format-Serving"))
    context = BaseBeamExecutor.Context(["--runner=FnApiRunner", "--sdk_container_image=none"], None, str(tmp_path), "1")

    def run(*baselines: standard_artifacts.Model) -> Predictions:
        BulkInferrer.EXECUTOR_SPEC.executor_class(context).Do(
            {"examples": [given], "model": [trained], "baseline_model": list(baselines)}, {"predictions": [kept]}, {}
        )
        return kept

    return run


def test_component_keeps_the_predictions_for_the_test_split(infer, tmp_path):
    kept = infer()
    found = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    assert found["prediction"] == CLASSES.tolist()
    assert set(found["brightness"]) == {"medium"}
    assert custom_properties(kept) == {
        "examples": 7,
        "class_names": json.dumps(NAMES),
        "notes": "[]",
        "spans": "[]",
    }
    assert not (tmp_path / "baseline.parquet").exists()


def baseline_in(folder: Path, shards, number: int, **settings) -> standard_artifacts.Model:
    artifact = standard_artifacts.Model()
    artifact.id, artifact.uri = number, str(folder)
    export_banded_model(folder / "Format-Serving", list(shards), **settings)
    return artifact


def test_component_keeps_the_answers_of_the_baseline_too(infer, shards, tmp_path):
    kept = infer(baseline_in(tmp_path / "earlier", shards, 7, bias=1000.0))
    assert pq.read_table(tmp_path / "baseline.parquet")["prediction"].to_pylist() == [0] * 7
    assert pq.read_table(tmp_path / "predictions.parquet")["prediction"].to_pylist() == CLASSES.tolist()
    assert custom_properties(kept)["baseline_id"] == 7


@pytest.mark.parametrize("names", [("bee", "cat", "dog"), ("bee", "ant", "cat")], ids=["other", "another order"])
def test_baseline_of_as_many_other_classes_is_not_compared_with_by_number(names, infer, shards, tmp_path):
    """Each of its answers would count as wrong, and any candidate as better."""
    baseline = baseline_in(tmp_path / "earlier", shards, 7)
    write_card(Path(baseline.uri, "Format-Serving"), SHAPE, names)
    kept = custom_properties(infer(baseline))
    told = "model 7 is no baseline: it tells other classes apart: bee, where the candidate has ant"
    (note,) = json.loads(kept["notes"])
    assert note.startswith(f"{told};")
    assert "baseline_id" not in kept


@pytest.mark.parametrize("kind", ["other classes", "damaged"])
def test_baseline_that_cannot_be_compared_with_is_not_asked_and_named(kind, infer, shards, tmp_path):
    baseline = baseline_in(tmp_path / "earlier", shards, 7, classes=4 if kind == "other classes" else 3)
    if kind == "damaged":
        Path(baseline.uri, "Format-Serving", "saved_model.pb").write_bytes(b"no model")
    kept = custom_properties(infer(baseline))
    (note,) = json.loads(kept["notes"])
    assert note.startswith("model 7 is no baseline: ")
    assert ("it tells 4 classes apart, the candidate 3" if kind == "other classes" else "it cannot be asked") in note
    assert "baseline_id" not in kept
    assert not (tmp_path / "baseline.parquet").exists()


def test_baseline_whose_failure_has_no_text_is_no_failure_of_the_candidate(examples, monkeypatch, tmp_path):
    def fails(_):
        raise MemoryError

    monkeypatch.setattr(inference.tf.saved_model, "load", fails)
    assert comparable(tmp_path, examples) == "it cannot be asked (MemoryError: MemoryError)"
