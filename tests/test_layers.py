"""The project's own layers against Keras's, in value and gradient, and in bfloat16 against float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.networks import layers
from models.networks.layers import FusedNorm, SameConv
from models.precision import training_policy

RNG = np.random.default_rng(0)
INPUTS = (RNG.normal(size=(6, 5, 4, 3)) * [1, 5, 0.1] + [0, 10, -3]).astype("float32")
UPSTREAM = RNG.normal(size=INPUTS.shape).astype("float32")


def gradients(layer, inputs: np.ndarray, upstream: np.ndarray, **options) -> list[np.ndarray]:
    """Returns outputs and the gradients of sum(outputs * upstream) by inputs and by trainable weights."""
    inputs = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, **options)
        loss = tf.reduce_sum(outputs * upstream)
    weights = [weight.value for weight in layer.trainable_weights]
    return [outputs.numpy(), *(gradient.numpy() for gradient in tape.gradient(loss, [inputs, *weights]))]


@pytest.fixture
def norms() -> tuple[FusedNorm, keras.layers.BatchNormalization]:
    """Both implementations with the same bias and the same moving statistics."""
    ours = FusedNorm(momentum=0.7, epsilon=1e-3)
    theirs = keras.layers.BatchNormalization(momentum=0.7, epsilon=1e-3, scale=False)
    for layer in (ours, theirs):
        layer.build(INPUTS.shape)
        layer.set_weights([np.array(values, "float32") for values in ([1, -2, 0.5], [0.3, 9, -3], [2, 20, 0.02])])
    return ours, theirs


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_fused_norm_computes_what_batch_normalization_does_in_value_and_gradient(norms, training):
    ours, theirs = (gradients(layer, INPUTS, UPSTREAM, training=training) for layer in norms)
    assert len(ours) == 3
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4)


def test_fused_norm_moves_its_statistics_towards_the_batch_with_bessels_correction(norms):
    ours, theirs = norms
    for layer in norms:
        layer(INPUTS, training=True)
    flat = INPUTS.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(ours.moving_mean, 0.7 * np.array([0.3, 9, -3]) + 0.3 * flat.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-4)
    expected = 0.7 * np.array([2, 20, 0.02]) + 0.3 * flat.var(axis=0, ddof=1)
    np.testing.assert_allclose(ours.moving_variance, expected, rtol=1e-4)
    # Keras takes the population's variance: the two differ by 1/(n - 1) of the new part, here n = 120.
    np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance, rtol=1 / 119)


def test_fused_norm_in_bfloat16_keeps_its_statistics_in_float32(norms):
    theirs, ours = norms[0], FusedNorm(momentum=0.7, epsilon=1e-3, dtype="mixed_bfloat16")
    ours.build(INPUTS.shape)
    ours.set_weights(theirs.get_weights())
    inputs = tf.cast(INPUTS, tf.bfloat16)
    outputs = ours(inputs, training=True)
    expected = theirs(tf.cast(inputs, tf.float32), training=True)
    assert outputs.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, rtol=0.01, atol=0.01)
    for found, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_fused_norm_leaves_its_statistics_alone_in_inference(norms):
    before = norms[0].get_weights()
    norms[0](INPUTS, training=False)
    norms[0](INPUTS)
    for after, weight in zip(norms[0].get_weights(), before, strict=True):
        np.testing.assert_array_equal(after, weight)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_same_conv_computes_what_conv2d_does_in_value_and_gradients(size):
    ours = SameConv(7, size)
    theirs = keras.layers.Conv2D(7, size, padding="same", use_bias=False)
    for layer in (ours, theirs):
        layer.build(INPUTS.shape)
    theirs.set_weights(ours.get_weights())
    upstream = RNG.normal(size=(*INPUTS.shape[:3], 7)).astype("float32")
    results = [gradients(ours, INPUTS, upstream, training=True), gradients(theirs, INPUTS, upstream)]
    assert len(results[0]) == 3
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_same_conv_has_keras_gradient_inside_a_compiled_step():
    model = keras.Sequential([keras.Input(INPUTS.shape[1:]), SameConv(2), SameConv(1)])
    plain = keras.Sequential(
        [keras.Input(INPUTS.shape[1:])]
        + [keras.layers.Conv2D(width, 3, padding="same", use_bias=False) for width in (2, 1)]
    )
    plain.set_weights(model.get_weights())
    for trained in (model, plain):
        trained.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
        trained.train_on_batch(INPUTS, UPSTREAM[..., :1])
    for found, expected in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("capability", "training", "own"),
    [(None, True, True), (None, False, False), ((8, 6), True, False)],
    ids=["CPU", "served", "GPU"],
)
def test_same_conv_leaves_its_gradients_to_tensorflow_on_a_gpu_and_where_it_is_served(
    monkeypatch, capability, training, own
):
    monkeypatch.setattr(layers, "gpu_capability", lambda: capability)
    layer = SameConv(7)
    layer.build(INPUTS.shape)

    @tf.function
    def by_input(inputs):
        return tf.gradients(tf.reduce_sum(layer(inputs, training=training)), inputs)[0]

    graph = by_input.get_concrete_function(tf.TensorSpec(INPUTS.shape))
    kinds = {operation.type for operation in graph.graph.get_operations()}
    assert ("Conv2DBackpropInput" in kinds) is not own
    plain = keras.layers.Conv2D(7, 3, padding="same", use_bias=False)
    plain.build(INPUTS.shape)
    plain.set_weights(layer.get_weights())
    expected = gradients(plain, INPUTS, np.ones((*INPUTS.shape[:3], 7), "float32"))[1]
    np.testing.assert_allclose(by_input(tf.constant(INPUTS)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [4, 12], ids=["as a forward convolution", "oneDNN's kernel"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_same_conv_in_bfloat16_has_the_gradients_of_float32(width, size):
    inputs, upstream = (RNG.normal(size=(3, 5, width, channels)).astype("float32") for channels in (6, 7))
    layers = [SameConv(7, size, dtype=policy) for policy in ("float32", "mixed_bfloat16")]
    for layer in layers:
        layer.build(inputs.shape)
    layers[1].set_weights(layers[0].get_weights())
    exact, rounded = (
        gradients(layer, inputs, tf.cast(upstream, layer.compute_dtype), training=True) for layer in layers
    )
    for found, expected in zip(rounded, exact, strict=True):
        # bfloat16 keeps 8 bits; what is left of sums of a few hundred products is a percent of their spread, and five
        # where the processor has no such instructions: there TensorFlow adds up in bfloat16 as well.
        off = 0.03 if training_policy("auto") == "mixed_bfloat16" else 0.1
        np.testing.assert_allclose(found.astype("float32"), expected, atol=off * expected.std())


@pytest.mark.parametrize(
    ("width", "dtype", "own"), [(8, "bfloat16", True), (9, "bfloat16", False), (8, "float32", False)]
)
def test_gradient_by_the_kernel_is_a_forward_convolution_in_bfloat16_on_narrow_images(monkeypatch, width, dtype, own):
    monkeypatch.setattr(layers, "gpu_capability", lambda: None)
    layer = SameConv(7, dtype={"bfloat16": "mixed_bfloat16"}.get(dtype, dtype))
    layer.build((3, 5, width, 6))

    @tf.function
    def by_kernel(inputs):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(inputs, training=True))
        return tape.gradient(total, layer.trainable_variables)

    graph = by_kernel.get_concrete_function(tf.TensorSpec((3, 5, width, 6), dtype)).graph
    assert ("Conv2DBackpropFilter" not in {operation.type for operation in graph.get_operations()}) is own


def test_same_conv_refuses_an_even_kernel():
    with pytest.raises(ValueError, match=r"odd kernel_size .* got 4"):
        SameConv(8, 4)
