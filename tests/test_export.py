"""The served model against the model that was trained: same bytes in, same probabilities out."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.card import CARD_FILE, read_card
from models.export import export_model
from models.networks.layers import SameConv

NAMES = ("ant", "bee", "cat")
SHAPE = (9, 7)
# Image n is bright in the three rows of class n % 3.
BRIGHT = np.arange(9)[None, :, None] // 3 == np.arange(6)[:, None, None] % 3
IMAGES = np.where(BRIGHT, 1, 0.3) * np.random.default_rng(0).integers(0, 256, (6, *SHAPE))
IMAGES = IMAGES.astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Its logit of class c is about the brightness of rows 3c to 3c + 2."""
    layers = [keras.Input((*SHAPE, 1)), keras.layers.Rescaling(1 / 64), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    kernel = np.repeat(np.eye(3), 21, axis=0) / 10 + np.random.default_rng(0).normal(0, 0.01, (63, 3))
    model.set_weights([kernel.astype("float32"), np.array([0.1, 0, -0.1], "float32")])
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    export_model(model, folder, SHAPE, NAMES, examples(encoded("tensor")).numpy().tolist())
    return folder


@pytest.fixture(scope="module")
def served(folder):
    loaded = tf.saved_model.load(str(folder))
    yield loaded.signatures


@pytest.fixture(scope="module")
def probabilities(model):
    """Returns the softmax, in float64, of the model's own logits."""

    def softmax(images: np.ndarray) -> np.ndarray:
        logits = model(images[..., None].astype("float32")).numpy().astype(np.float64)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    return softmax


def examples(images: list[bytes], **more: int) -> tf.Tensor:
    """Returns the serialized `tf.train.Example`s of encoded images."""
    records = []
    for image in images:
        features = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
        features |= {
            name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value])) for name, value in more.items()
        }
        records.append(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return tf.constant(records)


def encoded(encoding: str, images: np.ndarray = IMAGES) -> list[bytes]:
    if encoding == "tensor":
        return [tf.io.serialize_tensor(image).numpy() for image in images]
    encode = tf.io.encode_jpeg if encoding == "jpeg" else tf.io.encode_png
    return [encode(image[..., None]).numpy() for image in images]


def test_image_signature_reproduces_the_softmax_of_the_training_logits(served, probabilities):
    found = served["predict_images"](images=tf.constant(IMAGES))["probabilities"]
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, probabilities(IMAGES), atol=1e-6)


@pytest.mark.parametrize("encoding", ["tensor", "png", "jpeg"])
def test_example_signature_reproduces_the_softmax_of_the_training_logits(served, probabilities, encoding):
    records = encoded(encoding)
    pixels = IMAGES
    if encoding == "jpeg":
        pixels = np.stack([tf.io.decode_jpeg(record).numpy()[..., 0] for record in records])
    found = served["serving_default"](examples=examples(records))["probabilities"]
    np.testing.assert_allclose(found, probabilities(pixels), atol=1e-6)


def test_one_request_may_mix_encodings(served, probabilities):
    records = [encoded("tensor")[0], encoded("png")[1], encoded("tensor")[2]]
    found = served["serving_default"](examples=examples(records))["probabilities"]
    np.testing.assert_allclose(found, probabilities(IMAGES[:3]), atol=1e-6)


def test_label_in_the_example_is_not_looked_at(served):
    with_label, without = (
        served["serving_default"](examples=examples(encoded("tensor"), **more))["probabilities"]
        for more in ({"label": 1}, {})
    )
    np.testing.assert_array_equal(with_label, without)


def test_class_is_the_most_probable_one_and_is_named(served, probabilities):
    answer = served["predict_images"](images=tf.constant(IMAGES))
    expected = probabilities(IMAGES).argmax(axis=-1)
    assert expected.tolist() == [0, 1, 2, 0, 1, 2]
    assert answer["class_id"].dtype == tf.int64
    assert answer["class_id"].numpy().tolist() == expected.tolist()
    assert [name.decode() for name in answer["class_name"].numpy()] == [NAMES[index] for index in expected]


