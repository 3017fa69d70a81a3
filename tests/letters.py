"""Draws letters, of which some are the mirror image of another: what a model must not be trained on mirrored.

Synopsis:

    images, labels = draw_letters("bdpq", 5, seed=0)            # uint8 [20, 28, 28], whole numbers [20]
"""

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 28
_FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
_NAMES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")


def draw_letters(letters: str, each: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns white letters on black, each in a font, size, place and slant of its own, in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(letters)), each))
    return np.stack([_draw(letters[label], rng) for label in labels]), labels


def _draw(letter: str, rng: np.random.Generator) -> np.ndarray:
    font = ImageFont.truetype(str(_FONTS / rng.choice(_NAMES)), int(rng.integers(16, 24)))
    picture = Image.new("L", (SIDE, SIDE))
    place = SIDE / 2 + rng.uniform(-3, 3, 2)
    ImageDraw.Draw(picture).text(tuple(place), letter, fill=255, font=font, anchor="mm")
    pixels = np.asarray(picture.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR), np.float64)
    return np.clip(pixels + rng.normal(0, 12, pixels.shape), 0, 255).astype(np.uint8)
