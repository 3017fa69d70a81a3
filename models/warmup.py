"""Warm-up requests, which TensorFlow Serving replays before it lets a new version answer.

Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup

Synopsis:

    write_warmup(folder, examples=[b"..."], images=images)        # folder/assets.extra/tf_serving_warmup_requests
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from models.memory import inference_rows

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
# As many images as a busy server batches.
_MOST = 64


def batch_sizes(image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the sizes of the requests for images of a shape: one alone, and as many as are asked about at a time."""
    return tuple(sorted({1, min(_MOST, inference_rows(image_shape))}))


def write_warmup(folder: Path, *, examples: Sequence[bytes], images: np.ndarray) -> None:
    """Writes a request of each of `batch_sizes` for each signature.

    Args:
      folder: of the SavedModel.
      examples: serialized `tf.train.Example`s, at least one.
      images: uint8 [n, height, width] or [n, height, width, channels], as `predict_images` takes them.
    """
    path = folder / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in batch_sizes(images.shape[1:]):
            # Repeated where there are fewer.
            rows = np.arange(size)
            inputs = {
                "serving_default": ("examples", np.array(examples, object)[rows % len(examples)]),
                "predict_images": ("images", images[rows % len(images)]),
            }
            for signature, (name, values) in inputs.items():
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = signature
                request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
                log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
                writer.write(log.SerializeToString())
