"""A small residual CNN that trains fast on a CPU.

Layout: standardization, a strided stem, then stages of [convolution, 2x2 max-pool, norm, ReLU, residual blocks], a global max-pool and a
scaled linear head. Image size, channels and classes come from the data; a preset is nothing but other numbers in `NetworkConfig`.

Two layers exist only for speed on a CPU (float32, oneDNN) and compute what Keras's own layers compute:
`SameConv` takes its input gradient as a forward convolution, and `FusedNorm` calls TensorFlow's fused batch norm.

Synopsis:

    model = build_model(NetworkConfig(), input_shape=(28, 28, 1), classes=10, mean=mean, variance=variance)
    logits = model(images)            # images: float32 or uint8 [batch, 28, 28, 1], raw pixel values; logits: float32 [batch, 10]
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape of the network. `widths[i]` channels and `blocks[i]` residual blocks in stage i; `pools[i]` halves its resolution."""

    stem: int = 32
    stem_kernel: int = 6
    stem_stride: int = 2
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (0, 0, 0)
    pools: tuple[bool, ...] = (False, True, True)
    activation: str = "relu"
    norm_momentum: float = 0.7
    head_scale: float = 1 / 9
    head_pool: str = "max"
    dropout: float = 0.0
    dirac: bool = True
    squeeze: int = 0
    pool_first: bool = False
    pool_padding: str = "same"

    def __post_init__(self):
        if not len(self.widths) == len(self.blocks) == len(self.pools):
            raise ValueError(
                f"widths, blocks and pools describe the same stages and must have one length, got {len(self.widths)}, "
                f"{len(self.blocks)} and {len(self.pools)}."
            )


class Dirac(keras.initializers.Initializer):
    """Identity on the first input channels, He-uniform on the rest: the network starts as a copy machine (airbench, arXiv:2404.00498)."""

    def __init__(self, seed=None):
        self.seed = seed

    def __call__(self, shape, dtype=None):
        rows, columns, inputs, outputs = shape
        kernel = np.array(keras.initializers.HeUniform(self.seed)(shape, dtype))
        diagonal = np.arange(min(inputs, outputs))
        kernel[..., diagonal] = 0
        kernel[rows // 2, columns // 2, diagonal, diagonal] = 1
        return keras.ops.convert_to_tensor(kernel, dtype)

    def get_config(self):
        return {"seed": self.seed}


@tf.custom_gradient
def _same_conv(inputs, kernel):
    """Stride-1 'same' convolution, odd kernel. oneDNN's backward-data kernel reaches a third of the forward one's speed on AVX2."""

    def gradient(upstream):
        flipped = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
        to_inputs = tf.nn.conv2d(upstream, flipped, 1, "SAME")
        to_kernel = tf.raw_ops.Conv2DBackpropFilter(
            input=inputs,
            filter_sizes=kernel.shape,
            out_backprop=upstream,
            strides=[1, 1, 1, 1],
            padding="SAME",
        )
        return to_inputs, to_kernel

    return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradient


@keras.saving.register_keras_serializable("fashion")
class SameConv(keras.layers.Layer):
    """`keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)` with a cheaper input gradient."""

    def __init__(self, filters, kernel_size=3, kernel_initializer="he_normal", **kwargs):
        super().__init__(**kwargs)
        if kernel_size % 2 == 0:
            raise ValueError(
                f"SameConv needs an odd kernel_size (the flipped kernel must be centred), got {kernel_size}."
            )
        self.filters, self.kernel_size = filters, kernel_size
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        size = self.kernel_size
        self.kernel = self.add_weight(
            shape=(size, size, input_shape[-1], self.filters),
            initializer=self.kernel_initializer,
            name="kernel",
        )

    def call(self, inputs):
        return _same_conv(inputs, tf.convert_to_tensor(self.kernel))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("fashion")
class FusedNorm(keras.layers.Layer):
    """Batch normalization without scale, through TensorFlow's fused kernel (Keras 3 never uses it)."""

    def __init__(self, momentum=0.7, epsilon=1e-3, **kwargs):
        super().__init__(**kwargs)
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.bias = self.add_weight(shape=shape, initializer="zeros", name="bias")
        self.moving_mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="moving_mean")
        self.moving_variance = self.add_weight(shape=shape, initializer="ones", trainable=False, name="moving_variance")

    def call(self, inputs, training=False):
        scale = tf.ones_like(self.bias)
        if not training:
            outputs, *_ = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                scale=scale,
                offset=tf.convert_to_tensor(self.bias),
                mean=tf.convert_to_tensor(self.moving_mean),
                variance=tf.convert_to_tensor(self.moving_variance),
                epsilon=self.epsilon,
                is_training=False,
            )
            return outputs
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=scale,
            offset=tf.convert_to_tensor(self.bias),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        self.moving_mean.assign(self.momentum * self.moving_mean + (1 - self.momentum) * mean)
        self.moving_variance.assign(self.momentum * self.moving_variance + (1 - self.momentum) * variance)
        return outputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


