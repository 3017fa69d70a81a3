"""Several networks in one: each is trained for itself, the mean of their logits answers.

An ensemble errs less the more its members differ, and a loss of their mean would make them alike. In training it
therefore gives the logits of each member, so that each has a loss of its own, as if it were alone. Source: deep
ensembles, Lakshminarayanan et al. 2017, arXiv:1612.01474.

Synopsis:

    inputs = keras.Input((28, 28, 1))
    members = [keras.layers.Dense(10)(keras.layers.Flatten()(inputs)) for _ in range(3)]
    model = keras.Model(inputs, ensemble(members))
    model(images)                       # float32 [batch, 10]
    model(images, training=True)        # float32 [batch, 3, 10]
"""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("fashion")
class MemberMean(layers.Layer):
    """The mean [batch, classes] of the members' logits [batch, members, classes]; in training those of each."""

    def call(self, logits, training: bool = False):
        return logits if training else ops.mean(logits, axis=1)


def ensemble(members: list[keras.KerasTensor]) -> keras.KerasTensor:
    """Joins the logits of the members of a functional model, [batch, classes] each; one alone is no ensemble.

    Returns:
      The mean of the members' logits, [batch, classes]; called with `training=True` the model gives those of each,
      [batch, members, classes].
    """
    if len(members) == 1:
        return members[0]
    rows = [layers.Reshape((1, logits.shape[-1]))(logits) for logits in members]
    return MemberMean(name="logits")(layers.Concatenate(axis=1, name="member_logits")(rows))
