"""Reads IDX files, the format of MNIST and its relatives, without holding a large one in memory.

IDX is a big-endian header (two zero bytes, a type code, the number of dimensions, then one uint32 for each dimension)
followed by the raw values (http://yann.lecun.com/exdb/mnist). The header is checked against the payload in both
directions, so that a truncated download fails here and not as a strange accuracy three stages later. Never more is
read than the header promises, which also bounds a gzip bomb.

Synopsis:

    labels = read_idx(data / "train-labels-idx1-ubyte.gz")             # uint8 [60000]
    dtype, shape = read_header(data / "train-images-idx3-ubyte.gz")    # uint8, (60000, 28, 28)
    with plain.open("wb") as file:
        file.writelines(read_blocks(data / "train-images-idx3-ubyte.gz"))     # the pixels alone
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from components.errors import InputError
from models.streams import read_promised

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_VALUES = 2**40
_READ_BYTES = 1 << 20

_MEND = "Use a good copy."


def read_header(path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    """Reads only the header of an IDX file and returns the type of its values, big-endian, and its dimensions.

    Raises:
      InputError: as `read_blocks`, as far as the header shows it.
    """
    with _open(path) as stream:
        return _read_header(path, stream)


def read_blocks(path: Path, block_bytes: int = _READ_BYTES) -> Iterator[bytes]:
    """Yields the values of an IDX file, without its header, in blocks of `block_bytes`; the last may be smaller.

    Raises:
      InputError: the file is missing, no regular file, no IDX file, or its header and payload disagree.
    """
    with _open(path) as stream:
        dtype, shape = _read_header(path, stream)
        yield from _payload_blocks(path, stream, dtype, shape, block_bytes)


def read_idx(path: Path) -> np.ndarray:
    """Reads a whole IDX file, gzipped or plain.

    Returns:
      An array with the type of the header, in this machine's byte order, and its dimensions.

    Raises:
      InputError: as `read_blocks`.
    """
    with _open(path) as stream:
        dtype, shape = _read_header(path, stream)
        values = np.frombuffer(b"".join(_payload_blocks(path, stream, dtype, shape, _READ_BYTES)), dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _open(path: Path) -> BinaryIO:
    if not path.is_file():
        found = "is no regular file" if path.exists() else "does not exist"
        raise InputError(f"{path}: {found}; expected an IDX file. Point --data-dir elsewhere.")
    try:
        with path.open("rb") as stream:
            is_gzip = stream.read(2) == _GZIP_MAGIC
        return gzip.open(path, "rb") if is_gzip else path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check its permissions.") from None


def _read(path: Path, stream: BinaryIO, size: int) -> bytes:
    """Reads up to `size` bytes; fewer only at the end of the stream."""
    try:
        return read_promised(stream, size)
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the gzip stream is damaged ({error}). {_MEND}") from None


def _read_header(path: Path, stream: BinaryIO) -> tuple[np.dtype, tuple[int, ...]]:
    magic = _read(path, stream, 4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        found = magic.hex(" ") or "an empty file"
        raise InputError(
            f"{path}: expected the IDX magic 00 00 08 and the number of dimensions, found {found}. {_MEND}"
        )
    if magic[2] not in _DTYPES:
        known = ", ".join(f"0x{code:02x}" for code in _DTYPES)
        raise InputError(f"{path}: expected IDX values of a type among {known}, found 0x{magic[2]:02x}. {_MEND}")
    rank = magic[3]
    packed = _read(path, stream, 4 * rank)
    if rank == 0 or len(packed) < 4 * rank:
        raise InputError(f"{path}: expected {max(1, rank)} dimensions in the header, found {len(packed) // 4}. {_MEND}")
    shape = struct.unpack(f">{rank}I", packed)
    if not 0 < math.prod(shape) <= _MAX_VALUES:
        raise InputError(
            f"{path}: the header promises {'x'.join(map(str, shape))} values; expected 1 to {_MAX_VALUES:,}. {_MEND}"
        )
    return np.dtype(_DTYPES[magic[2]]), shape


def _payload_blocks(
    path: Path, stream: BinaryIO, dtype: np.dtype, shape: tuple[int, ...], block_bytes: int
) -> Iterator[bytes]:
    """Yields the payload in blocks; raises `InputError` where it is shorter or longer than the header promises."""
    size = math.prod(shape) * dtype.itemsize
    promise = f"the header promises {'x'.join(map(str, shape))} = {size:,} bytes"
    held = 0
    while held < size and (block := _read(path, stream, min(block_bytes, size - held))):
        held += len(block)
        yield block
    if held < size:
        raise InputError(f"{path}: {promise}, the file holds {held:,}: it was cut short. {_MEND}")
    # Reading past the end also makes gzip check its CRC, which a cut may have taken off.
    try:
        excess = stream.read1(1)
    except EOFError:
        raise InputError(f"{path}: the gzip stream ends before its checksum: it was cut short. {_MEND}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the gzip stream is damaged ({error}). {_MEND}") from None
    if excess:
        raise InputError(f"{path}: {promise}, the file holds more. {_MEND}")
