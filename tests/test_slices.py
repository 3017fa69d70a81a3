"""How an image's brightness is named."""

import numpy as np
import pytest

from components.records import image_encoder
from components.slices import brightness


@pytest.mark.parametrize("encoding", ["tensor", "png"])
def test_brightness_goes_by_the_mean_grey_level(encoding):
    levels = [0, 39, 40, 109, 110, 255]
    encode = image_encoder(encoding, (4, 6))
    images = [encode(np.full((4, 6), level, np.uint8)) for level in levels]
    assert brightness(images, (4, 6)).tolist() == ["dark", "dark", "medium", "medium", "bright", "bright"]
