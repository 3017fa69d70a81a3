"""The Exporter on a small network: the model that is served answers as what was learned."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.types import channel_utils, standard_artifacts
from tfx.types.artifact_utils import encode_split_names

from components import places
from components.artifacts import describe_examples
from components.exporter.component import Exporter, export
from components.pusher.history import content_digest
from components.statistics_gen.image_statistics import PIXEL_FEATURES
from models.card import read_card
from models.config import NetworkConfig
from models.examples import Examples
from models.features import SPLITS, STATISTICS_FILE, TRAIN, VAL
from models.files import write_bytes
from models.networks import NetworkInputs, build_network
from models.portable import LITERT_FILE
from models.trained import Trained, TrainedError, load_trained, read_trained, save_trained
from models.warmup import WARMUP_FILE, batch_sizes
from tests.served_models import NAMES, SHAPE, banded_images, write_examples

LABELS = np.arange(70) % 3
IMAGES = banded_images(LABELS)
NETWORK = NetworkConfig(stem_size=3, widths=(8,), blocks=(0,), pools=(True,), members=2)
SERVING = "Format-Serving"


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Examples:
    return write_examples(tmp_path_factory.mktemp("examples"), dict.fromkeys(SPLITS, (IMAGES, LABELS)))


@pytest.fixture
def model_folder(tmp_path) -> Path:
    """What the Trainer leaves: here the initial weights of a network."""
    moments = {"mean": np.full((9, 7, 1), 90.0), "variance": np.full((9, 7, 1), 8_100.0)}
    inputs = NetworkInputs(input_shape=(9, 7, 1), classes=3, sample=IMAGES[..., None], **moments)
    weights = build_network(NETWORK, inputs, seed=0).get_weights()
    options = {"image_shape": SHAPE, "class_names": NAMES, "temperature": 0.5, "weights": weights}
    save_trained(tmp_path / "trained" / SERVING, Trained(network=NETWORK, **options, **moments))
    return tmp_path / "trained"


def artifact(kind: type, uri: Path):
    made = kind()
    made.uri = str(uri)
    return made


def observed() -> statistics_pb2.DatasetFeatureStatisticsList:
    """Statistics of 100 images, each figure of which lies between 10 and 20."""
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = statistics.datasets.add(num_examples=100)
    for name in PIXEL_FEATURES:
        feature = dataset.features.add()
        feature.path.step.append(name)
        feature.num_stats.min, feature.num_stats.max = 10, 20
    return statistics


@pytest.mark.slow
def test_executor_exports_what_was_learned_and_records_its_size(examples, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "folder", {"checkpoints": tmp_path / "checkpoints"}.__getitem__)
    checkpoints = [tmp_path / "checkpoints" / name for name in ("its.npz", "another.npz")]
    checkpoints[0].parent.mkdir()
    for path in checkpoints:
        write_bytes(path, b"state")
    described = artifact(standard_artifacts.Examples, examples.folder)
    described.split_names = encode_split_names(list(SPLITS))
    describe_examples(described, examples)
    model = artifact(standard_artifacts.Model, tmp_path / "model")
    statistics = artifact(standard_artifacts.ExampleStatistics, tmp_path / "statistics")
    statistics.split_names = encode_split_names([TRAIN])
    train = tmp_path / "statistics" / f"Split-{TRAIN}"
    train.mkdir(parents=True)
    write_bytes(train / STATISTICS_FILE, observed().SerializeToString())
    trained = artifact(standard_artifacts.Model, model_folder)
    trained.set_string_custom_property("checkpoint", "its.npz")
    inputs = {"examples": [described], "statistics": [statistics], "trained": [trained]}
    Exporter.EXECUTOR_SPEC.executor_class().Do(inputs, {"model": [model]}, {})

    folder = Path(model.uri, SERVING)
    found = tf.saved_model.load(str(folder)).signatures["predict_images"](images=tf.constant(IMAGES))
    expected = tf.nn.softmax(load_trained(model_folder / SERVING)(IMAGES[..., None]))
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    assert np.std(expected) > 0.01
    assert read_card(folder) == {
        "image_shape": list(SHAPE),
        "class_names": list(NAMES),
        "class_values": [0, 1, 2],
        "image_fit": "pad",
        # Of 100 images from 10 to 20: a fifth of that span on either side.
        "ranges": {name: [8, 22] for name in PIXEL_FEATURES},
    }
    assert (folder / LITERT_FILE).is_file()
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    assert model.get_int_custom_property("bytes") == sum(sizes) > 10_000
    assert len(model.get_string_custom_property("digest")) == 64
    assert [path.exists() for path in checkpoints] == [False, True], "only when it is exported, and only its own"


def test_warm_up_asks_about_the_first_records_of_the_validation_split(examples, model_folder, tmp_path):
    export(model_folder / SERVING, examples, tmp_path / "served")
    requests = b"".join(tf.data.TFRecordDataset(str(tmp_path / "served" / WARMUP_FILE)).as_numpy_iterator())
    records = list(examples.records(VAL).as_numpy_iterator())
    assert [record in requests for record in records] == [True] * 64 + [False] * 6


@pytest.mark.slow
def test_same_training_exported_twice_is_one_model_and_other_weights_or_code_another(examples, model_folder, tmp_path):
    learned = read_trained(model_folder / SERVING)
    other = dataclasses.replace(learned, weights=[weight + 1 for weight in learned.weights])
    save_trained(tmp_path / "other", other)
    exports = [(model_folder / SERVING, "aa"), (model_folder / SERVING, "aa"), (tmp_path / "other", "aa")]
    exports.append((model_folder / SERVING, "bb"))
    digests = []
    for number, (trained, code) in enumerate(exports):
        export(trained, examples, tmp_path / str(number), code=code)
        digests.append(content_digest(tmp_path / str(number)))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    first, second = ((tmp_path / number / "saved_model.pb").read_bytes() for number in "01")
    assert first != second, "the files alone would say that they are two"


def test_folder_without_a_finished_training_is_refused_and_nothing_is_exported(examples, tmp_path):
    with pytest.raises(TrainedError, match="as a finished training leaves them"):
        export(tmp_path / "nothing", examples, tmp_path / "served")
    assert not (tmp_path / "served").exists()


def test_exporter_takes_examples_statistics_and_a_model_and_gives_a_model():
    kinds = (standard_artifacts.Examples, standard_artifacts.ExampleStatistics, standard_artifacts.Model)
    examples, statistics, model = (channel_utils.as_channel([kind()]) for kind in kinds)
    exporter = Exporter(examples=examples, statistics=statistics, model=model)
    assert set(exporter.inputs) == {"examples", "statistics", "trained"}
    assert exporter.outputs["model"].type is standard_artifacts.Model
    assert exporter.exec_properties == {}


def test_warm_up_asks_about_fewer_large_images_than_small_ones():
    assert batch_sizes((28, 28)) == (1, 64)
    assert batch_sizes((224, 224, 3)) == (1, 55)
    assert batch_sizes((4000, 4000, 3)) == (1,)
