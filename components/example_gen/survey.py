"""Sees what the parts of a data set hold, without decoding them: before anything is run.

Synopsis:

    survey = survey_part(part, Broken(0))
    survey.labels, survey.sizes, survey.channels, survey.digest
"""

import collections
import dataclasses
from pathlib import Path
from typing import NoReturn

import numpy as np

from components.errors import InputError
from components.example_gen.broken import Broken, where
from components.example_gen.kinds import PicturePart, PixelPart
from components.example_gen.kinds.registry import Picture
from components.example_gen.reading import Digest, pixel_blocks, plain_labels
from components.pictures import BrokenPictureError, look


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """What a part holds.

    Attributes:
      labels: as in the files: whole numbers, int64, or text [n], without those of broken pictures.
      sizes: how many images have each (height, width).
      channels: the most that one of them has.
      pixels: whether the images are pixels of one shape, (height, width) or with channels; None for pictures.
      digest: of all images and labels.
      label_file: that the labels are in; "" where each picture has its own.
      firsts: of pictures the first of each label, in words.
    """

    labels: np.ndarray
    sizes: collections.Counter
    channels: int
    pixels: tuple[int, ...] | None
    digest: Digest
    label_file: str
    firsts: dict[int | str, str]

    def where(self, position: int) -> tuple[str, str]:
        """Names, for an error, the file of the label at `position` and where in it that is, "" for a picture."""
        label = self.labels[position].item()
        picture = self.firsts.get(label) or self.firsts.get(str(label))
        return (picture, "") if picture else (self.label_file, f" at position {position}")


def look_at(picture: Picture) -> tuple[int, int, int]:
    """Does what `look` does.

    Raises:
      BrokenPictureError: there is no header that can be read, or nothing at all.
    """
    if picture.fault:
        raise BrokenPictureError(picture.fault)
    return look(picture.encoded)


def survey_part(part: PixelPart | PicturePart, broken: Broken) -> Survey:
    """Reads a part without decoding it.

    Raises:
      InputError: a file is damaged, has an empty text for a label, or too many broken pictures.
    """
    digest, sizes, channels, pixels, firsts = Digest(), collections.Counter(), 1, None, {}
    labels, kept, label_file = [], [], ""
    if isinstance(part, PixelPart):
        label_file = str(part.label_file)
        for images, given in pixel_blocks(part):
            digest.pixels(images)
            pixels = images.shape[1:]
            sizes[pixels[:2]] += len(images)
            channels = pixels[2] if len(pixels) > 2 else 1
            if given.dtype.kind == "U" and not (named := np.char.strip(given) != "").all():
                _refuse_unnamed(label_file, sum(map(len, labels)) + int(named.argmin()))
            labels.append(given)
    else:
        for picture in part.pictures():
            digest.picture(picture.encoded)
            if isinstance(picture.label, str) and not picture.label.strip():
                _refuse_unnamed(picture.file, picture.position)
            labels.append(picture.label)
            try:
                height, width, shown = look_at(picture)
            except BrokenPictureError as error:
                broken.add(picture.file, picture.position, error)
                continue
            sizes[height, width] += 1
            channels = max(channels, shown)
            kept.append(picture.label)
            firsts.setdefault(picture.label, where(picture.file, picture.position))
        labels, kept = [labels], [kept]
    digest.labels(plain_labels(labels))
    return Survey(
        labels=plain_labels(kept or labels),
        sizes=sizes,
        channels=channels,
        pixels=pixels,
        digest=digest,
        label_file=label_file,
        firsts=firsts,
    )


def _refuse_unnamed(file: Path | str, position: int | None) -> NoReturn:
    """Raises `InputError`: a class without a name would train, and its model not be served."""
    raise InputError(f"{where(file, position)}: expected a label, found an empty text. Name its class.")
