"""Names the slices of records of an Examples artifact.

Synopsis:

    slicer = Slicer(examples, SLICINGS)
    slicer(encoded_images, labels, "split test")["brightness"]      # array(["dark", "medium", ...])
"""

import functools
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from components.errors import InputError
from components.evaluator.slices import slice_names
from models.examples import Examples, ExamplesError
from models.images import decode_images


class Slicer:
    """Decodes images and applies slicings to them."""

    def __init__(self, examples: Examples, slicings: Iterable[str]) -> None:
        self._examples, self._slicings = examples, tuple(slicings)
        # Not by the artifact's encoding: that would take any bytes for a tensor of the right shape.
        decode = functools.partial(decode_images, image_shape=examples.image_shape)
        self._decode = tf.function(decode, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    def __call__(self, images: list[bytes], labels: np.ndarray, where: str) -> dict[str, np.ndarray]:
        """Returns for each slicing the slice of each example, str [n].

        Args:
          images: as the records store them.
          labels: int64 [n].
          where: for a message, where the records lie.

        Raises:
          InputError: an image has another encoding or shape than the artifact says.
          PipelineError: a slicing's function fails.
        """
        try:
            self._examples.check(images, where)
            decoded = self._decode(tf.constant(images)).numpy()
        except ExamplesError as error:
            raise InputError(str(error)) from error
        except tf.errors.InvalidArgumentError as error:
            raise InputError(
                f"{where}: expected images of {'x'.join(map(str, self._examples.image_shape))}, as the artifact "
                f"{self._examples.folder} says, found others. Delete the artifact and run again."
            ) from error
        return slice_names(decoded, labels, self._examples.class_names, self._slicings)