def test_both_signatures_name_their_inputs_and_outputs(served):
    assert set(served) == {"serving_default", "predict_images"}
    examples_spec = served["serving_default"].structured_input_signature[1]["examples"]
    images_spec = served["predict_images"].structured_input_signature[1]["images"]
    assert (examples_spec.shape.as_list(), examples_spec.dtype) == ([None], tf.string)
    assert (images_spec.shape.as_list(), images_spec.dtype) == ([None, 9, 7], tf.uint8)
    for signature in served.values():
        assert set(signature.structured_outputs) == {"class_id", "class_name", "probabilities"}


@pytest.mark.parametrize("encoding", ["tensor", "png", "jpeg"])
def test_example_of_another_shape_is_refused_with_the_shape_expected(served, encoding):
    records = encoded(encoding, IMAGES[:, :8])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[9 7\]|expected shape \[9,7,1\]"):
        served["serving_default"](examples=examples(records))


@pytest.mark.parametrize("shape", [(6, 8, 7), (9, 8, 7), (6, 7, 9)], ids=str)
def test_images_of_another_shape_are_refused_with_the_shape_expected(served, shape):
    """Nine images of 8x7 are as many values as eight of 9x7, and are eight answers to nobody's question."""
    with pytest.raises((tf.errors.InvalidArgumentError, TypeError), match=r"9, ?7"):
        served["predict_images"](images=tf.zeros(shape, tf.uint8))


def test_bytes_that_are_no_example_are_refused(served):
    with pytest.raises(tf.errors.InvalidArgumentError, match="arse"):
        served["serving_default"](examples=tf.constant([b"no example"]))


def test_images_with_channels_are_served_as_they_are_recorded(tmp_path):
    colour = np.random.default_rng(1).integers(0, 256, (2, 4, 5, 3), np.uint8)
    model = keras.Sequential([keras.Input((4, 5, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    records = examples(encoded("tensor", colour))
    export_model(model, str(tmp_path), (4, 5, 3), ("cold", "warm"), records.numpy().tolist())
    loaded = tf.saved_model.load(str(tmp_path))
    by_image = loaded.signatures["predict_images"](images=tf.constant(colour))["probabilities"]
    by_example = loaded.signatures["serving_default"](examples=records)["probabilities"]
    np.testing.assert_allclose(by_image, tf.nn.softmax(model(colour.astype("float32"))), atol=1e-6)
    np.testing.assert_allclose(by_example, by_image, atol=1e-6)


def test_convolutions_are_served_without_gradients_of_their_own(tmp_path):
    inputs = keras.Input((*SHAPE, 1))
    logits = keras.layers.GlobalMaxPool2D()(SameConv(3)(inputs))
    records = examples(encoded("tensor")).numpy().tolist()
    export_model(keras.Model(inputs, logits), tmp_path, SHAPE, NAMES, records)
    assert b"CustomGradient" not in (tmp_path / "saved_model.pb").read_bytes()


def test_card_says_what_the_model_answers_about(folder):
    expected = {
        "image_shape": [9, 7],
        "class_names": ["ant", "bee", "cat"],
        "image_fit": "pad",
        "ranges": {},
        "class_values": [0, 1, 2],
    }
    assert read_card(folder) == expected
    assert CARD_FILE.parts[0] == "assets.extra", "what a model server copies along and does not read"


@pytest.mark.parametrize("content", [None, "", "[]", '{"image_shape": [9, 7]}', "\xff"], ids=repr)
def test_model_without_a_readable_card_has_none(tmp_path, content):
    if content is not None:
        (tmp_path / CARD_FILE).parent.mkdir()
        (tmp_path / CARD_FILE).write_bytes(content.encode("latin-1"))
    assert read_card(tmp_path) is None
