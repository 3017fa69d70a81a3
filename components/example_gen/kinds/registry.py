"""Kinds of input by name: which of a folder's files a data set is, and how its images and labels are read.

A kind says what lies where; checks, names of classes, digests, sizes, splits and all that follows are the same for
each. Images come as pixels of one shape, or as encoded pictures.

Synopsis:

    kind, files = find_kind(data)                # KINDS["IDX"], and whatever this kind needs to read them
    contents = kind.open(files)
    contents.parts["train"]                      # a PixelPart: pixels and labels, block by block
"""

import dataclasses
import functools
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from components.errors import InputError
from components.places import is_output_root
from models.features import TEST, TRAIN, VAL
from models.memory import rows_within

PARTS = (TRAIN, VAL, TEST)
_PART_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VAL),
    **dict.fromkeys(("test", "testing", "t10k"), TEST),
}
# Of the pictures that are read.
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif")
# What unpacking a download leaves beside the data, and what the top of a disk has: ext4's, Windows's, a NAS's.
_LEFTOVERS = (
    *("thumbs.db", "desktop.ini", "__macosx", "icon\r", "@eadir"),
    *("lost+found", "$recycle.bin", "system volume information", "#recycle", "@recycle"),
)
_BLOCK_BYTES = 1 << 20
_NAMED = 3
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})")


class Listing(NamedTuple):
    """The files below a folder, in the order of their names, or one file; and what is to be passed over.

    Those are hidden files, what is no file (reading from a pipe would wait for whoever writes to it), and the outputs
    of runs: their records are data as well, and none of the user's.
    """

    files: list[Path]
    hidden: list[Path]


# The label of an image that has none.
UNLABELLED = -1


