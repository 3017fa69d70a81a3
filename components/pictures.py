"""Decodes pictures as a viewer shows them, and brings them to one size: what ExampleGen and prediction have in common.

Upright as EXIF or XMP says, a palette as its colours, transparent parts white, 16 bits as 8, CMYK as RGB, the first
frame of what moves. A serialized uint8 tensor, as this project's own records hold it, is taken as well.

Synopsis:

    look(encoded)                                                   # (height, width, channels), without decoding
    image = decode(encoded, (32, 32, 3), "pad")                     # uint8 [32, 32, 3]
    image = fit(pixels, (32, 32), "crop")                           # the same for pixels: uint8 [32, 32]
"""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from models.tfrecords import decode_tensor

# How the picture formats that are read begin; WebP is RIFF with a word of its own at byte 8.
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM")
MAGIC_BYTES = 16
# Of a chunk, what is none of its data: their size, its name and its checksum.
_PNG_CHUNK = 12
# Those in which EXIF and XMP stand.
_TELLING = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_ORIENTATION = 0x0112
# By EXIF's orientation (CIPA DC-008, 4.6.4 A).
_TURNING = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = tuple(_TURNING[orientation] for orientation in (5, 6, 7, 8))
_GRAY_MODES = ("1", "L", "LA", "La", "I", "F")
# What `tf.io.serialize_tensor` of a uint8 tensor begins with: its type, and the shape's field.
_TENSOR = b"\x08\x04\x12"
_FAILURES = (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, EOFError, OverflowError, MemoryError)
_FAILURES += (struct.error, zlib.error, AssertionError, Image.DecompressionBombError)


class BrokenPictureError(ValueError):
    """Bytes are no picture, or one that is damaged; the text says what is wrong with them."""


def is_picture(first: bytes) -> bool:
    """Whether a file that begins with these `MAGIC_BYTES` bytes is one of the formats that are read."""
    return first.startswith(_MAGIC) or (first[:4] == b"RIFF" and first[8:12] == b"WEBP")


def look(encoded: bytes) -> tuple[int, int, int]:
    """Returns height, width and channels (1: all of it is gray, or 3) that a picture is shown with, from its header.

    Raises:
      BrokenPictureError: there is no header that can be read.
    """
    if encoded.startswith(_TENSOR):
        return _shape_of(_pixels_of(encoded))
    try:
        with _open(encoded) as picture:
            width, height = picture.size
            if _turning(picture) in _SIDEWAYS:
                width, height = height, width
            return height, width, 1 if _is_gray(picture) else 3
    except _FAILURES as error:
        raise BrokenPictureError(_reason(error)) from error


def decode(encoded: bytes, shape: tuple[int, ...], how: str) -> np.ndarray:
    """Decodes a picture and fits it into `shape`.

    Args:
      encoded: PNG, JPEG, WebP, BMP, GIF, or a serialized uint8 tensor.
      shape: (height, width) for gray, or (height, width, 3); of a tensor any that it has itself.
      how: one of `models.features.FITS`; of no effect on a picture of that height and width.

    Returns:
      uint8 of `shape`.

    Raises:
      BrokenPictureError: it cannot be decoded.
    """
    if encoded.startswith(_TENSOR):
        return fit(_pixels_of(encoded), shape, how)
    if not can_show(shape):
        raise BrokenPictureError(f"a picture has 1 or 3 channels, and {shape[2]} are expected")
    try:
        _check_pixels(encoded)
        with _open(encoded) as picture:
            # A JPEG many times too large is decoded at a half, a quarter or an eighth, as long as that is no enlarging.
            picture.draft(None, (2 * max(shape[:2]), 2 * max(shape[:2])))
            turning = _turning(picture)
            # What a picture has of modes and transparency is known when it is loaded.
            picture.load()
            return _fitted(_as_shown(picture if turning is None else picture.transpose(turning)), shape, how)
    except _FAILURES as error:
        raise BrokenPictureError(_reason(error)) from error


def fit(pixels: np.ndarray, shape: tuple[int, ...], how: str) -> np.ndarray:
    """Brings an image to `shape`, as `decode` does.

    Args:
      pixels: uint8 [height, width] or [height, width, channels].
      shape, how: as in `decode`.

    Raises:
      BrokenPictureError: it has not `shape`, and its channels are none of 1, 3 or 4 (red, green, blue, opacity), or
        those of `shape` none of 1 or 3.
    """
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.shape == tuple(shape):
        return pixels
    if not can_show(shape):
        raise BrokenPictureError(f"nothing else becomes an image of {shape[2]} channels")
    if pixels.shape[2:] not in ((), (3,), (4,)):
        raise BrokenPictureError(f"it has {pixels.shape[2]} channels")
    return _fitted(_as_shown(Image.fromarray(pixels)), shape, how)


def can_show(shape: tuple[int, ...]) -> bool:
    """Whether a picture can become an image of `shape`: it is gray or has three colours, and no other channels."""
    return shape[2:] in ((), (1,), (3,))


def _open(encoded: bytes) -> Image.Image:
    return Image.open(io.BytesIO(_texts_first(encoded)), formats=_FORMATS)


