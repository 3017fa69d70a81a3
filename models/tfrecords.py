"""Reads TFRecords and `tf.train.Example`s without TensorFlow, so that a report takes a second and not ten.

A TFRecord is a length (uint64, little-endian), its checksum, the data and their checksum; the data are a protocol
buffer, `tf.train.Example`. The few fields that this project writes are looked up in the wire format
(https://protobuf.dev/programming-guides/encoding/).

Synopsis:

    for record in read_records(shard, "GZIP"):
        encoded, label = parse_example(record)
        image = decode_image(encoded)                    # uint8 [height, width, channels]
"""

import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from models.features import IMAGE, LABEL, MAGIC

_LENGTH_BYTES, _CHECKSUM_BYTES = 8, 4
# What a damaged length may promise is not asked of the memory.
_MAX_BYTES = 1 << 31
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
# Numbers of the fields in tensor.proto and tensor_shape.proto.
_SHAPE, _CONTENT, _DIM, _SIZE = 2, 4, 2, 1


def read_records(path: Path, compression: str) -> Iterator[bytes]:
    """Yields the data of each record of a shard, without its checksums: checking is the gate's job.

    Raises:
      ValueError: the shard ends within a record, or is not compressed as `compression` ("" or "GZIP") says.
    """
    with gzip.open(path) if compression == "GZIP" else path.open("rb") as stream:
        try:
            while head := stream.read(_LENGTH_BYTES + _CHECKSUM_BYTES):
                (length,) = struct.unpack_from("<Q", head.ljust(_LENGTH_BYTES, b"\xff"))
                record = stream.read(min(length, _MAX_BYTES) + _CHECKSUM_BYTES)
                if len(record) != length + _CHECKSUM_BYTES:
                    raise ValueError(f"{path}: expected TFRecords, found one that is cut short or none at all.")
                yield record[:length]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: expected TFRecords compressed with GZIP, found {error}.") from error


def parse_example(record: bytes) -> tuple[bytes, int]:
    """Returns the encoded image and the label of a serialized `tf.train.Example`."""
    found: dict[str, object] = {}
    (features,) = [value for number, value in fields(record) if number == 1]
    for _, entry in fields(features):
        pair = dict(fields(entry))
        for kind, values in fields(pair[2]):
            content = next((value for _, value in fields(values)), b"")
            # 1: bytes_list; 3: int64_list, whose values are packed.
            found[pair[1].decode()] = content if kind == 1 else _varint(content, 0)[0]
    return found[IMAGE], found[LABEL]


def decode_image(encoded: bytes) -> np.ndarray:
    """Decodes a PNG, a JPEG or what `tf.io.serialize_tensor` wrote: uint8 [height, width, channels]."""
    if encoded.startswith(tuple(MAGIC.values())):
        with Image.open(io.BytesIO(encoded)) as picture:
            image = np.asarray(picture)
    else:
        tensor = dict(fields(encoded))
        sizes = [dict(fields(dim))[_SIZE] for number, dim in fields(tensor[_SHAPE]) if number == _DIM]
        image = np.frombuffer(tensor[_CONTENT], np.uint8).reshape(sizes)
    return image if image.ndim == 3 else image[..., None]


def fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yields number and value of each field of a protocol buffer: an int, or the bytes of what has a length."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if kind == _LENGTH_DELIMITED:
            size, position = _varint(message, position)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"expected a protocol buffer, found wire type {kind} at byte {position}")
        yield key >> 3, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
