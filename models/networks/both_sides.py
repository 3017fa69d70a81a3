"""Answers an image together with its mirror image: the horizontal flip as test-time augmentation, inside the network.

What is served, converted and counted is the whole of it, so it costs twice as much to ask. In training the network sees
an image as it comes, for there each is mirrored in every other pass.

Synopsis:

    inputs = keras.Input((28, 28, 1))
    model = both_sides(keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs))), (28, 28, 1))
    model(images)                       # float32 [batch, 10]
"""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("fashion")
class BothSides(layers.Layer):
    """Images [batch, height, width, channels], and behind them their mirror images; in training the images alone."""

    def call(self, images, training: bool = False):
        return images if training else ops.concatenate([images, ops.flip(images, axis=2)], axis=0)


@keras.saving.register_keras_serializable("fashion")
class MeanOfSides(layers.Layer):
    """The mean [batch, classes] of the logits of both halves, [2 * batch, classes]; in training the logits given."""

    def call(self, logits, training: bool = False):
        return logits if training else ops.mean(ops.reshape(logits, (2, -1, logits.shape[-1])), axis=0)


def both_sides(model: keras.Model, input_shape: tuple[int, int, int]) -> keras.Model:
    """Returns a model whose logits are the mean of those of `model` for an image and for its mirror image.

    Args:
      model: from images [batch, *input_shape] to logits [batch, classes].
      input_shape: (height, width, channels).
    """
    images = keras.Input(input_shape, name="image")
    logits = model(BothSides(name="both_sides")(images))
    return keras.Model(images, MeanOfSides(name="mean_of_sides")(logits))
