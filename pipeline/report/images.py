"""Puts small images side by side into one picture, of which the page shows a part for each.

Synopsis:

    sprite = Sprite.of({0: image, 7: other})         # uint8 [height, width, channels]
    sprite.uri, sprite.place(7)                      # "data:image/png;base64,...", (1, 0)
"""

import base64
import dataclasses
import io
import math
from collections.abc import Hashable, Mapping

import numpy as np
from PIL import Image

# Larger images are shrunk: the report is for a look, not for pixels.
LARGEST_SIDE = 56


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sprite:
    """Many images of one size in one PNG.

    Attributes:
      uri: the PNG as a data URI.
      width, height: of one image in pixels.
      columns, rows: how many lie side by side and below each other.
      positions: number of each image, by its key.
    """

    uri: str
    width: int
    height: int
    columns: int
    rows: int
    positions: dict[Hashable, int]

    @classmethod
    def of(cls, images: Mapping[Hashable, np.ndarray]) -> "Sprite":
        """Makes the sprite of images, uint8 [height, width, channels] with 1, 3 or 4 channels, all of one shape."""
        pictures = [thumbnail(image) for image in images.values()] or [Image.new("L", (1, 1))]
        width, height = pictures[0].size
        columns = math.ceil(math.sqrt(len(pictures)))
        rows = math.ceil(len(pictures) / columns)
        sheet = Image.new(pictures[0].mode, (columns * width, rows * height))
        for number, picture in enumerate(pictures):
            sheet.paste(picture, (number % columns * width, number // columns * height))
        stream = io.BytesIO()
        sheet.save(stream, "PNG", optimize=True)
        return cls(
            uri="data:image/png;base64," + base64.b64encode(stream.getvalue()).decode(),
            width=width,
            height=height,
            columns=columns,
            rows=rows,
            positions={key: number for number, key in enumerate(images)},
        )

    def place(self, key: Hashable) -> tuple[int, int]:
        """Returns column and row of an image."""
        number = self.positions[key]
        return number % self.columns, number // self.columns


def thumbnail(image: np.ndarray) -> Image.Image:
    """Returns an image as a picture of at most LARGEST_SIDE pixels a side; of odd channel counts, the first."""
    channels = image.shape[-1]
    picture = Image.fromarray(np.ascontiguousarray(image if channels in (3, 4) else image[..., 0]))
    if max(picture.size) > LARGEST_SIDE:
        picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    return picture
