"""Augments a batch of images: alternating flip, random shift and erased square, each image its own.

One index of rows and one of columns for each image, so flip and shift together are two gathers. Works on uint8 before
standardization, for any image size, and gives the same for the same seed.

Synopsis:

    images = augment(images, [7, step], epoch=0, flip=True, shift=2, erase=0)    # uint8 [batch, 28, 28, 1] in and out

    @augmentation("invert")                                # --set training.augmentations=invert
    def invert(images, seed):                              # uint8 [batch, height, width, channels], int32 [2]
        return 255 - images

    images = augment_further(images, [7, step], ["invert"])
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from models.images import as_written

Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# Further ones, which `training.augmentations` names in the order in which they are applied.
AUGMENTATIONS: dict[str, Augmentation] = {}


def augmentation(name: str) -> Callable[[Augmentation], Augmentation]:
    """Registers the function it decorates: from images and two seeds, int32 [2], to images of the same shape and dtype.

    The seeds are others for each step; the same give the same.

    Raises:
      ValueError: the name is taken.
    """
    if name in AUGMENTATIONS:
        raise ValueError(f"augmentation {name}: expected a name that is not taken yet.")

    def register(function: Augmentation) -> Augmentation:
        AUGMENTATIONS[name] = function
        return function

    return register


def check_augmentations(names: Sequence[str]) -> None:
    """Raises `ValueError` unless there is an augmentation of each name."""
    for name in names:
        if name not in AUGMENTATIONS:
            known = ", ".join(sorted(AUGMENTATIONS)) or "none"
            raise ValueError(f"augmentations: expected names in models/augment.py ({known}), found {name}.")


def augment_further(images: tf.Tensor, seed: Sequence | tf.Tensor, names: Sequence[str]) -> tf.Tensor:
    """Applies registered augmentations in turn, each with seeds of its own."""
    for number, name in enumerate(names):
        own = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), number + 1)
        images = AUGMENTATIONS[name](images, own)
    return images


@as_written
def augment(
    images: tf.Tensor,
    seed: Sequence | tf.Tensor,
    *,
    epoch: int | tf.Tensor,
    flip: bool,
    shift: int,
    erase: int,
    erase_share: float = 1.0,
) -> tf.Tensor:
    """Mirrors each image in every other epoch, then changes it at random.

    Any two epochs show it on both sides. Which one comes first goes by the parity of the sum of its pixels: that needs
    no state, and about half of a batch is mirrored. Source: airbench (Jordan 2024, arXiv:2404.00498), which draws it.

    Args:
      images: [batch, height, width, channels], whole numbers of any dtype.
      seed: two integers; one draw each.
      epoch: number of the pass over the images.
      flip: whether to mirror at all.
      shift: most pixels to move by, in each direction; zeros move in.
      erase: side of the square set to zero, which may reach over the edge; 0 for none.
      erase_share: share of the images that have such a square, drawn for each. Source: random erasing, Zhong et al.
        2017, arXiv:1708.04896.

    Returns:
      The same shape and dtype.
    """
    batch, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    seeds = tf.random.experimental.stateless_split(tf.cast(seed, tf.int32), 5)

    def randint(index, low, high):
        return tf.random.stateless_uniform([batch, 1], seeds[index], low, high, tf.int32)

    columns = tf.range(width)[None]
    if flip:
        pixels = tf.reduce_sum(tf.cast(images, tf.int32), [1, 2, 3])[:, None]
        columns = tf.where((pixels + tf.cast(epoch, tf.int32)) % 2 == 1, width - 1 - columns, columns)
    if shift:
        rows = tf.range(height)[None] + randint(0, 0, 2 * shift + 1)
        columns = columns + randint(1, 0, 2 * shift + 1)
        images = tf.pad(images, [[0, 0], [shift, shift], [shift, shift], [0, 0]])
        images = tf.gather(images, rows, axis=1, batch_dims=1)
    if flip or shift:
        # Choosing between the batch and its mirror image would take 2.5 times as long.
        images = tf.gather(tf.transpose(images, [0, 2, 1, 3]), columns, axis=1, batch_dims=1)
        images = tf.transpose(images, [0, 2, 1, 3])
    if erase:
        top, left = randint(2, 1 - erase, height), randint(3, 1 - erase, width)
        spared = tf.random.stateless_uniform([batch, 1], seeds[4]) >= erase_share
        top = tf.where(spared, height, top)
        row, column = tf.range(height)[None], tf.range(width)[None]
        in_rows, in_columns = (
            tf.cast((row >= top) & (row < top + erase), images.dtype),
            tf.cast((column >= left) & (column < left + erase), images.dtype),
        )
        images *= 1 - in_rows[:, :, None, None] * in_columns[:, None, :, None]
    return images
