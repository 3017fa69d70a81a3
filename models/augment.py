"""Augments a batch of images: random flip, shift and erased rectangle, all by one row index and one column index for each image.

It works on uint8 as well as on float32, before standardization, and adds no dependence on the image size. Deterministic for a seed.

Synopsis:

    images = augment(images, seed=[7, step], shift=2, erase=0)     # uint8 [batch, 28, 28, 1], the same shape and dtype back
"""

import tensorflow as tf


def augment(images, seed, *, flip=True, shift=2, erase=0):
    """Gives `images` [batch, height, width, channels] flipped with probability 1/2, shifted by up to `shift` pixels (zeros move in) and
    with one `erase` x `erase` square set to zero (0 turns that off). `seed`: two integers, one draw each."""
    batch, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    seeds = tf.random.experimental.stateless_split(tf.cast(seed, tf.int32), 5)

    def randint(index, low, high):
        return tf.random.stateless_uniform([batch, 1], seeds[index], low, high, tf.int32)

    rows = tf.range(height)[None] + randint(0, 0, 2 * shift + 1)
    columns = tf.range(width)[None]
    if flip:
        columns = tf.where(randint(1, 0, 2) == 1, width - 1 - columns, columns)
    columns = columns + randint(2, 0, 2 * shift + 1)
    if shift:
        images = tf.pad(images, [[0, 0], [shift, shift], [shift, shift], [0, 0]])
    images = tf.gather(images, rows, axis=1, batch_dims=1)
    # One flat gather of single pixels is far cheaper than a batched gather on the innermost axis after a transpose.
    images = tf.gather(tf.transpose(images, [0, 2, 1, 3]), columns, axis=1, batch_dims=1)
    images = tf.transpose(images, [0, 2, 1, 3])
    if erase:
        top, left = randint(3, 1 - erase, height), randint(4, 1 - erase, width)
        row, column = tf.range(height)[None], tf.range(width)[None]
        in_rows, in_columns = (
            (row >= top) & (row < top + erase),
            (column >= left) & (column < left + erase),
        )
        hidden = in_rows[:, :, None, None] & in_columns[:, None, :, None]
        images = tf.where(hidden, tf.zeros_like(images), images)
    return images
