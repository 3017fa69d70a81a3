"""The CNN of the tutorials: convolutions with batch norm and dropout, and a hidden layer before the head.

It is what the residual network is compared with, built of Keras's own layers from the same settings: each stage is
[convolution, ReLU, batch norm] once and once more for each block, a 2x2 max-pool if the stage has one, and dropout.
`stem_size` says nothing to it. Images are seen in full, so that it suits small ones.

Synopsis:

    stages = {"widths": (32, 64), "blocks": (1, 1), "pools": (True, True)}
    model = build(NetworkConfig(kind="plain", dropout=0.3, **stages), inputs, seed=0)
    model(images)                                               # [batch, 28, 28, 1] to logits, float32 [batch, 10]
"""

import itertools

import keras
from keras import layers

from models.config import NetworkConfig
from models.networks.ensemble import ensemble
from models.networks.layers import standardized
from models.networks.registry import NetworkInputs, network

# Values of the hidden layer for each channel of the last stage.
_HIDDEN = 2
# Side from which on a stage with a pool halves it.
_POOLED = 4


@network("plain")
def build(config: NetworkConfig, inputs: NetworkInputs, *, seed: int, policy: str = "float32") -> keras.Model:
    """Builds an untrained network; arguments and result as in `build_network`."""
    seeds = itertools.count(seed * 1000)

    def activated(layer, x):
        x = layers.Activation("relu", dtype=policy)(layer(x))
        return layers.BatchNormalization(dtype=policy)(x) if config.norm else x

    def dropped(x):
        return layers.Dropout(config.dropout, seed=next(seeds), dtype=policy)(x) if config.dropout else x

    def member(x):
        for width, blocks, pool in zip(config.widths, config.blocks, config.pools, strict=True):
            for _ in range(1 + blocks):
                kernel = keras.initializers.HeNormal(next(seeds))
                x = activated(
                    layers.Conv2D(width, 3, padding="same", kernel_initializer=kernel, dtype=policy),
                    x,
                )
            halved = tuple(2 if side >= _POOLED and pool else 1 for side in x.shape[1:3])
            if max(halved) > 1:
                x = layers.MaxPooling2D(halved, dtype=policy)(x)
            x = dropped(x)
        x = layers.Flatten(dtype=policy)(x)
        hidden = keras.initializers.HeNormal(next(seeds))
        x = activated(layers.Dense(_HIDDEN * config.widths[-1], kernel_initializer=hidden, dtype=policy), x)
        head = keras.initializers.GlorotNormal(next(seeds))
        name = "logits" if config.members == 1 else None
        return layers.Dense(inputs.classes, kernel_initializer=head, name=name)(dropped(x))

    images = keras.Input(inputs.input_shape, name="image")
    x = standardized(images, inputs.mean, inputs.variance)
    return keras.Model(images, ensemble([member(x) for _ in range(config.members)]))