def build_model(config: NetworkConfig, input_shape, classes: int, mean, variance, seed: int = 0) -> keras.Model:
    """Gives an untrained model from raw pixels [batch, *input_shape] to logits [batch, classes].

    `mean` and `variance` have one value for each pixel and channel. The variance is floored at its own mean: a border pixel that is
    hardly ever lit would otherwise reach hundreds of standard deviations as soon as augmentation shifts an image onto it.
    """
    seeds = keras.random.SeedGenerator(seed)
    layers = keras.layers
    next_seed = iter(range(seed * 1000, seed * 1000 + 1000)).__next__
    mean, variance = np.asarray(mean, "float32"), np.asarray(variance, "float32")

    def norm_act(x):
        return layers.Activation(config.activation)(FusedNorm(momentum=config.norm_momentum)(x))

    def conv(x, width):
        init = Dirac(next_seed()) if config.dirac else keras.initializers.HeNormal(next_seed())
        return SameConv(width, kernel_initializer=init)(x)

    inputs = keras.Input(input_shape, name="image")
    x = layers.Normalization(mean=mean, variance=np.maximum(variance, variance.mean()), axis=(1, 2, 3))(inputs)
    x = layers.Conv2D(
        config.stem,
        config.stem_kernel,
        config.stem_stride,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.HeNormal(next_seed()),
        name="stem",
    )(x)
    x = norm_act(x)
    for width, blocks, pool in zip(config.widths, config.blocks, config.pools, strict=True):
        if pool and config.pool_first:
            x = layers.MaxPooling2D(2, padding=config.pool_padding)(x)
        x = conv(x, width)
        if pool and not config.pool_first:
            x = layers.MaxPooling2D(2, padding=config.pool_padding)(x)
        x = norm_act(x)
        for _ in range(blocks):
            y = norm_act(conv(x, width))
            if config.squeeze:
                g = layers.GlobalAveragePooling2D(keepdims=True)(y)
                g = layers.Dense(width // config.squeeze, "relu")(g)
                g = layers.Dense(width, "sigmoid")(g)
                y = layers.Multiply()([y, g])
            x = layers.Add()([x, y])
    if config.head_pool == "max":
        x = layers.GlobalMaxPooling2D()(x)
    elif config.head_pool == "avg":
        x = layers.GlobalAveragePooling2D()(x)
    else:
        x = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x)])
    if config.dropout:
        x = layers.Dropout(config.dropout, seed=seeds.seed if hasattr(seeds, "seed") else seed)(x)
    x = layers.Dense(
        classes,
        use_bias=False,
        kernel_initializer=keras.initializers.HeNormal(next_seed()),
        name="head",
    )(x)
    outputs = layers.Rescaling(config.head_scale, name="logits")(x)
    return keras.Model(inputs, outputs)


def multiply_adds(model) -> int:
    """Multiply-adds of one forward pass for one image, convolutions and dense layers only."""
    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            positions = int(np.prod(layer.output.shape[1:-1])) if len(kernel.shape) == 4 else 1
            total += positions * int(np.prod(kernel.shape))
    return total
