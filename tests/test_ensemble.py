"""An ensemble answers with the mean of its members and is trained member by member."""

import keras
import numpy as np
import pytest

from models.networks.ensemble import ensemble
from models.objective import SmoothedCrossEntropy, accuracy

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(8, 5)).astype("float32")
LABELS = np.eye(4, dtype="float32")[RNG.integers(0, 4, 8)]
KERNELS = RNG.normal(size=(3, 5, 4)).astype("float32")


def linear_model(kernels: np.ndarray) -> keras.Model:
    """Returns a model of a linear member for each kernel [5, 4]."""
    inputs = keras.Input((5,))
    heads = [keras.layers.Dense(4, use_bias=False) for _ in kernels]
    model = keras.Model(inputs, ensemble([head(inputs) for head in heads]))
    model.set_weights(list(kernels))
    model.compile(keras.optimizers.SGD(0.1), SmoothedCrossEntropy(0.2), metrics=[accuracy], jit_compile=False)
    return model


def test_ensemble_answers_the_mean_and_in_training_the_logits_of_each_member():
    model = linear_model(KERNELS)
    each = np.einsum("bi,mic->bmc", INPUTS, KERNELS)
    assert model.output_shape == (None, 4)
    np.testing.assert_allclose(model(INPUTS, training=True), each, rtol=1e-5, atol=1e-5)
    for answer in (model(INPUTS), model(INPUTS, training=False), model.predict(INPUTS, verbose=0)):
        np.testing.assert_allclose(answer, each.mean(axis=1), rtol=1e-5, atol=1e-5)


def test_single_member_is_no_ensemble():
    model = linear_model(KERNELS[:1])
    assert [type(layer) for layer in model.layers] == [keras.layers.InputLayer, keras.layers.Dense]
    for training in (False, True):
        np.testing.assert_allclose(model(INPUTS, training=training), INPUTS @ KERNELS[0], rtol=1e-5, atol=1e-5)


def test_members_learn_together_what_each_learns_alone():
    together = linear_model(KERNELS)
    together.train_on_batch(INPUTS, LABELS)
    for kernel, learned in zip(KERNELS, together.get_weights(), strict=True):
        alone = linear_model(kernel[None])
        alone.train_on_batch(INPUTS, LABELS)
        np.testing.assert_allclose(learned, alone.get_weights()[0], rtol=1e-5, atol=1e-6)


def test_validation_loss_is_that_of_the_mean():
    model = linear_model(KERNELS)
    found = model.evaluate(INPUTS, LABELS, verbose=0, return_dict=True)
    mean = INPUTS @ KERNELS.mean(axis=0)
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)(LABELS, mean)
    assert found["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean(mean.argmax(axis=1) == LABELS.argmax(axis=1)))


def test_saved_ensemble_gives_the_same_logits(tmp_path):
    model = linear_model(KERNELS)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "model.keras", compile=False)(INPUTS), model(INPUTS)
    )
