"""The parts of a data set for which quality is reported apart: each class, and how bright an image is.

Synopsis:

    brightness(images, (28, 28))        # [b"...", ...] -> array(["dark", "medium", ...])
"""

import numpy as np

from components.image_statistics import image_table

CLASS, BRIGHTNESS = "class", "brightness"
# Means of the grey levels, 0 to 255. A sixth of the images of Fashion-MNIST are dark: sandals, trousers and other thin
# things, and black clothes; a sixth are bright: pullovers, coats, bags.
_DARK_BELOW, _BRIGHT_FROM = 40.0, 110.0


def brightness(images: list[bytes], image_shape: tuple[int, ...]) -> np.ndarray:
    """Names the brightness of encoded images: "dark", "medium" or "bright", [n]."""
    table = image_table(images, np.zeros(len(images), np.int64), image_shape)
    mean = np.array(table.column("image_mean").flatten(), np.float32)
    return np.select([mean < _DARK_BELOW, mean >= _BRIGHT_FROM], ["dark", "bright"], "medium")
