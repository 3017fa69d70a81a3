"""The residual network as a function of its input, its weights and its precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.config import NetworkConfig
from models.graph_summary import multiply_adds
from models.networks import NetworkInputs, build_network, residual
from models.networks.layers import FusedNorm
from models.networks.residual import Stem, stem_of, whitening_kernel

ONE_MEMBER = NetworkConfig()
RNG = np.random.default_rng(0)
BATCH = RNG.integers(0, 256, (3, 28, 28, 1)).astype("float32")


def network(shape=(28, 28, 1), classes=10, mean=0.0, variance=1.0, config=ONE_MEMBER, **options) -> keras.Model:
    """Returns a network with a random stem; `mean` and `variance` are numbers or images."""
    mean, variance = (np.broadcast_to(np.float64(value), shape) for value in (mean, variance))
    sample = np.zeros((1, *shape), np.uint8)
    inputs = NetworkInputs(input_shape=shape, classes=classes, mean=mean, variance=variance, sample=sample)
    model = build_network(config, inputs, **{"seed": 0, **options})
    stem = model.get_layer("stem")
    stem.set_weights([np.random.default_rng(7).normal(0, 0.5, stem.kernel.shape).astype("float32")])
    return model


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
    kernel = whitening_kernel(images, mean, variance, Stem(block=1, patch=(4, 4), stride=1, channels=32))
    assert kernel.shape == (4, 4, 1, 32)
    np.testing.assert_array_equal(kernel[..., 16:], -kernel[..., :16])
    outputs = tf.nn.conv2d(((images - 73.0) / 90.0).astype("float32"), kernel[..., :6], 1, "VALID").numpy()
    outputs = outputs.reshape(-1, 6).astype(np.float64)
    second_moments = outputs.T @ outputs / len(outputs)
    np.testing.assert_allclose(second_moments - np.diag(np.diag(second_moments)), 0, atol=1e-3)
    # The epsilon of 0.01 takes a little off the weaker ones; the strongest patch has a variance of about ten.
    assert np.diag(second_moments).max() == pytest.approx(1, abs=0.01)
    assert np.diag(second_moments).min() > 0.8


def test_stem_of_large_images_is_that_of_all_their_patches_taken_block_by_block(monkeypatch):
    images = RNG.integers(0, 256, (7, 9, 8, 2)).astype(np.uint8)
    mean, variance = images.mean(axis=0), images.astype(float).var(axis=0)
    stem = Stem(block=1, patch=(3, 3), stride=1, channels=36)
    whole = whitening_kernel(images, mean, variance, stem)
    # Three images: 9x8 positions of 3x3x2 values of 8 bytes each.
    monkeypatch.setattr(residual, "_PATCH_BYTES", 3 * 72 * 18 * 8)
    parts = whitening_kernel(images, mean, variance, stem)
    np.testing.assert_allclose(np.abs(parts), np.abs(whole), rtol=1e-4, atol=1e-6)


def test_stem_is_made_of_the_sample_s_patches_as_the_first_layers_pass_them_on(fashion_images):
    images = fashion_images[:200, ..., None]
    moments = {"mean": np.full((28, 28, 1), 73.0), "variance": np.full((28, 28, 1), 8_100.0)}
    inputs = NetworkInputs(input_shape=(28, 28, 1), classes=10, sample=images, **moments)
    model = build_network(NetworkConfig(stem_size=3), inputs, seed=0)
    stem = Stem(block=1, patch=(3, 3), stride=1, channels=18)
    np.testing.assert_array_equal(model.get_layer("stem").kernel, whitening_kernel(images, **moments, stem=stem))


@pytest.mark.parametrize(
    ("shape", "stem_size", "expected"),
    [
        ((28, 28, 1), 2, Stem(block=1, patch=(2, 2), stride=1, channels=8)),
        ((28, 28, 1), 4, Stem(block=1, patch=(4, 4), stride=1, channels=32)),
        ((55, 55, 3), 2, Stem(block=1, patch=(2, 2), stride=1, channels=24)),
        ((56, 56, 1), 2, Stem(block=1, patch=(4, 4), stride=2, channels=32)),
        ((96, 96, 3), 2, Stem(block=1, patch=(6, 6), stride=3, channels=32)),  # of 216
        ((224, 224, 3), 2, Stem(block=2, patch=(8, 8), stride=4, channels=32)),
        ((224, 224, 3), 1, Stem(block=2, patch=(4, 4), stride=4, channels=32)),
        ((2_000, 3_000, 3), 2, Stem(block=21, patch=(8, 8), stride=4, channels=32)),
        ((96, 96, 12), 2, Stem(block=1, patch=(6, 6), stride=3, channels=96)),  # as many as 28x28x12 has
        ((1, 50, 1), 2, Stem(block=1, patch=(1, 2), stride=1, channels=4)),
        ((1, 1, 1), 2, Stem(block=1, patch=(1, 1), stride=1, channels=2)),
        ((1, 100_000, 1), 2, Stem(block=1, patch=(1, 22), stride=11, channels=32)),
    ],
    ids=str,
)
def test_stem_follows_from_the_shape_of_the_images_and_the_config(shape, stem_size, expected):
    assert stem_of(NetworkConfig(stem_size=stem_size), shape) == expected


def test_first_stage_sees_any_larger_image_at_26_to_54_positions_a_side():
    for side in range(28, 2_000):
        stem = stem_of(ONE_MEMBER, (side, side, 3))
        assert 26 <= (side // stem.block - stem.patch[0]) // stem.stride + 1 <= 54


def test_capped_stem_has_the_strongest_patches_of_blocks_a_stride_apart(fashion_images):
    """Against a decomposition of patches that loops cut out."""
    images = fashion_images[:50, ..., None].repeat(2, axis=1).repeat(2, axis=2)
    moments = {"mean": np.full((56, 56, 1), 73.0), "variance": np.full((56, 56, 1), 8_100.0)}
    stem = Stem(block=2, patch=(4, 3), stride=3, channels=10)
    kernel = whitening_kernel(images, **moments, stem=stem)
    assert kernel.shape == (4, 3, 1, 10)
    blocks = (fashion_images[:50] - 73.0) / 90.0
    cut = [blocks[:, row : row + 4, column : column + 3] for row in range(0, 25, 3) for column in range(0, 26, 3)]
    patches = np.stack(cut, axis=1).reshape(-1, 12)
    _, scales, directions = np.linalg.svd(patches, full_matrices=False)
    variances = scales**2 / len(patches)
    expected = directions[:5] / np.sqrt(variances[:5, None] + 0.01)
    found = kernel[..., :5].reshape(12, 5).T
    signs = np.sign((found * expected).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, expected * signs, rtol=1e-3, atol=1e-4)


def test_large_image_costs_at_most_four_times_a_small_one():
    small = multiply_adds(network((28, 28, 1)), (28, 28, 1))
    for shape in ((64, 64, 3), (224, 224, 3), (512, 512, 3)):
        # A sixty-fourth of the positions of 224x224; three times as many channels to begin with.
        assert multiply_adds(network(shape), shape) < 4 * small


def test_stem_is_not_trained(plain_model):
    assert plain_model.get_layer("stem").weights
    assert not plain_model.get_layer("stem").trainable_weights


@pytest.mark.parametrize(
    ("shape", "classes"),
    [
        ((28, 28, 1), 10),
        ((20, 24, 3), 7),
        ((17, 9, 1), 2),
        ((5, 4, 1), 3),
        ((8, 8, 1), 10),
        ((4, 4, 2), 2),
        ((2, 2, 1), 2),
        ((1, 30, 6), 4),
        ((30, 1, 1), 300),
        ((120, 90, 4), 5),
        ((226, 224, 3), 5),
    ],
    ids=str,
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
    exact = network(mean=73.0, variance=8_100.0)
    assert {layer.compute_dtype for layer in exact.layers} == {"float32"}
    for weight, same in zip(exact.get_weights(), rounded.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)
    assert rounded(BATCH).dtype == tf.float32
    assert not np.allclose(rounded(BATCH), exact(BATCH), rtol=1e-5, atol=1e-6), "it does compute in bfloat16"
    np.testing.assert_allclose(rounded(BATCH), exact(BATCH), atol=0.05 * np.std(exact(BATCH)))


def test_logits_are_the_mean_of_members_that_begin_differently():
    model = network(mean=73.0, variance=8_100.0, config=NetworkConfig(members=3))
    members = keras.Model(model.input, model.get_layer("member_logits").output)(BATCH).numpy()
    assert members.shape == (3, 3, 10)
    np.testing.assert_allclose(model(BATCH), members.mean(axis=1), rtol=1e-5)
    assert np.std(members, axis=1).min() > 0
    first = network(mean=73.0, variance=8_100.0)
    np.testing.assert_allclose(members[:, 0], first(BATCH), rtol=1e-5)


def test_only_a_stage_with_a_pool_halves_the_resolution():
    config = NetworkConfig(widths=(4, 6, 8), blocks=(0, 0, 0), pools=(False, True, False))
    norms = [layer.output.shape[1:] for layer in network(config=config).layers if isinstance(layer, FusedNorm)]
    assert norms == [(27, 27, 4), (13, 13, 6), (13, 13, 8)]


@pytest.mark.slow
def test_network_learns_a_dozen_images_by_heart(fashion_images, fashion_labels):
    images, labels = fashion_images[:12, ..., None], fashion_labels[:12]
    model = network(mean=73.0, variance=8_100.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, 0.9), loss, jit_compile=False)
    for _ in range(25):
        model.train_on_batch(images, labels)
    assert np.argmax(model(images), axis=-1).tolist() == labels.tolist()
