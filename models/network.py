"""A small residual CNN that learns fast on a CPU.

Standardization, a frozen stem of principal patches, then stages of [convolution, 2x2 max-pool, batch norm, ReLU,
residual blocks], a global max-pool and a scaled linear head. Image size, channels and classes come from the data. Under
the policy "mixed_bfloat16" everything between standardization and head computes in bfloat16, with float32 weights.

Two layers exist only for speed on a CPU and compute what Keras's own compute: `SameConv` takes its gradients as forward
convolutions and matrix products, `FusedNorm` calls TensorFlow's fused batch norm.

Synopsis:

    stem = whitening_kernel(images, mean, variance, config)
    model = build_model(config, (28, 28, 1), 10, mean, variance, stem, seed=0)
    logits = model(images)      # images: uint8 or float32 [batch, 28, 28, 1], raw pixels; logits: float32 [batch, 10]
"""

import itertools

import keras
import numpy as np
import tensorflow as tf

from models.config import NetworkConfig

layers = keras.layers

# Keras's Normalization divides by no less than this, so a constant pixel divides by no zero.
_SMALLEST_STD = 1e-7
_NORM_MOMENTUM = 0.7
_HEAD_SCALE = 1 / 9
# Pixels a row up to which bfloat16 matrix products are faster than oneDNN's kernel (docs/LOG.md).
_NARROW = 8
_WHITENING_SAMPLE = 2000
_WHITENING_EPSILON = 1e-2


@keras.saving.register_keras_serializable("fashion")
class Dirac(keras.initializers.Initializer):
    """Identity on the first channels, He-uniform on the rest: the network begins by passing its input on.

    Source: airbench (Jordan 2024, arXiv:2404.00498).
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, shape, dtype=None):
        rows, columns, inputs, outputs = shape
        kernel = np.array(keras.initializers.HeUniform(self.seed)(shape, dtype))
        diagonal = np.arange(min(inputs, outputs))
        kernel[..., diagonal] = 0
        kernel[rows // 2, columns // 2, diagonal, diagonal] = 1
        return keras.ops.convert_to_tensor(kernel, dtype)

    def get_config(self) -> dict:
        return {"seed": self.seed}


@tf.custom_gradient
def _same_conv(inputs: tf.Tensor, kernel: tf.Tensor):
    """Stride-1 'same' convolution with an odd kernel, `inputs` and `kernel` of one dtype.

    On AVX2 oneDNN's kernel for the input gradient reaches a third of the forward one's speed; the gradient is a forward
    convolution with the flipped kernel. Its bfloat16 kernel for the gradient by the kernel loses half of its speed on
    narrow images; there it is a matrix product for each position of the kernel.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        flipped = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
        if inputs.dtype == tf.bfloat16 and inputs.shape[2] <= _NARROW:
            to_kernel = _kernel_gradient(inputs, upstream, kernel.shape)
        else:
            to_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=inputs, filter_sizes=kernel.shape, out_backprop=upstream, strides=[1, 1, 1, 1], padding="SAME"
            )
        return tf.nn.conv2d(upstream, flipped, 1, "SAME"), to_kernel

    return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradient


def _kernel_gradient(inputs: tf.Tensor, upstream: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Returns the gradient of a 'same' convolution by its kernel of `shape`: inputs, moved, times upstream."""
    rows, columns, channels, filters = shape
    height, width = inputs.shape[1:3]
    padded = tf.pad(inputs, [[0, 0], [rows // 2] * 2, [columns // 2] * 2, [0, 0]])
    upstream = tf.reshape(upstream, [-1, filters])
    products = [
        tf.matmul(
            tf.reshape(padded[:, row : row + height, column : column + width], [-1, channels]),
            upstream,
            transpose_a=True,
        )
        for row in range(rows)
        for column in range(columns)
    ]
    return tf.reshape(tf.stack(products), shape)


@keras.saving.register_keras_serializable("fashion")
class SameConv(keras.layers.Layer):
    """`keras.layers.Conv2D(filters, kernel_size, padding="same", use_bias=False)` with a cheaper input gradient."""

    def __init__(self, filters: int, kernel_size: int = 3, kernel_initializer="he_normal", **kwargs) -> None:
        super().__init__(**kwargs)
        if kernel_size % 2 == 0:
            raise ValueError(
                f"SameConv needs an odd kernel_size (the flipped kernel must be centred), got {kernel_size}."
            )
        self.filters, self.kernel_size = filters, kernel_size
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape) -> None:
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return _same_conv(inputs, tf.cast(tf.convert_to_tensor(self.kernel), inputs.dtype))

    def compute_output_shape(self, input_shape) -> tuple:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("fashion")
class FusedNorm(keras.layers.Layer):
    """Batch normalization without scale, through TensorFlow's fused kernel, which Keras 3 never uses."""

    def __init__(self, momentum: float = _NORM_MOMENTUM, epsilon: float = 1e-3, **kwargs) -> None:
        super().__init__(**kwargs)
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, input_shape) -> None:
        def add(name: str, initializer: str, trainable: bool):
            # The fused kernel takes its parameters in float32, whatever it normalizes.
            return self.add_weight(
                shape=(input_shape[-1],), initializer=initializer, trainable=trainable, autocast=False, name=name
            )

        self.bias = add("bias", "zeros", True)
        self.moving_mean = add("moving_mean", "zeros", False)
        self.moving_variance = add("moving_variance", "ones", False)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        moving = () if training else (self.moving_mean, self.moving_variance)
        mean, variance = (tf.convert_to_tensor(value) for value in moving) if moving else ([], [])
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.ones_like(self.bias),
            offset=tf.convert_to_tensor(self.bias),
            mean=mean,
            variance=variance,
            epsilon=self.epsilon,
            is_training=bool(training),
        )
        if training:
            keep = self.momentum
            self.moving_mean.assign(keep * self.moving_mean + (1 - keep) * mean)
            self.moving_variance.assign(keep * self.moving_variance + (1 - keep) * variance)
        return outputs

    def compute_output_shape(self, input_shape) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


