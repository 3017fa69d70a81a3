"""The network's own layers against Keras's, and the network as a function of its input."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.config import NetworkConfig
from models.network import FusedNorm, SameConv, build_model, in_float32, whitening_kernel

RNG = np.random.default_rng(0)
INPUTS = (RNG.normal(size=(6, 5, 4, 3)) * [1, 5, 0.1] + [0, 10, -3]).astype("float32")
UPSTREAM = RNG.normal(size=INPUTS.shape).astype("float32")
BATCH = RNG.integers(0, 256, (3, 28, 28, 1)).astype("float32")


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
    results = [gradients(layer, INPUTS, upstream) for layer in (ours, theirs)]
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


@pytest.mark.parametrize("width", [4, 12], ids=["matrix products", "oneDNN's kernel"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_same_conv_in_bfloat16_has_the_gradients_of_float32(width, size):
    inputs, upstream = (RNG.normal(size=(3, 5, width, channels)).astype("float32") for channels in (6, 7))
    layers = [SameConv(7, size, dtype=policy) for policy in ("float32", "mixed_bfloat16")]
    for layer in layers:
        layer.build(inputs.shape)
    layers[1].set_weights(layers[0].get_weights())
    exact, rounded = (gradients(layer, inputs, tf.cast(upstream, layer.compute_dtype)) for layer in layers)
    for found, expected in zip(rounded, exact, strict=True):
        # bfloat16 keeps 8 bits; what is left of sums of a few hundred products is a percent of their spread.
        np.testing.assert_allclose(found.astype("float32"), expected, atol=0.03 * expected.std())


def test_same_conv_refuses_an_even_kernel():
    with pytest.raises(ValueError, match=r"odd kernel_size .* got 4"):
        SameConv(8, 4)


def network(shape=(28, 28, 1), classes=10, mean=0.0, variance=1.0, seed=0, policy="float32") -> keras.Model:
    """Returns a network with a random stem; `mean` and `variance` are numbers or images."""
    mean, variance = (np.broadcast_to(np.float64(value), shape) for value in (mean, variance))
    stem = np.random.default_rng(7).normal(0, 0.5, (2, 2, shape[-1], 8)).astype("float32")
    return build_model(NetworkConfig(), shape, classes, mean, variance, stem, seed=seed, policy=policy)


@pytest.fixture(scope="module")
def plain_model() -> keras.Model:
    """A network that standardizes with mean 0 and variance 1: its input goes in as it is."""
    return network()


def test_pixels_are_standardized_by_the_moments_given(plain_model):
    mean = RNG.uniform(0, 255, (28, 28, 1))
    model = network(mean=mean, variance=90.0**2)
    np.testing.assert_allclose(model(BATCH), plain_model((BATCH - mean) / 90.0), rtol=1e-3, atol=1e-4)


def test_first_layer_gives_numpys_standard_scores_where_a_pixel_varies():
    mean, variance = RNG.uniform(0, 255, (28, 28, 1)), RNG.uniform(0.01, 9_000, (28, 28, 1))
    model = network(mean=mean, variance=variance)
    first = keras.Model(model.input, model.get_layer("standardization").output)
    np.testing.assert_allclose(first(BATCH), (BATCH - mean) / np.sqrt(variance), rtol=1e-4, atol=1e-4)


def test_variance_below_the_average_is_raised_to_it(plain_model):
    """A pixel that is hardly ever lit must not reach hundreds of standard deviations."""
    variance = np.full((28, 28, 1), 100.0)
    variance[0, 0] = 0.0
    variance[5, 5] = 900.0
    model = network(mean=50.0, variance=variance)
    expected = plain_model((BATCH - 50.0) / np.sqrt(np.maximum(variance, variance.mean())))
    np.testing.assert_allclose(model(BATCH), expected, rtol=1e-3, atol=1e-4)


def test_stem_whitens_the_patches_of_the_images_and_gives_both_signs(fashion_images):
    images = fashion_images[:200, ..., None]
    mean, variance = np.full((28, 28, 1), 73.0), np.full((28, 28, 1), 8_100.0)
    kernel = whitening_kernel(images, mean, variance, NetworkConfig(stem=12, stem_size=4))
    assert kernel.shape == (4, 4, 1, 12)
    np.testing.assert_array_equal(kernel[..., 6:], -kernel[..., :6])
    outputs = tf.nn.conv2d(((images - 73.0) / 90.0).astype("float32"), kernel[..., :6], 1, "VALID").numpy()
    outputs = outputs.reshape(-1, 6).astype(np.float64)
    second_moments = outputs.T @ outputs / len(outputs)
    np.testing.assert_allclose(second_moments - np.diag(np.diag(second_moments)), 0, atol=1e-3)
    # The epsilon of 0.01 takes a little off the weaker ones; the strongest patch has a variance of about ten.
    assert np.diag(second_moments).max() == pytest.approx(1, abs=0.01)
    assert np.diag(second_moments).min() > 0.8


def test_stem_is_not_trained(plain_model):
    assert plain_model.get_layer("stem").weights
    assert not plain_model.get_layer("stem").trainable_weights


@pytest.mark.parametrize(
    ("shape", "classes"), [((28, 28, 1), 10), ((20, 24, 3), 7), ((17, 9, 1), 2), ((5, 4, 1), 3)], ids=str
)
def test_logits_have_one_column_a_class_for_any_image_size(shape, classes):
    model = network(shape, classes)
    logits = model(RNG.integers(0, 256, (5, *shape), np.uint8))
    assert model.output_shape == (None, classes)
    assert logits.shape == (5, classes)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()
    assert np.std(logits, axis=0).min() > 0


def test_uint8_and_float32_pixels_give_the_same_logits(plain_model):
    np.testing.assert_allclose(plain_model(BATCH.astype(np.uint8)), plain_model(BATCH), rtol=1e-5)


def test_each_image_is_classified_on_its_own(plain_model):
    together = plain_model(BATCH).numpy()
    for image, logits in zip(BATCH, together, strict=True):
        np.testing.assert_allclose(plain_model(image[None])[0], logits, rtol=1e-3, atol=1e-3)


def test_seed_decides_the_initial_weights(plain_model):
    assert all(
        np.array_equal(one, same) for one, same in zip(plain_model.get_weights(), network().get_weights(), strict=True)
    )
    assert not np.allclose(plain_model(BATCH), network(seed=1)(BATCH))


def test_saved_model_gives_the_same_logits(plain_model, tmp_path):
    plain_model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(BATCH), plain_model(BATCH), rtol=1e-5)


def test_network_in_bfloat16_has_float32_weights_and_logits_near_those_of_float32():
    rounded = network(mean=73.0, variance=8_100.0, policy="mixed_bfloat16")
    assert {weight.dtype for weight in rounded.weights} == {"float32"}
    exact = in_float32(rounded)
    assert {layer.compute_dtype for layer in exact.layers} == {"float32"}
    for weight, same in zip(exact.get_weights(), rounded.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)
    built = network(mean=73.0, variance=8_100.0)
    np.testing.assert_allclose(exact(BATCH), built(BATCH), rtol=1e-5, atol=1e-6)
    assert rounded(BATCH).dtype == tf.float32
    assert not np.allclose(rounded(BATCH), exact(BATCH), rtol=1e-5, atol=1e-6), "it does compute in bfloat16"
    np.testing.assert_allclose(rounded(BATCH), exact(BATCH), atol=0.05 * np.std(exact(BATCH)))


def test_stages_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"expected one length, found 2 and 3"):
        NetworkConfig(widths=(8, 8), blocks=(0, 0, 0))


def test_network_learns_a_dozen_images_by_heart(fashion_images, fashion_labels):
    images, labels = fashion_images[:12, ..., None], fashion_labels[:12]
    model = network(mean=73.0, variance=8_100.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, 0.9), loss, jit_compile=False)
    for _ in range(25):
        model.train_on_batch(images, labels)
    assert np.argmax(model(images), axis=-1).tolist() == labels.tolist()