class Picture(NamedTuple):
    """An encoded picture: the file it lies in, its position where that holds several, its bytes and its label.

    Of one that cannot even be read, `fault` says why; it counts as broken.
    """

    file: Path
    position: int | None
    encoded: bytes
    label: int | str
    fault: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelPart:
    """A part of the data whose pixels lie ready.

    Attributes:
      file: that the images are in.
      label_file: that the labels are in.
      blocks: gives images, uint8 [n, height, width] or [n, height, width, channels], and their labels, integers or text
        [n], some at a time (`rows_a_block`), each time it is called.
    """

    file: Path
    label_file: Path
    blocks: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PicturePart:
    """A part of the data whose images are encoded, in whatever sizes.

    Attributes:
      pictures: gives each picture, in the same order each time it is called.
    """

    pictures: Callable[[], Iterator[Picture]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """What the files of a data set hold.

    Attributes:
      parts: by name, of `PARTS`; "train" at least.
      class_names: by label, where the files tell them.
      notes: what a person should know of how they were read, a few words each.
    """

    parts: dict[str, PixelPart | PicturePart]
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of input.

    Attributes:
      name: for people.
      expects: the files of a data set of this kind, for an error.
      find: given a folder and the files below it, what `open` needs; None where there is no such data. For training,
        images need labels and a part "train"; for prediction (False) neither, and what has no label has `UNLABELLED`.
      open: tells what those files hold. Labels are as in the files.
    """

    name: str
    expects: str
    find: Callable[[Path, Listing, bool], Any]
    open: Callable[[Any], Contents]


KINDS: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Adds a kind; those that were added before are looked for first."""
    KINDS[kind.name] = kind


def find_kind(folder: Path, *, for_training: bool = True, listing: Listing | None = None) -> tuple[Kind, Any] | None:
    """Returns the kind of input that a folder, or a file, holds and what its `open` takes, None where it holds none.

    Args:
      folder: or file.
      for_training: whether the images need labels.
      listing: of the folder, where the caller has one (`list_files`).

    Raises:
      InputError: it holds more than one data set of a kind, or a name that is no text.
    """
    listing = listing or list_files(folder)
    if for_training:
        _require_text(folder, listing.files)
    for kind in KINDS.values() if listing.files else ():
        if (found := kind.find(folder, listing, for_training)) is not None:
            return kind, found
    return None


def kinds_beside(kind: Kind, folder: Path, listing: Listing) -> list[str]:
    """Returns the names of the kinds of input that a folder holds beside one, whole or not."""

    def holds(other: Kind) -> bool:
        try:
            return other.find(folder, listing, True) is not None
        except InputError:
            return True

    return [other.name for other in KINDS.values() if other is not kind and holds(other)]


def nothing_found(folder: Path) -> str:
    """Returns, for an error, that a folder holds no kind of input, and which there are."""
    if not folder.exists():
        return "found no such file or folder"
    return f"found none of these: {'; '.join(kind.expects for kind in KINDS.values())}"


def picture_parts(found: Mapping[str, Any], pictures: Callable[[Any], Iterator[Picture]]) -> dict[str, PicturePart]:
    """Returns the parts of the data, given what `pictures` takes for each."""
    return {part: PicturePart(pictures=functools.partial(pictures, found[part])) for part in PARTS if part in found}


def list_files(folder: Path) -> Listing:
    """Returns the files below a folder, or the file itself; links are followed, in a circle once.

    Raises:
      InputError: a folder cannot be read.
    """
    # That of pathlib raises where it may not look.
    if os.path.isfile(folder):  # noqa: PTH113
        return Listing([folder], [])
    found, hidden = [], []
    # By folder, where it and those around it truly are; pathlib's resolve raises for a link that leads to itself.
    around = {folder: {os.path.realpath(folder)}}
    for place, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        passed = {name for name in folders if is_hidden(name) or is_output_root(Path(place, name))}
        inside = {Path(place, name): os.path.realpath(Path(place, name)) for name in folders if name not in passed}
        hidden += [Path(place, name) for name in sorted(passed)]
        deeper = {path: real for path, real in inside.items() if real not in around[Path(place)]}
        around |= {path: around[Path(place)] | {real} for path, real in deeper.items()}
        folders[:] = sorted(path.name for path in deeper)
        special = _special(place)
        for name in sorted(names):
            (hidden if is_hidden(name) or name in special else found).append(Path(place, name))
    return Listing(found, hidden)


def _special(folder: str) -> set[str]:
    """Returns the names of pipes, sockets and devices; a link that leads nowhere is none, somebody misses its file."""
    with os.scandir(folder) as entries:
        odd = [entry for entry in entries if _is_odd(entry)]
    return {entry.name for entry in odd if Path(entry.path).exists()}


def _is_odd(entry: os.DirEntry) -> bool:
    try:
        return not entry.is_file() and not entry.is_dir()
    except OSError:
        # A link to itself, or to where one may not look: what cannot be read is told as such.
        return False


def _require_text(folder: Path, files: list[Path]) -> None:
    """Names are classes, and stand in tables and in lines for people."""
    for path in files:
        name = str(path).removeprefix(str(folder))
        if not name.isprintable() and any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise InputError(
                f"{folder}: expected names in UTF-8 without control characters, found {name.lstrip(os.sep)!a}. "
                "Rename it."
            )


def _refuse(error: OSError) -> None:
    """What is passed over because it cannot be read would be a class that nobody misses."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        what = "its permissions" if isinstance(error, PermissionError) else "it"
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}). Check {what}.") from None


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is none of the user's data."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


def part_of(name: str) -> str | None:
    """Returns which part of the data a name such as "mnist_train.csv" or "x_test" says; None if it says none."""
    words = [_PART_WORDS[word] for word in words_of(name) if word in _PART_WORDS]
    return words[0] if words else None


def part_of_file(path: Path, folder: Path) -> str | None:
    """Returns which part a file below `folder`, or that file alone, is of; None where no name says one.

    Its own name goes before those of the folders around it, and of these the nearest before the others: the folder
    `train_test_split` says nothing of the file `test.parquet` in it.
    """
    *around, name = (path if path == folder else path.relative_to(folder)).parts
    # TFDS and the Hugging Face hub write DATASET-SPLIT, and the data set may be called "training-data".
    pieces = name.split("-")
    said = (part_of(word) for word in (*reversed(pieces), *(reversed(around) if path != folder else ())))
    return next(filter(None, said), None)


def without_strangers(found: dict[str | None, list[Path]]) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Decides what files are whose names say no part of the data: all of it, or, beside those of training, none.

    Args:
      found: files by part, or by None.

    Returns:
      Files by part, and notes of those that are passed over.

    Raises:
      InputError: files of one part lie in several folders.
    """
    for part, paths in found.items():
        if len(folders := {path.parent for path in paths}) > 1:
            told = ", ".join(sorted(map(str, folders))[:_NAMED])
            raise InputError(
                f"{told}: expected one data set, found files of {part or 'no part'} in each of {len(folders)} folders. "
                "Name one of them."
            )
    named = {part: paths for part, paths in found.items() if part is not None}
    strangers = found.get(None, [])
    if strangers and TRAIN not in named:
        return {TRAIN: strangers, **named}, ()
    return named, tuple(f"{path.name} says no part of the data and is passed over" for path in strangers)


def words_of(name: str) -> list[str]:
    """Returns the words of a name, in lower case."""
    return re.findall(r"[a-z]+\d*k?|\d+", name.lower())


def natural(text: str) -> list:
    """Returns a key by which 9 comes before 10."""
    return [(0, int(word), word) if word.isdecimal() else (1, 0, word) for word in re.findall(r"\d+|\D+", text)]


def one_each(folder: Path, found: dict[Any, list[Path]]) -> dict[Any, Path]:
    """Returns the one file of each role.

    Raises:
      InputError: two files have one role.
    """
    for paths in found.values():
        if len(paths) > 1:
            names = ", ".join(str(path.relative_to(folder)) if path != folder else path.name for path in paths)
            raise InputError(f"{folder}: expected one data set in the folder, found {names}. Give each its own.")
    return {role: path for role, (path,) in found.items()}


def missing_shards(paths: Iterable[Path]) -> tuple[str, ...]:
    """Returns a note for each set of files called NAME-00000-of-00008 of which some are not there."""
    found: dict[tuple[Path, str], set[str]] = {}
    for path in paths:
        if shard := _SHARD.match(path.name):
            found.setdefault((path.parent, f"{shard[1]}-*-of-{shard[3]}"), set()).add(shard[2])
    totals = {name: (len(numbers), int(name[1].rpartition("-")[2])) for name, numbers in found.items()}
    return tuple(
        f"{total - count:,} of the {total:,} files {name} are not there"
        for (_, name), (count, total) in totals.items()
        if count < total
    )


def agreed_names(found: Mapping[Path, tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Returns the names of the classes, by label, of files of one data set: the longest list; None where none has one.

    Raises:
      InputError: a label has one name in one file and another in the next.
    """
    told = {path: names for path, names in found.items() if names}
    longest = max(told, key=lambda path: len(told[path]), default=None)
    for path, names in told.items():
        for label, (name, other) in enumerate(zip(names, told[longest], strict=False)):
            if name != other:
                raise InputError(
                    f"{path}: expected the class names of {longest}, found label {label} called '{name}' here and "
                    f"'{other}' there. Number the classes alike in both, or write their names as labels."
                )
    return told[longest] if longest else None


def rows_a_block(image_shape: tuple[int, ...], itemsize: int = 1) -> int:
    """Returns how many images of a shape are read at a time, at least 1."""
    return rows_within(_BLOCK_BYTES, max(1, math.prod(image_shape) * itemsize), most=_BLOCK_BYTES)