def spread_floor(variance: np.ndarray) -> np.ndarray:
    """Returns what `variance` is raised to where it is small: the average over all pixels.

    A border pixel varies by a tenth of a grey level; standardized, it jumps to hundreds of standard deviations as soon
    as an image reaches into it. Its spread is therefore damped as if it varied like the average pixel.
    """
    return np.maximum(variance, max(variance.mean(), _SMALLEST_STD**2))


def whitening_kernel(images: np.ndarray, mean: np.ndarray, variance: np.ndarray, config: NetworkConfig) -> np.ndarray:
    """Computes the kernel of the frozen stem: leading principal patches, scaled to unit variance, with both signs.

    Source: airbench (arXiv:2404.00498), after Page's "How to train your ResNet".

    Args:
      images: uint8 [n, height, width, channels]; the first 2,000 are used.
      mean, variance: of each pixel, [height, width, channels].
      config: `stem` and `stem_size`.

    Returns:
      float32 [stem_size, stem_size, channels, stem].
    """
    size = config.stem_size
    inputs = (images[:_WHITENING_SAMPLE] - mean) / np.sqrt(spread_floor(variance))
    windows = np.lib.stride_tricks.sliding_window_view(inputs, (size, size), axis=(1, 2))
    patches = np.moveaxis(windows, 3, -1).reshape(-1, size * size * inputs.shape[-1])
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    leading = np.argsort(values)[::-1][: config.stem // 2]
    kernel = vectors[:, leading] / np.sqrt(values[leading] + _WHITENING_EPSILON)
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
    """Builds an untrained model from raw pixels [batch, *input_shape] to logits float32 [batch, classes].

    Args:
      config: widths and blocks.
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

    inputs = keras.Input(input_shape, name="image")
    x = layers.Normalization(axis=(1, 2, 3), mean=mean, variance=variance, name="standardization")(inputs)
    damping = spread_floor(variance) / np.maximum(variance, _SMALLEST_STD**2)
    x = layers.Normalization(axis=(1, 2, 3), mean=np.zeros_like(mean), variance=damping, name="damping")(x)
    whitening = layers.Conv2D(stem.shape[-1], stem.shape[0], use_bias=False, trainable=False, dtype=policy, name="stem")
    x = layers.Activation("relu", dtype=policy)(whitening(x))
    whitening.set_weights([stem])
    for width, blocks in zip(config.widths, config.blocks, strict=True):
        x = conv(x, width)
        if min(x.shape[1:3]) > 1:
            # Before the norm: a quarter of its work.
            x = layers.MaxPooling2D(2, dtype=policy)(x)
        x = norm_relu(x)
        for _ in range(blocks):
            x = layers.Add(dtype=policy)([x, norm_relu(conv(x, width))])
    x = layers.GlobalMaxPooling2D(dtype=policy)(x)
    head = layers.Dense(
        classes, use_bias=False, kernel_initializer=keras.initializers.HeNormal(next(seeds)), name="head"
    )
    return keras.Model(inputs, layers.Rescaling(_HEAD_SCALE, name="logits")(head(x)))


def in_float32(model: keras.Model) -> keras.Model:
    """Returns a model with the weights of `model` that computes in float32 throughout."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
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