def _turning(picture: Image.Image) -> Image.Transpose | None:
    """Returns what makes a picture upright, as EXIF or else XMP says; None where it is, or nothing says so."""
    try:
        # Pillow's own method of a PNG would decode the pixels first, for what lies behind them.
        return _TURNING.get(Image.Image.getexif(picture).get(_ORIENTATION))
    except (SyntaxError, ValueError, KeyError, IndexError, TypeError, struct.error):
        # What is said of the picture is damaged, not the picture; viewers show it as it lies.
        return None


def _texts_first(encoded: bytes) -> bytes:
    """Returns a PNG with what is told behind its pixels in front of them, where Pillow sees it without decoding."""
    chunks = list(_png_chunks(encoded))
    pixels = next((start - 8 for kind, start, _ in chunks if kind == b"IDAT"), len(encoded))
    # A damaged one stays where it is, and is passed over as other viewers do it.
    behind = [
        (start - 8, end + 4)
        for kind, start, end in chunks
        if start > pixels and kind in _TELLING and _is_whole(encoded, start, end)
    ]
    if not behind:
        return encoded
    moved = [encoded[start:end] for start, end in behind]
    left = zip([pixels, *(end for _, end in behind)], [*(start for start, _ in behind), len(encoded)], strict=True)
    return b"".join([encoded[:pixels], *moved, *(encoded[start:end] for start, end in left)])


def _png_chunks(encoded: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields the kind of each chunk of a PNG, and where its data begin and end; nothing of another format."""
    position = len(_MAGIC[0]) if encoded.startswith(_MAGIC[0]) else len(encoded)
    while position + _PNG_CHUNK <= len(encoded):
        size, kind = struct.unpack_from(">I4s", encoded, position)
        yield kind, position + 8, position + 8 + size
        position += _PNG_CHUNK + size


def _is_whole(encoded: bytes, start: int, end: int) -> bool:
    """Whether the data of a PNG's chunk have its checksum."""
    return zlib.crc32(encoded[start - 4 : end]).to_bytes(4) == encoded[end : end + 4]


def _check_pixels(encoded: bytes) -> None:
    """Compares the checksums of a PNG's pixels, which Pillow passes over."""
    for kind, start, end in _png_chunks(encoded):
        if kind == b"IDAT" and not _is_whole(encoded, start, end):
            raise ValueError("the checksum of its pixels is another")


def _pixels_of(encoded: bytes) -> np.ndarray:
    try:
        pixels = decode_tensor(encoded)
    except _FAILURES as error:
        raise BrokenPictureError(_reason(error)) from error
    if pixels.ndim not in (2, 3) or not pixels.size:
        raise BrokenPictureError(f"a tensor of shape {list(pixels.shape)}")
    return pixels


def _shape_of(pixels: np.ndarray) -> tuple[int, int, int]:
    return (*pixels.shape, 1)[:3]


def _is_gray(picture: Image.Image) -> bool:
    """Whether all of a picture is gray; raises ValueError where it lacks the palette that it promises."""
    if picture.mode == "P":
        if picture.palette is None:
            raise ValueError("it has no palette")
        # RGB, or of a BMP BGRX, or, once transparency is known, RGBA.
        mode, content = picture.palette.getdata()
        colours = np.frombuffer(bytes(content), np.uint8)
        colours = colours[: len(colours) // len(mode) * len(mode)].reshape(-1, len(mode))[:, :3]
        return (colours == colours[:, :1]).all().item()
    return picture.mode in _GRAY_MODES or picture.mode.startswith("I;16")


def _as_shown(picture: Image.Image) -> Image.Image:
    """Returns a picture in the mode "L" or "RGB"."""
    gray = "L" if _is_gray(picture) else "RGB"
    if picture.mode.startswith("I;16"):
        # Pillow would cut off what is above 255.
        return Image.fromarray(np.rint(np.asarray(picture) / 257).astype(np.uint8))
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert(gray)


def _fitted(picture: Image.Image, shape: tuple[int, ...], how: str) -> np.ndarray:
    height, width = shape[:2]
    picture = picture.convert("L" if len(shape) == 2 or shape[2] == 1 else "RGB")
    if picture.size != (width, height):
        change = {"pad": _padded, "crop": ImageOps.fit, "stretch": Image.Image.resize}[how]
        picture = change(picture, (width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(shape)


def _padded(picture: Image.Image, size: tuple[int, int], method: Image.Resampling) -> Image.Image:
    """Does what `ImageOps.pad` does, which leaves nothing of an image many times as wide as high and then fails."""
    scale = min(size[0] / picture.width, size[1] / picture.height)
    width, height = (min(most, max(1, round(side * scale))) for most, side in zip(size, picture.size, strict=True))
    padded = Image.new(picture.mode, size)
    place = (round((size[0] - width) / 2), round((size[1] - height) / 2))
    padded.paste(picture.resize((width, height), method), place)
    return padded


def _reason(error: BaseException) -> str:
    # Pillow's text names the buffer that it was given.
    if isinstance(error, Image.UnidentifiedImageError):
        return "no header of a picture"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels"
    return str(error) or repr(error)
