"""A small residual CNN that learns fast on a CPU.

Standardization, a frozen stem of principal patches, then stages of [convolution, 2x2 max-pool if the stage has one,
batch norm, ReLU, residual blocks], a global max-pool and a scaled linear head. Several such trunks may stand on one
stem, each fitted for itself; their mean answers. Image size, channels and classes come from the data. Under the policy
"mixed_bfloat16" everything between standardization and head computes in bfloat16, with float32 weights.

Synopsis:

    stem = whitening_kernel(images, mean, variance, config.stem_size)
    model = build_model(config, (28, 28, 1), 10, mean, variance, stem, seed=0)
    model(images)                     # raw pixels, uint8 or float32 [batch, 28, 28, 1], to float32 [batch, trunks, 10]
    average_trunks(model)(images)     # float32 [batch, 10]
"""

import itertools

import keras
import numpy as np
from keras import layers

from models.config import NetworkConfig
from models.layers import Dirac, FusedNorm, SameConv

# Keras's Normalization divides by no less than this, so a constant pixel divides by no zero.
_SMALLEST_STD = 1e-7
_HEAD_SCALE = 1 / 9
_WHITENING_SAMPLE = 2000
_WHITENING_EPSILON = 1e-2


def spread_floor(variance: np.ndarray) -> np.ndarray:
    """Returns what `variance` is raised to where it is small: the average over all pixels.

    A border pixel varies by a tenth of a grey level; standardized, it jumps to hundreds of standard deviations as soon
    as an image reaches into it. Its spread is therefore damped as if it varied like the average pixel.
    """
    return np.maximum(variance, max(variance.mean(), _SMALLEST_STD**2))


def whitening_kernel(images: np.ndarray, mean: np.ndarray, variance: np.ndarray, size: int) -> np.ndarray:
    """Computes the kernel of the frozen stem: all principal patches, scaled to unit variance, with both signs.

    Source: airbench (arXiv:2404.00498), after Page's "How to train your ResNet".

    Args:
      images: uint8 [n, height, width, channels]; the first 2,000 are used.
      mean, variance: of each pixel, [height, width, channels].
      size: side of a patch.

    Returns:
      float32 [size, size, channels, 2 * size * size * channels], the strongest patch first, the negatives behind.
    """
    inputs = (images[:_WHITENING_SAMPLE] - mean) / np.sqrt(spread_floor(variance))
    windows = np.lib.stride_tricks.sliding_window_view(inputs, (size, size), axis=(1, 2))
    patches = np.moveaxis(windows, 3, -1).reshape(-1, size * size * inputs.shape[-1])
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    kernel = (vectors / np.sqrt(values + _WHITENING_EPSILON))[:, ::-1]
    kernel = kernel.reshape(size, size, inputs.shape[-1], -1)
    return np.concatenate([kernel, -kernel], axis=-1).astype(np.float32)


def build_model(
    config: NetworkConfig,
    input_shape: tuple[int, int, int],
    classes: int,
    mean: np.ndarray,
    variance: np.ndarray,
    stem: np.ndarray,
    *,
    seed: int,
    policy: str = "float32",
) -> keras.Model:
    """Builds an untrained model from raw pixels [batch, *input_shape] to logits float32 [batch, trunks, classes].

    Args:
      config: stages and number of trunks.
      input_shape: (height, width, channels).
      classes: number of classes.
      mean, variance: of each pixel over the training split, [height, width, channels]; the first layer standardizes
        with exactly these, the second damps what hardly ever varies (`spread_floor`).
      stem: kernel of the frozen first convolution, see `whitening_kernel`.
      seed: of the initial weights.
      policy: Keras's dtype policy between standardization and head; the weights are float32 under each.
    """
    seeds = itertools.count(seed * 1000)

    def conv(x, width: int):
        return SameConv(width, kernel_initializer=Dirac(next(seeds)), dtype=policy)(x)

    def norm_relu(x):
        return layers.Activation("relu", dtype=policy)(FusedNorm(dtype=policy)(x))

    def trunk(x):
        for width, blocks, pool in zip(config.widths, config.blocks, config.pools, strict=True):
            x = conv(x, width)
            if pool and min(x.shape[1:3]) > 1:
                # Before the norm: a quarter of its work.
                x = layers.MaxPooling2D(2, dtype=policy)(x)
            x = norm_relu(x)
            for _ in range(blocks):
                x = layers.Add(dtype=policy)([x, norm_relu(conv(x, width))])
        x = layers.GlobalMaxPooling2D(dtype=policy)(x)
        return layers.Dense(classes, use_bias=False, kernel_initializer=keras.initializers.HeNormal(next(seeds)))(x)

    inputs = keras.Input(input_shape, name="image")
    x = layers.Normalization(axis=(1, 2, 3), mean=mean, variance=variance, name="standardization")(inputs)
    damping = spread_floor(variance) / np.maximum(variance, _SMALLEST_STD**2)
    x = layers.Normalization(axis=(1, 2, 3), mean=np.zeros_like(mean), variance=damping, name="damping")(x)
    whitening = layers.Conv2D(stem.shape[-1], stem.shape[0], use_bias=False, trainable=False, dtype=policy, name="stem")
    x = layers.Activation("relu", dtype=policy)(whitening(x))
    whitening.set_weights([stem])
    heads = [layers.Reshape((1, classes))(trunk(x)) for _ in range(config.trunks)]
    x = layers.Concatenate(axis=1)(heads) if len(heads) > 1 else heads[0]
    return keras.Model(inputs, layers.Rescaling(_HEAD_SCALE, name="trunk_logits")(x))


def average_trunks(model: keras.Model) -> keras.Model:
    """Returns a model with the layers of `model` whose logits [batch, classes] are the mean of its trunks'."""
    return keras.Model(model.input, layers.GlobalAveragePooling1D(name="logits")(model.output))


def in_float32(model: keras.Model) -> keras.Model:
    """Returns a model with the weights of `model` that computes in float32 throughout."""

    def clone(layer: layers.Layer) -> layers.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    same = keras.models.clone_model(model, clone_function=clone)
    same.set_weights(model.get_weights())
    return same


def multiply_adds(model: keras.Model) -> int:
    """Returns the multiply-adds of the convolutions and dense layers for one image."""
    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            positions = int(np.prod(layer.output.shape[1:-1])) if len(kernel.shape) == 4 else 1
            total += positions * int(np.prod(kernel.shape))
    return total
