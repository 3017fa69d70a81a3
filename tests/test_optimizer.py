"""Muon against singular value decompositions and recurrences in float64."""

import keras
import numpy as np
import pytest

from models.optimizer import Muon, orthogonalize


def newton_schulz(singular: np.ndarray, steps: int) -> np.ndarray:
    """What the quintic of the Muon paper does to singular values, one number at a time."""
    x = singular / np.sqrt((singular**2).sum())
    for _ in range(steps):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    return x


@pytest.fixture(params=[(12, 5), (5, 12), (8, 8)], ids=str)
def factors(request) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U [rows, n], singular values [n] between 0.5 and 1, V [columns, n]."""
    rows, columns = request.param
    rng = np.random.default_rng(0)
    size = min(rows, columns)
    left = np.linalg.qr(rng.normal(size=(rows, size)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, size)))[0]
    return left, np.linspace(0.5, 1, size), right


def orthogonal(matrix: np.ndarray, steps: int) -> np.ndarray:
    return np.asarray(orthogonalize(keras.ops.convert_to_tensor(matrix.astype("float32")), steps), np.float64)


@pytest.mark.parametrize("steps", [3, 5])
def test_orthogonalize_keeps_the_singular_vectors_and_brings_the_values_near_one(factors, steps):
    left, singular, right = factors
    found = orthogonal(left * singular @ right.T, steps)
    in_their_basis = left.T @ found @ right
    values = np.diag(in_their_basis)
    np.testing.assert_allclose(in_their_basis - np.diag(values), 0, atol=2e-3)
    assert values.min() > 0.6
    assert values.max() < 1.3
    np.testing.assert_allclose(found, left @ (left.T @ found @ right) @ right.T, atol=2e-3)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_orthogonalize_applies_the_quintic_to_each_singular_value(factors, steps):
    left, singular, right = factors
    expected = left * newton_schulz(singular, steps) @ right.T
    np.testing.assert_allclose(orthogonal(left * singular @ right.T, steps), expected, atol=1e-3)


def test_orthogonalize_does_not_depend_on_the_scale_and_bears_zeros(factors):
    left, singular, right = factors
    matrix = left * singular @ right.T
    np.testing.assert_allclose(orthogonal(1e4 * matrix, 3), orthogonal(matrix, 3), atol=1e-3)
    assert not orthogonal(0 * matrix, 3).any()


def variable(values: np.ndarray) -> keras.Variable:
    return keras.Variable(values.astype("float32"))


@pytest.fixture
def kernel() -> keras.Variable:
    return variable(np.random.default_rng(0).normal(size=(3, 3, 4, 8)))


def test_kernel_is_kept_at_frobenius_norm_root_of_its_outputs(kernel):
    gradient = np.random.default_rng(1).normal(size=kernel.shape).astype("float32")
    before = kernel.numpy()
    optimizer = Muon(learning_rate=0.0)
    optimizer.apply([gradient], [kernel])
    np.testing.assert_allclose(np.linalg.norm(kernel.numpy()), 8**0.5, rtol=1e-5)
    np.testing.assert_allclose(kernel.numpy(), before * 8**0.5 / np.linalg.norm(before), rtol=1e-4, atol=1e-6)


def test_kernel_moves_against_the_orthogonalized_gradient(kernel):
    gradient = np.random.default_rng(1).normal(size=kernel.shape).astype("float32")
    start = kernel.numpy().astype(np.float64)
    start *= 8**0.5 / np.linalg.norm(start)
    Muon(learning_rate=0.05).apply([gradient], [kernel])
    left, singular, right = np.linalg.svd(gradient.reshape(36, 8).astype(np.float64), full_matrices=False)
    update = (left * newton_schulz(singular, 3) @ right).reshape(kernel.shape)
    np.testing.assert_allclose(kernel.numpy(), start - 0.05 * update, atol=1e-4)


def test_newton_schulz_in_bfloat16_moves_a_kernel_as_in_float32(kernel):
    gradient = np.random.default_rng(1).normal(size=kernel.shape).astype("float32")
    start = kernel.numpy() * 8**0.5 / np.linalg.norm(kernel.numpy())
    rounded = variable(kernel.numpy())
    for weight, dtype in ((kernel, "float32"), (rounded, "bfloat16")):
        Muon(learning_rate=0.05, newton_schulz_dtype=dtype).apply([gradient], [weight])
    exact = kernel.numpy() - start
    # Each step multiplies small singular values, and what was rounded off beside them, by up to 3.4.
    assert 0 < np.linalg.norm(rounded.numpy() - start - exact) < 0.05 * np.linalg.norm(exact)


@pytest.mark.parametrize(("shape", "ratio"), [((4,), "bias_ratio"), ((4, 3), "head_ratio")], ids=["bias", "head"])
def test_bias_and_head_follow_nesterov_momentum_at_their_own_rate(shape, ratio):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=shape), rng.normal(size=(4, *shape))
    weight = variable(start)
    optimizer = Muon(learning_rate=0.1, sgd_momentum=0.5, **{"bias_ratio": 7.0, "head_ratio": 7.0, ratio: 2.0})
    expected, velocity = start, np.zeros(shape)
    for gradient in gradients:
        optimizer.apply([gradient.astype("float32")], [weight])
        velocity = 0.5 * velocity + gradient
        expected = expected - 0.1 * 2.0 * (gradient + 0.5 * velocity)
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_momentum_of_a_kernel_averages_opposite_gradients_away(kernel):
    """With momentum 1 the second velocity is zero, and Nesterov's step is the second gradient alone."""
    gradient = np.random.default_rng(1).normal(size=kernel.shape).astype("float32")
    optimizer = Muon(learning_rate=0.05, momentum=1.0)
    optimizer.apply([gradient], [kernel])
    middle = kernel.numpy() * 8**0.5 / np.linalg.norm(kernel.numpy())
    optimizer.apply([-gradient], [kernel])
    left, singular, right = np.linalg.svd(gradient.reshape(36, 8).astype(np.float64), full_matrices=False)
    update = (left * newton_schulz(singular, 3) @ right).reshape(kernel.shape)
    np.testing.assert_allclose(kernel.numpy(), middle + 0.05 * update, atol=1e-4)


def test_settings_survive_saving():
    before = Muon(learning_rate=0.2, momentum=0.3, sgd_momentum=0.4, bias_ratio=5.0, head_ratio=6.0)
    after = keras.optimizers.deserialize(keras.optimizers.serialize(before))
    for name in ("momentum", "sgd_momentum", "bias_ratio", "head_ratio"):
        assert getattr(after, name) == getattr(before, name)
    assert float(after.learning_rate) == pytest.approx(0.2)
