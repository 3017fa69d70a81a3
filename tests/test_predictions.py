"""A model's answers to shards and to image files."""

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from components import predictions
from components.errors import InputError
from components.predictions import Source, find_sources, predict
from tests.served_models import NAMES, SHAPE, banded_images, export_banded_model, write_split

CLASSES = np.array([0, 1, 2, 2, 1, 0, 1])
# The last two are labelled wrongly.
LABELS = np.array([0, 1, 2, 2, 1, 2, 0])
IMAGES = banded_images(CLASSES)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_split(tmp_path_factory.mktemp("split"), IMAGES, LABELS, shards=2)


@pytest.fixture(scope="module")
def model(shards, tmp_path_factory):
    return export_banded_model(tmp_path_factory.mktemp("model"), shards)


def pipeline() -> beam.Pipeline:
    return beam.Pipeline(argv=["--runner=FnApiRunner"])


def answers(model, sources, target, **more):
    rows = predict(model, sources, target, pipeline(), **more)
    table = pq.read_table(target)
    assert len(table) == rows
    return table.to_pydict()


def test_each_record_has_a_row_in_the_order_of_the_shards(model, shards, tmp_path):
    found = answers(model, find_sources(shards[0].parent), tmp_path / "answers.parquet", image_shape=SHAPE)
    assert found["example"] == list(range(7))
    assert found["label"] == LABELS.tolist()
    assert found["prediction"] == CLASSES.tolist()
    assert found["class_name"] == [NAMES[index] for index in CLASSES]
    assert found["source"] == [str(shards[0])] * 4 + [str(shards[1])] * 3
    assert set(found["brightness"]) == {"medium"}


def test_probabilities_are_those_that_the_served_model_gives(model, shards, tmp_path):
    found = answers(model, [Source(paths=(shard,)) for shard in shards], tmp_path / "answers.parquet")
    served = tf.saved_model.load(str(model)).signatures["predict_images"](images=tf.constant(IMAGES))
    np.testing.assert_allclose(found["probabilities"], served["probabilities"].numpy(), atol=1e-6)
    np.testing.assert_allclose(found["probability"], served["probabilities"].numpy().max(axis=1), atol=1e-6)


def test_batches_do_not_change_the_answers(model, shards, tmp_path, monkeypatch):
    whole = answers(model, find_sources(shards[0].parent), tmp_path / "whole.parquet")
    monkeypatch.setattr(predictions, "_BATCH", 2)
    parts = answers(model, find_sources(shards[0].parent), tmp_path / "parts.parquet")
    assert {**whole, "probabilities": None, "probability": None} == {
        **parts,
        "probabilities": None,
        "probability": None,
    }


def test_image_files_are_answered_in_the_order_of_their_names_without_a_label(model, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, image in (("b.png", IMAGES[1]), ("a.png", IMAGES[2]), ("c.PNG", IMAGES[0])):
        (folder / name).write_bytes(tf.io.encode_png(image[..., None]).numpy())
    found = answers(model, find_sources(folder), tmp_path / "answers.parquet")
    # Capitals come first.
    order = sorted(["a.png", "b.png", "c.PNG"])
    assert [name.rsplit("/", 1)[1] for name in found["source"]] == order
    assert found["class_name"] == [{"a.png": "cat", "b.png": "bee", "c.PNG": "ant"}[name] for name in order]
    assert found["label"] == [None] * 3


def test_image_of_another_size_is_one_line_that_names_it_and_nothing_is_written(model, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "wide.png").write_bytes(tf.io.encode_png(np.zeros((9, 8, 1), np.uint8)).numpy())
    with pytest.raises(InputError, match=r"wide\.png: the model expected other records"):
        predict(model, find_sources(folder), tmp_path / "answers.parquet", pipeline())
    assert not list(tmp_path.glob("*answers*"))


def test_damaged_shard_is_one_line_that_says_where(model, shards, tmp_path):
    content = bytearray(shards[0].read_bytes())
    content[-3] ^= 255
    damaged = tmp_path / "data_tfrecord-00000-of-00001"
    damaged.write_bytes(content)
    with pytest.raises(InputError, match="expected TFRecords, found a damaged one after record 0"):
        predict(model, find_sources(damaged), tmp_path / "answers.parquet", pipeline())


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("a.png", "data_tfrecord-0")], ids=["empty", "other", "both"])
def test_folder_without_one_kind_of_input_says_what_is_expected(names, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"expected TFRecord shards .* or images"):
        find_sources(tmp_path)


def test_path_that_does_not_exist_says_so(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        find_sources(tmp_path / "nowhere")
