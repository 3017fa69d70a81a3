"""Layers that compute what Keras's own do, faster on a CPU, their initializer, and the standardization of pixels.

`SameConv` takes its gradients on a CPU as forward convolutions, in training; it leaves them to
TensorFlow on a GPU, whose own are fast, and in what is served, which then has no gradients of its own to be saved.
`FusedNorm` calls TensorFlow's fused batch norm, which Keras 3 never uses. Both work in float32 and, under the policy
"mixed_bfloat16", in bfloat16 with float32 weights.

Synopsis:

    x = standardized(keras.Input((28, 28, 1)), mean, variance)                          # moments of each pixel
    x = keras.Input((28, 28, 32))
    x = SameConv(64, kernel_initializer=Dirac(seed=0), dtype="mixed_bfloat16")(x)       # [batch, height, width, 64]
    x = FusedNorm(dtype="mixed_bfloat16")(x)
"""

import keras
import numpy as np
import tensorflow as tf

from models.precision import gpu_capability

_NORM_MOMENTUM = 0.7
# Pixels a row up to which a forward convolution is faster than oneDNN's kernel for that gradient (docs/LOG.md).
_NARROW = 8
# Keras's Normalization divides by no less than this, so a constant pixel divides by no zero.
_SMALLEST_STD = 1e-7


def spread_floor(variance: np.ndarray) -> np.ndarray:
    """Returns what `variance` is raised to where it is small: the average over all pixels.

    A border pixel varies by a tenth of a grey level; standardized, it jumps to hundreds of standard deviations as soon
    as an image reaches into it. Its spread is therefore damped as if it varied like the average pixel.
    """
    return np.maximum(variance, max(variance.mean(), _SMALLEST_STD**2))


def standardized(images: keras.KerasTensor, mean: np.ndarray, variance: np.ndarray) -> keras.KerasTensor:
    """Standardizes pixels: where a network begins.

    The first layer does so with exactly the moments given, the second damps what hardly ever varies (`spread_floor`).

    Args:
      images: [batch, height, width, channels].
      mean, variance: of each pixel over the training split, float64 [height, width, channels].

    Returns:
      float32 [batch, height, width, channels].
    """
    axes, damping = (1, 2, 3), spread_floor(variance) / np.maximum(variance, _SMALLEST_STD**2)
    x = keras.layers.Normalization(axis=axes, mean=mean, variance=variance, name="standardization")(images)
    return keras.layers.Normalization(axis=axes, mean=np.zeros_like(mean), variance=damping, name="damping")(x)


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
    narrow images; there that gradient is a forward convolution as well.
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
    """Returns the gradient of a 'same' convolution by its kernel of `shape`, as a forward convolution.

    Channels stand for images and images for channels; what came from above is the kernel, as large as the images.
    """
    rows, columns = shape[:2]
    padding = [[0, 0], [rows // 2] * 2, [columns // 2] * 2, [0, 0]]
    by_channel = tf.nn.conv2d(tf.transpose(inputs, [3, 1, 2, 0]), tf.transpose(upstream, [1, 2, 0, 3]), 1, padding)
    return tf.transpose(by_channel, [1, 2, 0, 3])


@keras.saving.register_keras_serializable("fashion")
class SameConv(keras.layers.Layer):
    """`keras.layers.Conv2D(filters, kernel_size, padding="same")`, by default without bias, with cheaper gradients."""

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        kernel_initializer="he_normal",
        *,
        use_bias: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if kernel_size % 2 == 0:
            raise ValueError(
                f"SameConv needs an odd kernel_size (the flipped kernel must be centred), got {kernel_size}."
            )
        self.filters, self.kernel_size, self.use_bias = filters, kernel_size, use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape) -> None:
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), inputs.dtype)
        cheaper = training and gpu_capability() is None
        outputs = _same_conv(inputs, kernel) if cheaper else tf.nn.conv2d(inputs, kernel, 1, "SAME")
        return outputs + tf.cast(tf.convert_to_tensor(self.bias), inputs.dtype) if self.use_bias else outputs

    def compute_output_shape(self, input_shape) -> tuple:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "use_bias": self.use_bias,
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
