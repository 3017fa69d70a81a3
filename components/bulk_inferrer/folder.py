"""Asks a served model about images of any kind that ExampleGen reads, prepared as for its training.

Synopsis:

    loaded = tf.saved_model.load(saved_model)
    asked = Asking(read_card(saved_model), loaded.signatures["predict_images"], Broken(0))
    for table in asked.predictions(contents):           # pa.Table with the columns of a file of predictions
        print(table["class_name"])
    asked.warnings()                                    # e.g. ["3 of 20 images are in colour, and were ..."]
"""

import collections
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf

from components.errors import InputError
from components.example_gen.broken import Broken, printable, where
from components.example_gen.classes import Classes
from components.example_gen.kinds import PARTS, Contents, PicturePart, PixelPart
from components.example_gen.kinds.registry import UNLABELLED, Picture
from components.example_gen.reading import (
    Block,
    Digest,
    ImageForm,
    describe,
    read_part,
)
from components.example_gen.survey import look_at
from components.pictures import BrokenPictureError
from components.prediction_columns import COLUMNS
from components.statistics_gen.image_statistics import pixel_features
from models.examples import is_own_shard
from models.memory import inference_rows

_WORDS = {
    "image_mean": "mean brightness",
    "image_stddev": "contrast",
    "image_black": "share of black",
    "image_saturated": "share of white",
}


class Asking:
    """Predictions for images, and what of them is not as the model knows it."""

    def __init__(self, card: dict, model: Callable[..., dict], broken: Broken) -> None:
        """Takes a model.

        Args:
          card: what it says of itself; see `models.card`.
          model: its signature `predict_images`.
          broken: counts the broken pictures.
        """
        self.form = ImageForm(tuple(card["image_shape"]), card["image_fit"])
        self.ranges = card["ranges"]
        self.classes = Classes(names=tuple(card["class_names"]), values=tuple(card["class_values"]))
        self.broken = broken
        self.count = 0
        self._model = model
        self._sizes: collections.Counter = collections.Counter()
        self._coloured = 0
        # Of the pictures that were read but not yet answered.
        self._looks: dict[tuple[Path, int | None], tuple[int, int, int]] = {}
        # How many images lie outside of what training had, and how the first of them does.
        self._outside, self._outside_count = "", 0

    def predictions(self, contents: Contents) -> Iterator[pa.Table]:
        """Yields the predictions for all images, some at a time.

        Raises:
          InputError: a file is damaged, or has too many broken pictures.
        """
        rows = inference_rows(self.form.shape)
        for part in (contents.parts[name] for name in PARTS if name in contents.parts):
            watched = part
            if isinstance(part, PicturePart):
                watched = PicturePart(pictures=lambda part=part: self._looked_at(part))
            self._looks.clear()
            for block in self._whole_ones(read_part(watched, self.form, self.broken, Digest())):
                if isinstance(part, PixelPart):
                    self._note(*(*block.stored, 1)[:3], len(block.images))
                else:
                    for picture in zip(block.files, block.positions, strict=True):
                        self._note(*self._looks[picture], 1)
                    self._looks.clear()
                for start in range(0, len(block.images), rows):
                    yield self._ask(Block(*(field[start : start + rows] for field in block[:4]), block.stored))

    def warnings(self) -> list[str]:
        """Returns what a person should know of the images that were asked about, a line each."""
        lines = []
        shape = self.form.shape
        if self._coloured and (len(shape) == 2 or shape[2] == 1):
            lines.append(
                f"{_images(self._coloured, self.count, 'is', 'are')} in colour, and turned gray, as the model knows "
                "them"
            )
        other = {size: count for size, count in self._sizes.items() if size != tuple(shape[:2])}
        if other:
            size, _ = max(other.items(), key=lambda pair: pair[1])
            lines.append(
                f"{_images(sum(other.values()), self.count, 'has', 'have')} another size (such as {describe(size)}), "
                f"fitted into {describe(shape[:2])} by '{self.form.fit}', as for training"
            )
        if self._outside_count:
            lines.append(
                f"{_images(self._outside_count, self.count, 'lies', 'lie')} outside of what the model was trained on, "
                f"where answers are guesses: {self._outside}"
            )
        return [*lines, *(f"broken and left out: {told}" for told in self.broken)]

    def _whole_ones(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Yields blocks up to where their file is damaged, if what is broken may be left out."""
        try:
            yield from blocks
        except InputError as error:
            self.broken.add_rest(error)

    def _looked_at(self, part: PicturePart) -> Iterator[Picture]:
        for picture in part.pictures():
            # Of a broken one whoever decodes it tells.
            with contextlib.suppress(BrokenPictureError):
                self._looks[picture.file, picture.position] = look_at(picture)
            yield picture

    def _note(self, height: int, width: int, channels: int, count: int) -> None:
        self._sizes[height, width] += count
        self._coloured += count * (channels > 1)

    def _ask(self, block: Block) -> pa.Table:
        images = np.ascontiguousarray(block.images)
        found = self._model(images=tf.constant(images))
        probabilities = found["probabilities"].numpy()
        labels = self._numbers(block)
        self._compare(images, block)
        columns = {
            "source": [printable(file) for file in block.files],
            "example": np.arange(self.count, self.count + len(images)),
            "label": pa.array(labels, pa.int64(), mask=labels == UNLABELLED),
            "prediction": found["class_id"].numpy(),
            "class_name": [name.decode() for name in found["class_name"].numpy()],
            "probability": probabilities.max(axis=-1),
            "probabilities": list(probabilities),
        }
        self.count += len(images)
        return pa.table(columns, schema=COLUMNS)

    def _numbers(self, block: Block) -> np.ndarray:
        """Returns the number of the class that each label names, int64 [n]; -1 where it is none of the model's."""
        if all(map(is_own_shard, block.files)):
            # The records of this project have the number itself.
            return np.where(block.labels < len(self.classes.names), block.labels, UNLABELLED)
        return self.classes.number(block.labels)

    def _compare(self, images: np.ndarray, block: Block) -> None:
        """Takes note of images whose brightness, contrast, black or white no training image had."""
        if not self.ranges:
            return
        features = pixel_features(images[..., None] if images.ndim == 3 else images)
        outside = np.zeros(len(images), bool)
        for name, (low, high) in self.ranges.items():
            odd = (features[name] < low) | (features[name] > high)
            if odd.any() and not self._outside:
                record = int(odd.argmax())
                self._outside = (
                    f"{where(block.files[record], block.positions[record])} has {_WORDS[name]} "
                    f"{features[name][record]:.3g}, training had {low:.3g} to {high:.3g}, a margin included"
                )
            outside |= odd
        self._outside_count += int(outside.sum())


def _images(some: int, count: int, one: str, many: str) -> str:
    """Returns "1 of 6 images is", given the verb in both numbers."""
    return f"{some:,} of {count:,} images {one if some == 1 else many}"
