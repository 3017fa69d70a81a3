"""The served model: from raw bytes to class id, class name and probabilities.

Synopsis:

    export_model(model, folder, (28, 28), class_names, records)
    answers = tf.saved_model.load(folder).signatures["predict_images"](images=tf.constant(images))
    answers["class_name"], answers["probabilities"]         # string [batch], float32 [batch, classes]
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from models.card import write_card
from models.features import IMAGE
from models.images import decode_images, with_channels
from models.portable import write_litert
from models.warmup import write_warmup


class ServingModule(tf.Module):
    """A trained model with the signatures that it is served by.

    Signatures:
      serving_default: `examples`, string [batch], serialized `tf.train.Example`s with an `image` in any encoding that
        ExampleGen writes.
      predict_images: `images`, uint8 [batch, height, width] or [batch, height, width, channels], as the records are.

    Both give `class_id` int64 [batch], `class_name` string [batch] and `probabilities` float32 [batch, classes].
    """

    def __init__(self, model: keras.Model, image_shape: tuple[int, ...], class_names: tuple[str, ...]) -> None:
        super().__init__()
        # Not the model itself: TensorFlow would save what Keras keeps of each layer, which takes a second.
        self._logits = functools.partial(model, training=False)
        self.weights = [variable.value for variable in model.variables]
        self.class_names = tf.constant(class_names)
        self._image_shape = tuple(image_shape)

    def signatures(self) -> dict[str, tf.types.experimental.GenericFunction]:
        """Returns the concrete functions to save."""

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
        def serving_default(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._predict(self.decode(examples))

        @tf.function(
            input_signature=[tf.TensorSpec([None, *self._image_shape], tf.uint8, name="images")], autograph=False
        )
        def predict_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
            # A SavedModel does not check the shapes of its inputs.
            images = tf.ensure_shape(images, [None, *self._image_shape])
            return self._predict(tf.reshape(images, [-1, *with_channels(self._image_shape)]))

        return {"serving_default": serving_default, "predict_images": predict_images}

    def decode(self, examples: tf.Tensor) -> tf.Tensor:
        """Decodes the images of serialized examples: string [batch] to uint8 [batch, height, width, channels]."""
        parsed = tf.io.parse_example(examples, {IMAGE: tf.io.FixedLenFeature([], tf.string)})
        return decode_images(parsed[IMAGE], self._image_shape)

    def _predict(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(self._logits(images))
        class_id = tf.argmax(probabilities, axis=-1)
        return {
            "class_id": class_id,
            "class_name": tf.gather(self.class_names, class_id),
            "probabilities": probabilities,
        }


def export_model(
    model: keras.Model,
    folder: str | Path,
    image_shape: tuple[int, ...],
    class_names: tuple[str, ...],
    records: Sequence[bytes],
    *,
    class_values: Sequence[int | str] | None = None,
    image_fit: str = "pad",
    ranges: Mapping[str, tuple[float, float]] | None = None,
    content: str = "",
) -> None:
    """Writes a SavedModel with the signatures of `ServingModule`, and beside it card, warm-up requests and LiteRT form.

    Args:
      model: from images, [batch, height, width, channels], to logits, [batch, classes].
      folder: of the SavedModel.
      image_shape: of the images in the records.
      class_names: in the order of the logits.
      records: serialized `tf.train.Example`s that the warm-up asks about, at least one.
      class_values, image_fit, ranges, content: for the card; see `models.card`.
    """
    folder = Path(folder)
    module = ServingModule(model, image_shape, class_names)
    tf.saved_model.save(module, str(folder), signatures=module.signatures())
    told = {"class_values": class_values, "image_fit": image_fit, "ranges": ranges, "content": content}
    write_card(folder, image_shape, class_names, **told)
    images = module.decode(tf.constant(list(records))).numpy()
    write_warmup(folder, examples=records, images=images.reshape(-1, *image_shape))
    write_litert(folder)
