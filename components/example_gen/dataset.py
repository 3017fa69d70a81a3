"""Finds out what a data folder holds, before anything is run: its kind, images, classes and digest.

Beside the files of its kind (`kinds/`) a data set may have `classes.txt` with one class name a line and
`schema.pbtxt`, the curated schema. Fashion-MNIST is recognized by images and labels of training or of test, in
whatever form they lie, so that an altered copy still meets the schema of the original; a resized or regrouped one is
another data set.

Synopsis:

    dataset = inspect_dataset(Path("data"))
    dataset.image_shape, dataset.class_names, dataset.digest
"""

import collections
import dataclasses
import hashlib
import math
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from components.errors import InputError
from components.example_gen.broken import Broken
from components.example_gen.classes import Classes, name_classes, read_class_names
from components.example_gen.kinds import PARTS, Contents, PixelPart, find_kind
from components.example_gen.kinds.registry import kinds_beside, list_files, nothing_found
from components.example_gen.reading import Digest, ImageForm, describe, read_part
from components.example_gen.spans import Span, SpanPattern
from components.example_gen.survey import Survey, survey_part
from components.text import read_text
from models.features import FASHION_MNIST_CLASSES, TEST, TRAIN

# Of images and labels, by part: what `Digest` gives.
_FASHION_MNIST = {
    TRAIN: (
        "a3719f72379ca40f00ff8e20ba3886de905da312abe8e5b77b84ff99135a5df6",
        "724b9b615bbcb88cf77921062a0e321197c2ce7ffb05960049ec9cb9802d57fb",
    ),
    TEST: (
        "bacdf9fddbb8ccd68d6987f7c3b5245dc8dfc6429a309ca7a30613b54c6c215c",
        "53940bba076b8669d839fe7c2680ae8107d9db19cb8b209dc41c73d9c9496f62",
    ),
}
_FASHION_MNIST_SHAPE, _FASHION_MNIST_COUNTS = (28, 28), {TRAIN: 60_000, TEST: 10_000}
_SIZES_TOLD = 4
# Of images that cannot be read.
NO_SHAPE = (1, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What the images of a data set become; what is None, the data decide.

    Attributes:
      size: (height, width).
      channels: 1 or 3.
      fit: how an image of another size is fitted, one of `models.features.FITS`.
      broken: how many broken pictures may be left out.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    fit: str = "pad"
    broken: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a data folder holds.

    Attributes:
      name: "fashion_mnist", or the folder's; letters, digits and underscores. What is compared with what came before,
        and served in its place, has the same name, shape and number of classes.
      folder: where the files lie, or the one file.
      kind: of input, a name in `KINDS`.
      contents: the parts to read; None where a run reads none of them.
      counts: number of images by part that the data give, "train" and, if they have them, "val" and "test".
      image_shape: (height, width) or (height, width, channels).
      image_fit: how images of another size are fitted into it.
      broken: how many broken pictures may be left out.
      class_names: the name of each class, by its number.
      class_values: the label that each class has in the files.
      class_counts: number of training images by class.
      digest: SHA-256 over what is read, hexadecimal; of pixels in whatever files they lie.
      is_fashion_mnist: whether training or test images and labels are those of the original.
      schema: the text of the curated schema beside the files, "" where there is none.
      floors: of the owner, by preset; `pipeline/run/data.py` reads them, for the code of metrics is none of what the
        examples are made by.
      notes: what a person should know of how the files were read.
      span: that it is, of data that arrive in spans.
      unreadable: of a span whose files cannot be used, why; it has no contents then.
    """

    name: str
    folder: Path
    kind: str
    contents: Contents | None = dataclasses.field(compare=False)
    counts: dict[str, int]
    image_shape: tuple[int, ...]
    image_fit: str
    broken: int
    class_names: tuple[str, ...]
    class_values: tuple[int | str, ...]
    class_counts: tuple[int, ...]
    digest: str
    is_fashion_mnist: bool
    schema: str
    floors: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...]
    span: Span | None = None
    unreadable: str = ""

    @property
    def form(self) -> ImageForm:
        """What the images become."""
        return ImageForm(self.image_shape, self.image_fit)

    @property
    def classes(self) -> Classes:
        """The classes, to number labels by."""
        return Classes(names=self.class_names, values=self.class_values)

    def describe(self) -> str:
        """Returns what was found, in a line."""
        counts = [f"{self.counts[part]:,} {part}" for part in PARTS if part in self.counts]
        found = f"{' and '.join(counts)} images of {describe(self.image_shape)}, {len(self.class_names):,} classes"
        return "; ".join([f"{self.kind}: {found}", *self.notes])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Earlier:
    """What the spans before one have, which it has to have as well.

    Attributes:
      image_shape: of their images; None where it may be any.
      classes: of all of them; a new one comes behind them, so that the numbers in earlier examples stay.
    """

    image_shape: tuple[int, ...] | None
    classes: Classes


def inspect_dataset(
    folder: Path,
    images: ImageSettings | None = None,
    *,
    span: Span | None = None,
    earlier: Earlier | None = None,
) -> Dataset:
    """Reads shapes, labels and digests of the data set in `folder`.

    Args:
      folder: of the data, or the one file that they are in.
      images: what the images are to become.
      span: that they are, if they are one; what belongs to all spans may lie in the folder below which all are.
      earlier: of a span, what those before it have.

    Raises:
      InputError: there is none, a file is damaged, or its parts do not fit together.
    """
    images = images or ImageSettings()
    listing = list_files(folder)
    found = find_kind(folder, listing=listing)
    if found is None:
        raise InputError(f"{folder}: expected a data set, {nothing_found(folder)}. Point --data-dir at one.")
    kind, files = found
    contents = kind.open(files)
    parts = [part for part in PARTS if part in contents.parts]
    broken = Broken(images.broken)
    with ThreadPoolExecutor() as threads, warnings.catch_warnings():
        # A picture of 100 megapixels is large, not an attack; one of twice as many is an error all the same.
        warnings.simplefilter("ignore")
        # Decompressing and hashing leave the interpreter to others.
        surveyed = threads.map(lambda part: survey_part(contents.parts[part], broken), parts)
        surveys = dict(zip(parts, surveyed, strict=True))
    for part, survey in surveys.items():
        if not len(survey.labels):
            raise InputError(f"{folder}: expected images for {part}, found none. Add some, or take the part away.")
    image_shape = _image_shape(folder, surveys, images)
    if earlier and earlier.image_shape not in (None, image_shape):
        same_size = earlier.image_shape[:2] == image_shape[:2]
        raise InputError(
            f"{folder}: expected images of {describe(earlier.image_shape)}, as the spans before have, found "
            f"{describe(image_shape)}. "
            + (
                "Say what all are to have: --set image_channels=3 (or 1, gray)."
                if same_size
                else "Choose a size that all are fitted into: --set image_size=HEIGHT,WIDTH."
            )
        )
    beside = folders_beside(folder, span)
    others = kinds_beside(kind, folder, listing)
    listed, notes = None, [*contents.notes, *(f"{name} is there as well and is passed over" for name in others)]
    if (names := _first(beside, "classes.txt")) is not None:
        listed, note = read_class_names(names)
        notes += [note] if note else []
    is_fashion_mnist = span is None and any(
        _is_fashion_mnist(part, contents, surveys[part], image_shape) for part in parts
    )
    given = contents.class_names or (FASHION_MNIST_CLASSES if is_fashion_mnist else None)
    try:
        classes = name_classes(surveys[TRAIN].labels, given=given, listed=listed, earlier=earlier and earlier.classes)
    except InputError as error:
        raise InputError(f"{surveys[TRAIN].label_file or folder}: {error}") from None
    _check_classes(classes, surveys)
    counts = collections.Counter(classes.number(surveys[TRAIN].labels).tolist())
    notes += [*classes.notes, *([f"broken and left out: {broken}"] if len(broken) else [])]
    # Not where links lead to: what lies beside the data, and their name, are where a person put them.
    named = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() follows links
    stem = named.name if named.is_dir() else named.name.partition(".")[0]
    return Dataset(
        name="fashion_mnist" if is_fashion_mnist else re.sub(r"\W+", "_", stem) or "data",
        folder=named,
        kind=kind.name,
        contents=contents,
        counts={part: len(survey.labels) for part, survey in surveys.items()},
        image_shape=image_shape,
        image_fit=images.fit,
        broken=images.broken,
        class_names=classes.names,
        class_values=classes.values,
        class_counts=tuple(counts[number] for number in range(len(classes.names))),
        digest=combine_digests({part: survey.digest for part, survey in surveys.items()}),
        is_fashion_mnist=is_fashion_mnist,
        schema=read_schema(beside),
        notes=tuple(notes),
        span=span,
    )


def unreadable_span(folder: Path, span: Span, earlier: Earlier | None, error: InputError) -> Dataset:
    """Returns what stands for a span whose files cannot be used, so that a run can tell it and be told of it."""
    classes = earlier.classes if earlier else Classes(names=(), values=())
    return Dataset(
        name=span.name,
        folder=folder,
        kind="",
        contents=None,
        counts={},
        image_shape=(earlier and earlier.image_shape) or NO_SHAPE,
        image_fit="pad",
        broken=0,
        class_names=classes.names,
        class_values=classes.values,
        class_counts=(0,) * len(classes.names),
        digest=f"unreadable {span.signature}",
        is_fashion_mnist=False,
        schema="",
        notes=(),
        span=span,
        unreadable=str(error),
    )


def folder_beside(data: Path) -> Path:
    """Returns the folder in which what belongs to the data lies: theirs, or that of the one file that they are in."""
    return data if os.path.isdir(data) else data.parent  # noqa: PTH112 - pathlib's raises where it may not look


def folders_beside(data: Path, span: Span | None) -> tuple[Path, ...]:
    """Returns the folders in which what belongs to the data is looked for: of a span, behind its own, that of all."""
    return (folder_beside(data), *([SpanPattern(span.pattern).root] if span else []))


def _first(folders: Iterable[Path], name: str) -> Path | None:
    # That of pathlib raises where it may not look.
    return next((folder / name for folder in folders if os.path.isfile(folder / name)), None)  # noqa: PTH113


def read_schema(folders: Iterable[Path]) -> str:
    """Returns the text of the curated schema in the first of some folders that has one, "" where none has.

    Raises:
      InputError: it is no schema.
    """
    path = _first(folders, "schema.pbtxt")
    return read_schema_file(path) if path else ""


def read_schema_file(path: Path) -> str:
    """Returns the text of a curated schema.

    Raises:
      InputError: it is none; the line and the column of the first mistake are told.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    text, _ = read_text(path)
    if not text.strip():
        raise InputError(f"{path}: expected a schema, found an empty file. Delete it, or copy one there.")
    try:
        text_format.Parse(text, schema_pb2.Schema())
    except text_format.ParseError as error:
        raise InputError(f"{path}: expected a schema, found an error at {error}. Mend it there.") from None
    return text


def combine_digests(digests: Mapping[str, Digest]) -> str:
    """Returns one digest for a data set, given that of each part."""
    told = [f"{part} {digests[part].of_images} {digests[part].of_labels}" for part in PARTS if part in digests]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _check_classes(classes: Classes, surveys: Mapping[str, Survey]) -> None:
    """Raises `InputError` where a part has a class that training lacks."""
    for part, survey in surveys.items():
        numbers = classes.number(survey.labels)
        if numbers.min() < 0:
            position = int(numbers.argmin())
            file, place = survey.where(position)
            raise InputError(
                f"{file}: expected the {len(classes.names)} classes that training has, found {survey.labels[position]} "
                f"in {part}{place}. Add such images to training, or take them away."
            )


def _image_shape(folder: Path, surveys: Mapping[str, Survey], images: ImageSettings) -> tuple[int, ...]:
    """Returns the shape that all images have or are to have: (height, width) for gray, or with 3 channels."""
    sizes: collections.Counter = sum((survey.sizes for survey in surveys.values()), collections.Counter())
    size = images.size or sizes.most_common(1)[0][0]
    if images.size is None and len(sizes) > 1:
        told = ", ".join(f"{describe(size)} ({count:,})" for size, count in sizes.most_common(_SIZES_TOLD))
        others = ", ..." if len(sizes) > _SIZES_TOLD else ""
        raise InputError(
            f"{folder}: expected images of one size, found {told}{others}. Choose one that all are fitted into, such "
            f"as the commonest: --set image_size={size[0]},{size[1]} (and --set image_fit=pad, crop or stretch)."
        )
    channels = images.channels or max(survey.channels for survey in surveys.values())
    pixels = {survey.pixels for survey in surveys.values()}
    if images.channels is None and len(pixels) == 1 and None not in pixels and list(sizes) == [size]:
        # As the file has them, also with two channels or many.
        (stored,) = pixels
        return tuple(map(int, (*size, *stored[2:])))
    # What has to be fitted is gray or has three colours.
    return tuple(map(int, (*size, 3) if channels > 1 else size))


def _is_fashion_mnist(part: str, contents: Contents, survey: Survey, image_shape: tuple[int, ...]) -> bool:
    if image_shape != _FASHION_MNIST_SHAPE or len(survey.labels) != _FASHION_MNIST_COUNTS.get(part):
        return False
    images, labels = _FASHION_MNIST[part]
    if survey.digest.of_labels != labels:
        return False
    if isinstance(contents.parts[part], PixelPart):
        return survey.digest.of_images == images
    # Of pictures the pixels count here.
    pixels = Digest()
    for block in read_part(contents.parts[part], ImageForm(image_shape, "pad"), Broken(math.inf), Digest()):
        pixels.pixels(block.images)
    return pixels.of_images == images
