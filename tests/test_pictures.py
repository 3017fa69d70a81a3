"""Pictures as a viewer shows them: each mode and format, turned, transparent, fitted, and what is none."""

import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from components.pictures import MAGIC_BYTES, BrokenPictureError, decode, fit, is_picture, look
from tests.forms import without

# Three rows of two pixels.
GRAY = np.array([[0, 255], [128, 64], [10, 200]], np.uint8)
COLOUR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)
FORMATS = {"PNG": {}, "WEBP": {"lossless": True}, "BMP": {}, "GIF": {}, "JPEG": {"quality": 100, "subsampling": 0}}


def save(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def palette(transparent: bool = False) -> tuple[bytes, dict]:
    """A picture with a palette of red, green and blue."""
    picture = Image.fromarray(np.array([[0, 1], [2, 0], [1, 1]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return save(picture, **({"transparency": 1} if transparent else {}))


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def opacity(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels.reshape(3, 2, -1), alpha[..., None]], axis=-1)


# Opaque, transparent and half of each.
ALPHA = np.array([[255, 0], [255, 128], [0, 0]], np.uint8)
# In float64: alpha of the pixel and the rest of white.
ON_WHITE = {
    "gray": GRAY * (ALPHA / 255.0) + 255 * (1 - ALPHA / 255.0),
    "colour": COLOUR * (ALPHA / 255.0)[..., None] + 255 * (1 - ALPHA / 255.0)[..., None],
}

# By mode: the file, what it is shown as, and how far a value may be off.
MODES = {
    "1": (save(Image.fromarray(GRAY > 100)), np.where(GRAY > 100, 255, 0), 0),
    "L": (save(Image.fromarray(GRAY)), GRAY, 0),
    "LA": (save(Image.fromarray(opacity(GRAY, ALPHA), "LA")), ON_WHITE["gray"], 1),
    "P": (palette(), np.array([[RED, GREEN], [BLUE, RED], [GREEN, GREEN]]), 0),
    "P with transparency": (palette(True), np.array([[RED, WHITE], [BLUE, RED], [WHITE, WHITE]]), 0),
    "RGB": (save(Image.fromarray(COLOUR)), COLOUR, 0),
    "RGBA": (save(Image.fromarray(opacity(COLOUR, ALPHA), "RGBA")), ON_WHITE["colour"], 1),
    "I;16": (save(Image.fromarray(GRAY.astype(np.uint16) * 257)), GRAY, 0),
    "CMYK": (save(Image.fromarray(COLOUR).convert("CMYK"), "JPEG", quality=100), COLOUR, 255),
}


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_shown_as_gray_or_colour_on_white(mode):
    encoded, shown, tolerance = MODES[mode]
    with Image.open(io.BytesIO(encoded)) as picture:
        assert picture.mode == mode.partition(" ")[0]
    found = decode(encoded, shown.shape, "pad")
    assert (found.dtype, found.shape) == (np.uint8, shown.shape)
    assert np.abs(found.astype(np.float64) - shown).max() <= tolerance


def test_cmyk_is_shown_in_the_colours_it_stands_for():
    flat = Image.new("RGB", (16, 16), (200, 30, 90)).convert("CMYK")
    found = decode(save(flat, "JPEG", quality=100), (16, 16, 3), "pad")
    assert np.abs(found.astype(int) - (200, 30, 90)).max() <= 3


@pytest.mark.parametrize("mode", MODES)
def test_header_tells_size_and_channels_of_what_is_decoded(mode):
    encoded, shown, _ = MODES[mode]
    assert look(encoded) == (*shown.shape, 1)[:3]


def test_palette_of_grays_is_gray():
    picture = Image.fromarray(np.array([[0, 1], [2, 0], [1, 1]], np.uint8), "P")
    picture.putpalette([7, 7, 7, 90, 90, 90, 255, 255, 255])
    assert look(save(picture)) == (3, 2, 1)
    np.testing.assert_array_equal(decode(save(picture), (3, 2), "pad"), [[7, 90], [255, 7], [90, 90]])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("colour", [False, True], ids=["gray", "colour"])
def test_each_format_gives_the_pixels_back_and_its_header_their_shape(form, colour):
    big = np.kron(COLOUR[..., :] if colour else GRAY, np.ones((16, 16, 1) if colour else (16, 16), np.uint8))
    encoded = save(Image.fromarray(big), form, **FORMATS[form])
    assert is_picture(encoded[:MAGIC_BYTES])
    height, width, channels = look(encoded)
    assert (height, width) == (48, 32)
    # WebP has colour alone; of a GIF the palette says it.
    assert channels == (3 if colour or form == "WEBP" else 1)
    tolerance = {"JPEG": 4, "GIF": 0 if not colour else 40}.get(form, 0)
    found = decode(encoded, big.shape, "pad")
    assert np.abs(found.astype(int) - big).max() <= tolerance


def test_of_what_moves_the_first_frame_is_shown():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for form in ("GIF", "WEBP", "PNG"):
        encoded = save(frames[0], form, save_all=True, append_images=frames[1:], **FORMATS[form])
        assert np.abs(decode(encoded, (4, 4, 3), "pad").astype(int) - RED).max() <= 2


# What the eight orientations of EXIF mean (CIPA DC-008, 4.6.4 A): where the stored rows and columns begin.
STORED_AS = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    # The first row is the left side from the top, the right side from the top, the right and the left from the bottom.
    5: lambda shown: np.stack(list(shown.T)),
    6: lambda shown: np.stack([shown[:, -1 - row] for row in range(shown.shape[1])]),
    7: lambda shown: np.stack([shown[::-1, -1 - row] for row in range(shown.shape[1])]),
    8: lambda shown: np.stack([shown[::-1, row] for row in range(shown.shape[1])]),
}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_each_orientation_is_shown_upright_with_its_height_and_width(form, orientation):
    shown = np.kron(GRAY, np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED_AS[orientation](shown))
    encoded = save(Image.fromarray(stored), form, exif=exif, **FORMATS[form])
    assert look(encoded)[:2] == (48, 32)
    assert np.abs(decode(encoded, (48, 32), "pad").astype(int) - shown).max() <= 4


def behind_the_pixels(encoded: bytes, kind: bytes) -> bytes:
    """Moves a chunk of a PNG to where the specification allows it as well."""
    start = encoded.index(kind) - 4
    end = start + 12 + int.from_bytes(encoded[start : start + 4])
    rest = encoded[:start] + encoded[end:]
    return rest[:-12] + encoded[start:end] + rest[-12:]


def told_otherwise(picture: Image.Image, orientation: int) -> dict[str, bytes]:
    """Returns a picture in the forms that have no EXIF in front of their pixels, by what tells the orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    xmp = f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}"/>'
    as_text, with_xmp = PngInfo(), PngInfo()
    # As ImageMagick writes it: the name, the number of bytes, and these in hexadecimal.
    as_text.add_text("Raw profile type exif", f"\nexif\n{len(exif.tobytes())}\n{exif.tobytes().hex()}\n", zip=True)
    with_xmp.add_itxt("XML:com.adobe.xmp", xmp)
    return {
        "eXIf behind the pixels": behind_the_pixels(save(picture, exif=exif), b"eXIf"),
        "EXIF as text behind the pixels": behind_the_pixels(save(picture, pnginfo=as_text), b"zTXt"),
        "XMP behind the pixels": behind_the_pixels(save(picture, pnginfo=with_xmp), b"iTXt"),
        "EXIF as text": save(picture, pnginfo=as_text),
        "XMP of a PNG": save(picture, pnginfo=with_xmp),
        "XMP of a JPEG": save(picture, "JPEG", xmp=xmp.encode(), **FORMATS["JPEG"]),
        "XMP of a WebP": save(picture, "WEBP", xmp=xmp.encode(), **FORMATS["WEBP"]),
    }


@pytest.mark.parametrize("form", told_otherwise(Image.new("L", (1, 1)), 1))
@pytest.mark.parametrize("orientation", STORED_AS)
def test_header_and_decoder_turn_alike_whatever_tells_the_orientation(form, orientation):
    shown = np.kron(GRAY, np.ones((16, 16), np.uint8))
    encoded = told_otherwise(Image.fromarray(np.ascontiguousarray(STORED_AS[orientation](shown))), orientation)[form]
    assert look(encoded)[:2] == (48, 32)
    assert np.abs(decode(encoded, (48, 32), "pad").astype(int) - shown).max() <= 4


def test_damaged_text_behind_the_pixels_is_no_damage_of_the_picture():
    encoded = bytearray(told_otherwise(Image.fromarray(GRAY), 6)["XMP behind the pixels"])
    encoded[encoded.index(b"tiff:Orientation=") + 18] ^= 1
    assert look(bytes(encoded)) == (3, 2, 1)
    np.testing.assert_array_equal(decode(bytes(encoded), (3, 2), "pad"), GRAY)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_damaged_exif_is_no_damage_of_the_picture(form):
    options = {**FORMATS[form], **({"dpi": (72, 72)} if form == "JPEG" else {})}
    picture = Image.fromarray(np.kron(GRAY, np.ones((16, 16), np.uint8)))
    encoded = save(picture, form, exif=b"Exif\0\0garbage of some length", **options)
    assert look(encoded)[:2] == (48, 32)
    np.testing.assert_array_equal(
        decode(encoded, (48, 32), "pad"), decode(save(picture, form, **options), (48, 32), "pad")
    )


def test_orientation_that_is_none_turns_nothing():
    for orientation in (0, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        encoded = save(Image.fromarray(GRAY), exif=exif)
        assert look(encoded) == (3, 2, 1)
        np.testing.assert_array_equal(decode(encoded, (3, 2), "pad"), GRAY)


# fitting


def test_padding_keeps_all_of_an_image_between_black_bars():
    wide = np.full((2, 4), 200, np.uint8)
    np.testing.assert_array_equal(fit(wide, (4, 4), "pad"), [[0] * 4, [200] * 4, [200] * 4, [0] * 4])


def test_cropping_keeps_the_middle():
    wide = np.array([[10, 20, 30, 40], [50, 60, 70, 80]], np.uint8)
    np.testing.assert_array_equal(fit(wide, (2, 2), "crop"), [[20, 30], [60, 70]])


def test_stretching_keeps_neither_shape_nor_bars():
    wide = np.array([[10] * 4, [10] * 4], np.uint8)
    np.testing.assert_array_equal(fit(wide, (4, 4), "stretch"), np.full((4, 4), 10))
    assert fit(np.eye(2, dtype=np.uint8) * 255, (3, 5), "stretch").shape == (3, 5)


@given(size=st.tuples(*[st.integers(1, 60)] * 2), target=st.tuples(*[st.integers(1, 60)] * 2), seed=st.integers(0, 9))
@settings(max_examples=100)
def test_padding_is_pillows_wherever_pillow_can(size, target, seed):
    image = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    try:
        padded = ImageOps.pad(Image.fromarray(image), target[::-1], Image.Resampling.BICUBIC)
    except ValueError:
        # Of an image many times as wide as high, or the reverse, Pillow leaves nothing and fails.
        assert fit(image, target, "pad").shape == target
    else:
        np.testing.assert_array_equal(fit(image, target, "pad"), np.asarray(padded))


@pytest.mark.parametrize("how", ["pad", "crop", "stretch"])
def test_image_of_that_size_is_left_as_it_is_whatever_is_asked(how):
    np.testing.assert_array_equal(fit(COLOUR, (3, 2, 3), how), COLOUR)
    np.testing.assert_array_equal(decode(save(Image.fromarray(GRAY)), (3, 2), how), GRAY)


def test_gray_is_repeated_for_colour_and_colour_is_weighed_for_gray():
    np.testing.assert_array_equal(fit(GRAY, (3, 2, 3), "pad"), np.stack([GRAY] * 3, axis=-1))
    np.testing.assert_array_equal(fit(GRAY[..., None], (3, 2), "pad"), GRAY)
    # ITU-R BT.601.
    weighed = COLOUR.astype(np.float64) @ [0.299, 0.587, 0.114]
    assert np.abs(fit(COLOUR, (3, 2), "pad") - weighed).max() <= 1


def test_fourth_channel_is_opacity_and_two_cannot_be_fitted():
    found = fit(opacity(COLOUR, ALPHA), (3, 2, 3), "pad")
    assert np.abs(found - ON_WHITE["colour"]).max() <= 1
    with pytest.raises(BrokenPictureError, match="it has 2 channels"):
        fit(COLOUR[..., :2], (4, 4), "pad")


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_other_channels_than_a_picture_has_are_told_as_what_is_expected(channels):
    with pytest.raises(BrokenPictureError, match=f"^a picture has 1 or 3 channels, and {channels} are expected$"):
        decode(save(Image.fromarray(opacity(COLOUR, ALPHA), "RGBA")), (3, 2, channels), "pad")
    with pytest.raises(BrokenPictureError, match=f"^nothing else becomes an image of {channels} channels$"):
        fit(GRAY, (3, 2, channels), "pad")
    whole = np.zeros((3, 2, channels), np.uint8)
    np.testing.assert_array_equal(decode(tf.io.serialize_tensor(whole).numpy(), whole.shape, "pad"), whole)


def test_large_jpeg_is_fitted_as_the_whole_of_it_is():
    """Decoded at a quarter; a slope stays what it is."""
    slope = np.repeat(np.linspace(0, 255, 1024).astype(np.uint8)[None], 1024, axis=0)
    found = decode(save(Image.fromarray(slope), "JPEG", quality=95), (16, 16), "stretch")
    wanted = slope.reshape(1024, 16, 64).mean(axis=2)[:16].astype(np.float64)
    assert np.abs(found - wanted)[:, 1:-1].max() <= 2


@given(height=st.integers(1, 40), width=st.integers(1, 40), channels=st.sampled_from([(), (3,)]), data=st.data())
@settings(max_examples=60)
def test_any_size_becomes_any_other(height, width, channels, data):
    image = np.full((height, width, *channels), 100, np.uint8)
    shape = (data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40)), *data.draw(st.sampled_from([(), (3,)])))
    how = data.draw(st.sampled_from(["pad", "crop", "stretch"]))
    found = decode(save(Image.fromarray(image)), shape, how)
    assert (found.shape, found.dtype) == (shape, np.uint8)
    # Of one colour all is that colour, but for the bars.
    assert set(np.unique(found)) <= ({0, 100} if how == "pad" else {100})
    assert 100 in found


# a serialized tensor, as records of this project have it


@pytest.mark.parametrize("image", [GRAY, COLOUR, COLOUR[..., :1], COLOUR[..., :2]], ids=["gray", "colour", "1", "2"])
def test_serialized_tensor_is_taken_as_a_picture(image):
    encoded = tf.io.serialize_tensor(image).numpy()
    assert look(encoded) == (*image.shape, 1)[:3]
    shown = image[..., 0] if image.shape[2:] == (1,) else image
    np.testing.assert_array_equal(decode(encoded, shown.shape, "pad"), shown)


# what is no picture


@pytest.mark.parametrize("content", [b"", b"hello, world\n" * 20, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"<svg/>"])
def test_bytes_that_are_no_picture_are_refused_by_look_and_decode(content):
    for read in (look, lambda content: decode(content, (3, 2), "pad")):
        with pytest.raises(BrokenPictureError) as raised:
            read(content)
        assert "BytesIO" not in str(raised.value)
        assert str(raised.value)
    assert is_picture(content[:MAGIC_BYTES]) == content.startswith((b"\x89PNG", b"\xff\xd8"))


@pytest.mark.parametrize("transparent", [False, True])
def test_png_without_the_palette_that_it_promises_is_refused_by_look_and_decode(transparent):
    whole = palette(transparent)
    encoded = without(whole, b"PLTE")
    assert len(whole) - len(encoded) == 12 + 9
    for read in (look, lambda content: decode(content, (4, 4), "pad")):
        with pytest.raises(BrokenPictureError, match=r"^it has no palette$"):
            read(encoded)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_picture_is_refused(form, share):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    encoded = save(Image.fromarray(noise), form, **FORMATS[form])
    with pytest.raises(BrokenPictureError):
        decode(encoded[: int(len(encoded) * share)], (40, 40), "pad")


def test_one_changed_pixel_of_a_png_is_refused_for_its_checksum():
    encoded = bytearray(save(Image.fromarray(np.zeros((40, 40), np.uint8)), compress_level=0))
    encoded[encoded.index(b"IDAT") + 100] ^= 1
    with pytest.raises(BrokenPictureError, match="the checksum of its pixels is another"):
        decode(bytes(encoded), (40, 40), "pad")


# A changed header may promise up to 179 megapixels, which are no error; whoever reads a data set is not warned.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=60)
@given(data=st.data())
def test_damage_is_refused_or_gives_an_image_of_that_shape(form, data):
    encoded = save(Image.fromarray(np.kron(COLOUR, np.ones((5, 5, 1), np.uint8))), form, **FORMATS[form])
    place = data.draw(st.integers(0, len(encoded) - 1))
    changed = bytes([encoded[place] ^ data.draw(st.integers(1, 255))])
    content = data.draw(st.sampled_from([encoded[:place], encoded[:place] + changed + encoded[place + 1 :]]))
    try:
        look(content)
        found = decode(content, (8, 8, 3), "pad")
    except BrokenPictureError as error:
        assert str(error)
    else:
        assert (found.shape, found.dtype) == ((8, 8, 3), np.uint8)
