"""The slicings: ways to part the examples so that quality is reported for each part, as by class.

A decorated function here is all that a slicing needs. Its slices are then measured, can have floors, stand in
`summary.json`, and are a column of the predictions that the report reads. A slicing in a module of its own has to be
imported at the end of this one: the cache keys of the nodes count what is imported. Nothing here imports TensorFlow.

Synopsis:

    @slicing("contrast")
    def by_contrast(images, labels, class_names):      # uint8 [n, height, width, channels], int64 [n] -> str [n]
        return np.where(np.ptp(images, axis=(1, 2, 3)) < 128, "flat", "rich")

    slice_names(images, labels, class_names, ["contrast"])["contrast"]      # array(["rich", "flat", ...])
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from components.errors import PipelineError
from components.prediction_columns import COLUMNS
from models.features import IMAGE, LABEL

Slicing = Callable[[np.ndarray, np.ndarray, Sequence[str]], np.ndarray]

CLASS = "class"
# Of data that come in spans: by where a record lies, not by what it shows.
SPAN = "span"
# A slicing is a feature beside those of a record and a column beside those of a prediction.
RESERVED = (IMAGE, LABEL, SPAN, *COLUMNS.names)
# Means of the grey levels, 0 to 255. A sixth of the images of Fashion-MNIST are dark: sandals, trousers and other thin
# things, and black clothes; a sixth are bright: pullovers, coats, bags.
_DARK_BELOW, _BRIGHT_FROM = 40.0, 110.0

SLICINGS: dict[str, Slicing] = {}


def slicing(name: str) -> Callable[[Slicing], Slicing]:
    """Returns a decorator that adds a function to `SLICINGS`.

    The function names the slice of each of n examples, str [n], from their images, uint8 [n, height, width, channels],
    their labels, int64 [n], and the class names by label. It is called for a batch at a time.

    Args:
      name: an identifier, as in floors.

    Raises:
      ValueError: it is none, or taken.
    """
    if not name.isidentifier():
        raise ValueError(f"slicing {name!r}: expected a Python identifier as its name.")
    if name in RESERVED or name in SLICINGS:
        raise ValueError(f"slicing {name}: expected a name that is not taken yet.")

    def add(function: Slicing) -> Slicing:
        SLICINGS[name] = function
        return function

    return add


def slice_names(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], slicings: Iterable[str]
) -> dict[str, np.ndarray]:
    """Returns for each of `slicings` the slice of each example, str [n].

    Args:
      images: uint8 [n, height, width, channels].
      labels: int64 [n].
      class_names: by label.
      slicings: names in `SLICINGS`.

    Raises:
      PipelineError: a slicing's function fails or gives something else than n names.
    """
    return {name: _checked(name, images, labels, class_names) for name in slicings}


def _checked(name: str, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    try:
        found = np.asarray(SLICINGS[name](images, labels, class_names))
    except Exception as error:  # whatever the function fails with, its name has to be told
        raise PipelineError(
            f"slicing {name}: expected the slices of {len(images)} examples, found {type(error).__name__}: {error}. "
            "Mend its function."
        ) from error
    if found.shape != (len(images),) or not all(isinstance(value, str) for value in found):
        raise PipelineError(
            f"slicing {name}: expected {len(images)} names (str), one for each example, found an array of "
            f"{found.dtype} {list(found.shape)}. Mend its function."
        )
    return found.astype(str)


@slicing(CLASS)
def by_class(images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Names the class of each label."""
    return np.array(class_names)[labels]


@slicing("brightness")
def by_brightness(images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Names how bright the images are: "dark", "medium" or "bright"."""
    mean = images.reshape(len(images), -1).mean(axis=1).astype(np.float32)
    return np.select([mean < _DARK_BELOW, mean >= _BRIGHT_FROM], ["dark", "bright"], "medium")
