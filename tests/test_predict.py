"""Batch inference from the command line: three forms of one result."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from components.pusher.serving_folder import publish
from pipeline.predict import main
from tests.served_models import NAMES, banded_images, export_banded_model, write_split

CLASSES = np.array([0, 1, 2, 2])


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_split(tmp_path_factory.mktemp("split"), banded_images(CLASSES), CLASSES)


@pytest.fixture(scope="module")
def served(shards, tmp_path_factory):
    """A serving folder whose newest version is good and whose older one is not."""
    base = tmp_path_factory.mktemp("serving")
    for bias in (1000.0, 0.0):
        publish(export_banded_model(tmp_path_factory.mktemp("model"), shards, bias=bias), base, keep=5)
    return base


@pytest.fixture
def ask(served, shards, tmp_path):
    def run(name: str, source=None):
        status = main([str(source or shards[0].parent), str(tmp_path / name), "--model", str(served)])
        return status, tmp_path / name

    return run


def test_csv_has_a_row_a_record_from_the_newest_version(ask, capsys):
    status, path = ask("predictions.csv")
    assert status == 0
    assert capsys.readouterr().out == f"4 answers in {path}\n"
    rows = list(csv.DictReader(path.open()))
    assert [row["class_name"] for row in rows] == [NAMES[index] for index in CLASSES]
    assert [int(row["label"]) for row in rows] == CLASSES.tolist()
    probabilities = np.array([[float(value) for value in row["probabilities"].split()] for row in rows])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert [path.name for path in path.parent.iterdir()] == ["predictions.csv"]


def test_parquet_and_tfrecord_hold_the_same(ask):
    table = pq.read_table(ask("predictions.parquet")[1]).to_pylist()
    records = tf.data.TFRecordDataset(str(ask("predictions.tfrecord")[1])).as_numpy_iterator()
    for row, record in zip(table, records, strict=True):
        features = tf.train.Example.FromString(record).features.feature
        assert features["prediction"].int64_list.value[:] == [row["prediction"]]
        assert features["class_name"].bytes_list.value[:] == [row["class_name"].encode()]
        np.testing.assert_allclose(features["probabilities"].float_list.value, row["probabilities"], rtol=1e-6)


def test_images_have_no_label_in_any_form(ask, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "one.png").write_bytes(tf.io.encode_png(banded_images(CLASSES)[2][..., None]).numpy())
    (row,) = csv.DictReader(ask("predictions.csv", folder)[1].open())
    assert (row["label"], row["class_name"]) == ("", "cat")
    (record,) = tf.data.TFRecordDataset(str(ask("predictions.tfrecord", folder)[1])).as_numpy_iterator()
    assert "label" not in tf.train.Example.FromString(record).features.feature


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("predictions.txt", r"expected a name that ends in \.csv"),
        ("no/predictions.csv", "expected its folder to exist"),
    ],
)
def test_result_that_cannot_be_written_is_one_line_and_status_2(ask, capsys, name, message):
    import re

    status, path = ask(name)
    assert status == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not path.exists()


def test_folder_without_a_model_says_to_run_the_pipeline(shards, tmp_path, capsys):
    assert main([str(shards[0]), str(tmp_path / "a.csv"), "--model", str(tmp_path / "serving" / "none")]) == 2
    assert "Run the pipeline first" in capsys.readouterr().err


def test_input_that_is_neither_is_status_2_and_leaves_nothing(ask, tmp_path, capsys):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "notes.txt").write_text("no image")
    status, path = ask("predictions.csv", folder)
    assert status == 2
    assert "found neither" in capsys.readouterr().err
    assert not list(path.parent.glob("*predictions*"))
