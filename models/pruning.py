"""Leaves out of each step images that teach little, so that the same time has room for more passes.

A batch that is offered holds more images than a step is fitted to. Left out are as many as that, drawn first among
those whose loss was below the average of the batch when they were last trained on. Those of a kind that stay weigh as
much as all of it, up to five times as much as one, so that loss and accuracy are still those of all images, about. An
image that was not seen yet counts as one that teaches. What each cost is remembered from step to step, and kept in the
checkpoint. `models/recipe.py` compiles it.

Source: InfoBatch (Qin et al. 2024, arXiv:2303.04947), which draws once a pass, another number each time, and leaves out
none in the last ones; that was worse here (docs/LOG.md).

Synopsis:

    cost, draw = np.float32([0.1, 0.2, 3.0]), np.float32([0.9, 0.1, 0.5])
    select(cost, draw, 2)                          # places [0, 2], which weigh [4/3, 2/3]
"""

import keras
import tensorflow as tf

# Share of the images that teach little that goes before any other does: if all of a few did, they were forgotten.
_FIRST_TO_GO = 0.9
# Of an image that stands for others of its kind.
_MOST_WEIGHT = 5.0


class PrunedModel(keras.Model):
    """A functional model with a training step of its own; `pruned` makes it."""

    def train_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        """Fits the images of a batch that are kept: (images, one-hot labels, rows[, weights in the loss])."""
        images, labels, rows, *given = data
        known = tf.gather(self.known, rows)
        draw = tf.random.stateless_uniform(
            tf.shape(rows), tf.stack([self.pruning_seed, tf.cast(self.optimizer.iterations, tf.int32)])
        )
        kept, weights = select(known, draw, self.kept)
        images, labels, rows = (tf.gather(values, kept) for values in (images, labels, rows))
        in_loss = weights * tf.gather(given[0], kept) if given else weights
        with tf.GradientTape() as tape:
            answers = self(images, training=True)
            losses = self.loss.call(labels, answers)
            loss = tf.add_n([tf.reduce_mean(in_loss * losses), *self.losses])
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, self.trainable_variables), self.trainable_variables, strict=True)
        )
        self.known.scatter_update(tf.IndexedSlices(losses, rows))
        self.metrics[0].update_state(loss, sample_weight=self.kept)  # Keras's mean of the loss
        return self.compute_metrics(images, labels, answers, sample_weight=weights)


def pruned(model: keras.Model, shape: tuple[int, int, int], *, size: int, batch_size: int, seed: int) -> keras.Model:
    """Returns a functional model of the same layers that is fitted to `batch_size` images of each batch offered.

    It is compiled with a loss that gives one value an example, and with what is measured as `weighted_metrics`.

    Args:
      model: the network.
      shape: of the images, (height, width, channels).
      size: of the training split.
      batch_size: images that a step is fitted to.
      seed: of what is left out.
    """
    if not getattr(model, "inputs", None):
        # Of a class of its own.
        inputs = keras.Input(shape)
        model = keras.Model(inputs, model(inputs))
    model = PrunedModel(model.inputs[0], model.outputs[0])
    with tf.device("CPU:0"):
        # Not a weight of the network: none of what is served.
        model.known = tf.Variable(tf.fill([size], float("inf")), trainable=False, name="known")
    model.kept, model.pruning_seed = batch_size, seed
    return model


def memory_of(model: keras.Model) -> list[tf.Variable]:
    """Returns what a model remembers of its images, beside its variables; nothing where none are left out."""
    return [model.known] if isinstance(model, PrunedModel) else []


def select(known: tf.Tensor, draw: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Chooses the images of a batch that are kept.

    Args:
      known: what each cost when it was last trained on, float32 [offered]; infinite where it was not yet.
      draw: a random number from 0 to 1 for each, float32 [offered].
      count: of images that are kept.

    Returns:
      Their places, int32 [count], in order, and what each weighs, float32 [count], 1 on average.
    """
    seen = tf.math.is_finite(known)
    average = tf.math.divide_no_nan(tf.reduce_sum(tf.where(seen, known, 0.0)), tf.reduce_sum(tf.cast(seen, tf.float32)))
    easy = known < average
    # The smallest go.
    order = tf.where(easy, tf.where(draw < _FIRST_TO_GO, draw, draw + 2), draw + 1)
    kept = tf.sort(tf.math.top_k(order, count, sorted=False).indices)
    weights = tf.zeros_like(known)
    for kind in (easy, ~easy):
        kind = tf.cast(kind, tf.float32)
        stands_for = tf.math.divide_no_nan(tf.reduce_sum(kind), tf.reduce_sum(tf.gather(kind, kept)))
        weights += kind * tf.minimum(stands_for, _MOST_WEIGHT)
    weights = tf.gather(weights, kept)
    return kept, weights / tf.reduce_mean(weights)
