"""Reads TFRecords and `tf.train.Example`s without TensorFlow, so that a report takes a second and not ten.

A TFRecord is a length (uint64, little-endian), its checksum, the data and their checksum; the data are a protocol
buffer, `tf.train.Example`. The few fields that this project writes are looked up in the wire format
(https://protobuf.dev/programming-guides/encoding/).

Synopsis:

    for record in read_records(shard, "GZIP"):
        encoded, label = parse_example(record)
        image = decode_image(encoded)                    # uint8 [height, width, channels]
        parse_features(record)["label"]                  # [3]: all features, whatever their names
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
from models.streams import read_promised

_LENGTH_BYTES, _CHECKSUM_BYTES = 8, 4
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
# Numbers of the fields in feature.proto, tensor.proto and tensor_shape.proto.
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
_SHAPE, _CONTENT, _DIM, _SIZE = 2, 4, 2, 1


def read_records(path: Path, compression: str, *, check: bool = False) -> Iterator[bytes]:
    """Yields the data of each record of a shard.

    Args:
      path: of the shard.
      compression: "" or "GZIP".
      check: whether the data's checksum is compared; what this project wrote is checked by its gate.

    Raises:
      ValueError: the shard ends within a record, is not compressed as `compression` says, or fails its checksum.
    """
    with gzip.open(path) if compression == "GZIP" else path.open("rb") as stream:
        try:
            number = 0
            while head := stream.read(_LENGTH_BYTES + _CHECKSUM_BYTES):
                (length,) = struct.unpack_from("<Q", head.ljust(_LENGTH_BYTES, b"\xff"))
                if check and (len(head) < _LENGTH_BYTES + _CHECKSUM_BYTES or not _fits(head)):
                    raise ValueError(f"{path}: expected TFRecords, found a damaged one after record {number:,}.")
                record = read_promised(stream, length + _CHECKSUM_BYTES)
                if len(record) != length + _CHECKSUM_BYTES:
                    raise ValueError(f"{path}: expected TFRecords, found one that is cut short or none at all.")
                if check and not _fits(record):
                    raise ValueError(f"{path}: expected TFRecords, found a damaged one after record {number:,}.")
                yield record[:length]
                number += 1
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: expected TFRecords compressed with GZIP, found {error}.") from error


def _fits(data: bytes) -> bool:
    """Whether the last four bytes are the masked CRC-32C of those before them, as TensorFlow writes it."""
    import google_crc32c

    crc = google_crc32c.value(data[:-_CHECKSUM_BYTES])
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return data[-_CHECKSUM_BYTES:] == struct.pack("<I", masked)


def parse_example(record: bytes) -> tuple[bytes, int]:
    """Returns the encoded image and the label of a serialized `tf.train.Example` of this project."""
    found = parse_features(record)
    return found[IMAGE][0], found[LABEL][0]


def parse_features(record: bytes) -> dict[str, list]:
    """Returns the values of each feature of a serialized `tf.train.Example` by name: bytes, float or int.

    Raises:
      ValueError, LookupError: it is none.
    """
    found: dict[str, list] = {}
    for features in [value for number, value in fields(record) if number == 1]:
        for _, entry in fields(features):
            pair = dict(fields(entry))
            for kind, values in fields(pair.get(2, b"")):
                if kind == _BYTES_LIST:
                    found[pair[1].decode()] = [value for _, value in fields(values)]
                elif kind == _FLOAT_LIST:
                    found[pair[1].decode()] = [number for _, value in fields(values) for number in _floats(value)]
                elif kind == _INT64_LIST:
                    found[pair[1].decode()] = [number for _, value in fields(values) for number in _integers(value)]
    return found


def _floats(value: bytes | int) -> list[float]:
    """Returns floats, packed or alone, of four bytes each."""
    if len(value) % 4:
        raise ValueError(f"expected floats of four bytes each, found {len(value):,} bytes")
    return [number for (number,) in struct.iter_unpack("<f", value)]


def _integers(value: bytes | int) -> Iterator[int]:
    """Yields int64 values, packed or alone."""
    numbers, position = ([value] if isinstance(value, int) else []), 0
    while not isinstance(value, int) and position < len(value):
        number, position = _varint(value, position)
        numbers.append(number)
    yield from (number - (1 << 64) if number >> 63 else number for number in numbers)


def decode_image(encoded: bytes) -> np.ndarray:
    """Decodes a PNG, a JPEG or what `tf.io.serialize_tensor` wrote: uint8 [height, width, channels]."""
    if encoded.startswith(tuple(MAGIC.values())):
        with Image.open(io.BytesIO(encoded)) as picture:
            image = np.asarray(picture)
    else:
        image = decode_tensor(encoded)
    return image if image.ndim == 3 else image[..., None]


def decode_tensor(encoded: bytes) -> np.ndarray:
    """Decodes what `tf.io.serialize_tensor` wrote of a uint8 tensor.

    Raises:
      ValueError, LookupError: it is none.
    """
    tensor = dict(fields(encoded))
    sizes = [dict(fields(dim))[_SIZE] for number, dim in fields(tensor[_SHAPE]) if number == _DIM]
    return np.frombuffer(tensor[_CONTENT], np.uint8).reshape(sizes)


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
