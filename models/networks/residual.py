"""A small residual CNN that learns fast on a CPU.

Standardization, a frozen stem of principal patches, then stages of [convolution, 2x2 max-pool if the stage has one,
batch norm, ReLU, residual blocks], a global max-pool and a scaled linear head. Several such members may stand on one
stem, each fitted for itself; their mean answers. Image size, channels and classes come from the data; the stem brings
images of 56 pixels and more to the resolution of smaller ones (`stem_of`). Under the policy "mixed_bfloat16" everything
between standardization and head computes in bfloat16, with float32 weights.

Synopsis:

    model = build(NetworkConfig(members=3), inputs, seed=0)      # inputs: NetworkInputs
    model(images)                                               # [batch, 28, 28, 1] to logits, float32 [batch, 10]
"""

import dataclasses
import itertools
import math

import keras
import numpy as np
from keras import layers

from models.config import NetworkConfig
from models.memory import MIB, rows_within
from models.networks.ensemble import ensemble
from models.networks.layers import Dirac, FusedNorm, SameConv, spread_floor, standardized
from models.networks.registry import NetworkInputs, network

_HEAD_SCALE = 1 / 9
_WHITENING_SAMPLE = 2000
_WHITENING_EPSILON = 1e-2
# Of the patches that are held at a time; all 2,000 images of Fashion-MNIST have 47 MB of them.
_PATCH_BYTES = 256 * MIB
# Side that the stem brings larger images to, 27 to 40 positions, and the stride of patches from which on blocks are
# averaged beforehand, since the cost of patches grows with their area.
_SIDE, _LARGEST_STRIDE = 28, 4
# Side from which on a stage with a pool halves it.
_POOLED = 4
# Patches with both signs that are kept of larger images, or as many as small ones have; more tell less (docs/LOG.md).
_STEM_CHANNELS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stem:
    """How an image comes to the first stage: a function of its shape and the config alone.

    Attributes:
      block: side of the blocks that are averaged first.
      patch: (height, width) of the principal patches, in blocks.
      stride: from one patch to the next, in blocks.
      channels: patches that are kept, with both signs.
    """

    block: int
    patch: tuple[int, int]
    stride: int
    channels: int


def stem_of(config: NetworkConfig, input_shape: tuple[int, int, int]) -> Stem:
    """Returns the stem for images (height, width, channels).

    Below 56 pixels a side patches of `config.stem_size` begin at each pixel; larger images have larger ones, a stride
    apart, and from 224 pixels on they are made of the averages of blocks.
    """
    height, width, channels = input_shape
    block = max(1, min(math.isqrt(height * width) // (_SIDE * _LARGEST_STRIDE), height, width))
    sides = height // block, width // block
    stride = max(1, math.isqrt(math.prod(sides)) // _SIDE)
    patch = tuple(min(side, config.stem_size * stride) for side in sides)
    most = max(_STEM_CHANNELS, 2 * config.stem_size**2 * channels)
    return Stem(block=block, patch=patch, stride=stride, channels=min(2 * math.prod(patch) * channels, most))


def whitening_kernel(images: np.ndarray, mean: np.ndarray, variance: np.ndarray, stem: Stem) -> np.ndarray:
    """Computes the kernel of the frozen stem: the principal patches, scaled to unit variance, with both signs.

    Source: airbench (arXiv:2404.00498), after Page's "How to train your ResNet".

    Args:
      images: uint8 [n, height, width, channels]; the first 2,000 are used, or fewer where they are large.
      mean, variance: of each pixel, [height, width, channels].
      stem: as `stem_of` gives it.

    Returns:
      float32 [*stem.patch, channels, stem.channels], the strongest patch first, the negatives behind.
    """
    images, spread = images[:_WHITENING_SAMPLE], np.sqrt(spread_floor(variance))
    height, width, channels = mean.shape
    rows, columns = height // stem.block, width // stem.block
    values = math.prod(stem.patch) * channels
    values_of_image = max(mean.size, rows * columns * values // stem.stride**2)
    block = rows_within(_PATCH_BYTES, values_of_image * 8, most=_WHITENING_SAMPLE)
    products, count = 0, 0
    for start in range(0, len(images), block):
        inputs = (images[start : start + block] - mean) / spread
        if stem.block > 1:
            inputs = inputs[:, : rows * stem.block, : columns * stem.block]
            inputs = inputs.reshape(-1, rows, stem.block, columns, stem.block, channels).mean(axis=(2, 4))
        windows = np.lib.stride_tricks.sliding_window_view(inputs, stem.patch, axis=(1, 2))
        windows = windows[:, :: stem.stride, :: stem.stride]
        patches = np.moveaxis(windows, 3, -1).reshape(-1, values)
        products, count = products + patches.T @ patches, count + len(patches)
    values, vectors = np.linalg.eigh(products / count)
    kernel = (vectors / np.sqrt(values + _WHITENING_EPSILON))[:, ::-1]
    kernel = kernel[:, : stem.channels // 2].reshape(*stem.patch, channels, -1)
    return np.concatenate([kernel, -kernel], axis=-1).astype(np.float32)


@network("residual")
def build(config: NetworkConfig, inputs: NetworkInputs, *, seed: int, policy: str = "float32") -> keras.Model:
    """Builds an untrained network; arguments and result as in `build_network`.

    The principal patches of the sample, as they are once standardized, are the stem.
    """
    seeds = itertools.count(seed * 1000)

    def conv(x, width: int):
        options = {"use_bias": not config.norm, "dtype": policy}
        return SameConv(width, kernel_initializer=Dirac(next(seeds)), **options)(x)

    def norm_relu(x):
        return layers.Activation("relu", dtype=policy)(FusedNorm(dtype=policy)(x) if config.norm else x)

    def member(x):
        for width, blocks, pool in zip(config.widths, config.blocks, config.pools, strict=True):
            x = conv(x, width)
            halved = tuple(2 if side >= _POOLED and pool else 1 for side in x.shape[1:3])
            if max(halved) > 1:
                # Before the norm: a quarter of its work.
                x = layers.MaxPooling2D(halved, dtype=policy)(x)
            x = norm_relu(x)
            for _ in range(blocks):
                x = layers.Add(dtype=policy)([x, norm_relu(conv(x, width))])
        x = layers.GlobalMaxPooling2D(dtype=policy)(x)
        if config.dropout:
            x = layers.Dropout(config.dropout, seed=next(seeds), dtype=policy)(x)
        head = keras.initializers.HeNormal(next(seeds))
        x = layers.Dense(inputs.classes, use_bias=False, kernel_initializer=head)(x)
        # The name by which TensorBoard's graph has the last layer, of an ensemble as well.
        return layers.Rescaling(_HEAD_SCALE, name="logits" if config.members == 1 else None)(x)

    mean, variance = inputs.mean, inputs.variance
    images = keras.Input(inputs.input_shape, name="image")
    x = standardized(images, mean, variance)
    shape = stem_of(config, inputs.input_shape)
    if shape.block > 1:
        x = layers.AveragePooling2D(shape.block, name="blocks")(x)
    options = {"use_bias": False, "trainable": False, "dtype": policy, "name": "stem"}
    stem = layers.Conv2D(shape.channels, shape.patch, shape.stride, **options)
    x = layers.Activation("relu", dtype=policy)(stem(x))
    stem.set_weights([whitening_kernel(inputs.sample, mean, variance, shape)])
    return keras.Model(images, ensemble([member(x) for _ in range(config.members)]))
