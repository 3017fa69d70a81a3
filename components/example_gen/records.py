"""Writes images and labels as TFRecord shards of `tf.train.Example`.

Each record has two features: `image`, the bytes that `tf.io.serialize_tensor` gives for the uint8 image (or its JPEG or
PNG), and `label`, an int64. The header of a serialized tensor is the same for every image of one shape, so it is made
once and the pixels are appended: 9 us a record in place of 74.

Synopsis:

    digest = write_shard(path, blocks, ShardFormat(encoding="tensor", compression=""))
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.errors import InputError, first_line, folder_unseen
from models.features import IMAGE, LABEL
from models.files import replacing
from models.images import tensor_header, with_channels

_READ_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardFormat:
    """How the records of a shard are stored: the image's encoding and the file's compression."""

    encoding: str
    compression: str


def image_encoder(encoding: str, image_shape: tuple[int, ...]) -> Callable[[np.ndarray], bytes]:
    """Returns the function that encodes one uint8 image of `image_shape`.

    Raises:
      InputError: JPEG or PNG cannot hold the number of channels.
    """
    if encoding == "tensor":
        header = tensor_header(image_shape)
        return lambda image: header + image.tobytes()
    height, width, channels = with_channels(image_shape)
    allowed = (1, 3) if encoding == "jpeg" else (1, 2, 3, 4)
    if channels not in allowed:
        raise InputError(
            f"--image-encoding {encoding}: expected {' or '.join(map(str, allowed))} channels, the images have "
            f"{channels}. Use --image-encoding tensor."
        )
    encode = tf.io.encode_jpeg if encoding == "jpeg" else tf.io.encode_png
    return lambda image: encode(image.reshape(height, width, channels)).numpy()


def write_shard(path: Path, blocks: Iterable[tuple[np.ndarray, np.ndarray]], shard_format: ShardFormat) -> str:
    """Writes one shard under a temporary name, then renames it.

    Args:
      path: of the finished shard.
      blocks: pairs of images, uint8 [n, ...], and labels, integer [n].
      shard_format: encoding and compression.

    Returns:
      The SHA-256 of the file, hexadecimal.

    Raises:
      InputError: the folder cannot be written to or the disk is full.
    """
    example = tf.train.Example()
    image_value = example.features.feature[IMAGE].bytes_list.value
    label_value = example.features.feature[LABEL].int64_list.value
    image_value.append(b"")
    label_value.append(0)
    try:
        with replacing(path) as partial:
            with tf.io.TFRecordWriter(str(partial), shard_format.compression) as writer:
                encode = None
                for images, labels in blocks:
                    encode = encode or image_encoder(shard_format.encoding, images.shape[1:])
                    for image, label in zip(images, labels.tolist(), strict=True):
                        image_value[0] = encode(image)
                        label_value[0] = label
                        writer.write(example.SerializeToString(deterministic=True))
            return _file_digest(partial)
    except (tf.errors.NotFoundError, FileNotFoundError) as error:
        raise folder_unseen(getattr(error, "filename", None) or path) from error
    except (tf.errors.OpError, OSError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(
            f"{path}: cannot be written ({reason}). Free some space or choose another --output-root."
        ) from error


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
