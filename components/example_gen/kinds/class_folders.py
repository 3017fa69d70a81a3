"""Pictures in a folder a class: `train/<class>/*` and `test/<class>/*`, or `<class>/*` alone.

They come in the order of their names, then of their classes, so that pictures numbered through all classes keep their
order. What is no picture is passed over and counted.
"""

import functools
import itertools
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from components.errors import InputError
from components.example_gen.kinds.registry import (
    SUFFIXES,
    UNLABELLED,
    Contents,
    Kind,
    Listing,
    Picture,
    is_hidden,
    natural,
    part_of,
    picture_parts,
    register,
)
from components.pictures import MAGIC_BYTES, is_picture
from models.features import TEST, TRAIN, VAL

# Pictures, too, and not read.
_UNREAD = (".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".psd", ".tga", ".ppm", ".pgm", ".dng", ".cr2", ".nef")
# As the names of parts begin, and end: trainset, TestData, trainval.
_BEGINNINGS = (("train", TRAIN), ("trn", TRAIN), ("test", TEST), ("tst", TEST), ("val", VAL))
_ENDING = "(val|sets?|data|dataset|images?|imgs?|split)?"
# What a data folder has of its own beside the pictures.
_BESIDE = ("classes.txt", "schema.pbtxt", "floors.toml", "proposal.pbtxt")


class Found(NamedTuple):
    """The pictures of a folder by part, each with its class, and what else lies there.

    Pictures are the texts of their paths, relative to the folder: of a million, paths themselves would take a gigabyte.
    """

    folder: Path
    parts: dict[str, list[tuple[str, str | int]]]
    passed_over: list[Path]
    expected: str = "pictures of a class"


def find(folder: Path, listing: Listing, for_training: bool) -> Found | None:
    """Returns the pictures below a folder, None where there are none of training in a folder of their class.

    For prediction all pictures count, wherever they lie; the class is the folder that a picture lies in.

    Raises:
      InputError: there are pictures of a format that is not read, which would be missing without a word; train and
        test hold theirs without folders of classes, lie where the classes are looked for or below them, or are there
        twice.
    """
    pictures = [path for path in listing.files if path.suffix.lower() in SUFFIXES or _begins_as_picture(path)]
    others = sorted(set(listing.files).difference(pictures)) + listing.hidden
    others = [path for path in others if not (path.parent == folder and path.name in _BESIDE)]
    if not for_training:
        labelled = [
            (os.path.relpath(path, folder), path.parent.name if path.parent != folder else UNLABELLED)
            for path in pictures
            if path != folder
        ]
        labelled = labelled or [("", UNLABELLED)]
        return Found(folder, {TRAIN: labelled}, others, "pictures that are read") if pictures else None
    inside = [path.relative_to(folder).parts for path in pictures if path != folder]
    # A download often has a folder around it all, and a second seg_train in its seg_train.
    depth = _depth_of_parts(inside)
    depth = _depth(inside, 0, lambda name: part_of(name) != TRAIN) if depth is None else depth
    found: dict[str, list[tuple[str, str | int]]] = {}
    has_parts = any(len(parts) > depth + 2 and part_of(parts[depth]) == TRAIN for parts in inside)
    below: dict[str, list[tuple[str, ...]]] = {}
    for parts in inside if has_parts else ():
        below.setdefault(parts[depth], []).append(parts)
    _refuse_twice(folder, {name for name, listed in below.items() if any(len(parts) > depth + 2 for parts in listed)})
    levels = {
        name: _depth(listed, depth + 1, lambda inner, name=name: part_of(inner) == part_of(name) is not None)
        for name, listed in below.items()
    }
    for path, parts in zip(pictures, inside, strict=False):
        part, level = (part_of(parts[depth]), levels[parts[depth]]) if has_parts else (TRAIN, depth)
        if part is None or len(parts) < level + 2:
            others.append(path)
        else:
            # As other systems write the letter, ä is a and two dots.
            label = sys.intern(unicodedata.normalize("NFC", parts[level]))
            found.setdefault(part, []).append(("/".join(parts), label))
    if TRAIN not in found:
        return None
    _refuse_parts(folder, found[TRAIN])
    if not has_parts:
        _refuse_parts_below(folder, inside, depth)
    refuse_unread(path for path in others if not is_hidden(path.name))
    return Found(folder, {part: sorted(listed, key=_order) for part, listed in found.items()}, others)


def _refuse_twice(folder: Path, names: set[str]) -> None:
    """Raises `InputError` where several folders say that they are the same part: train and train_masks."""
    by_part: dict[str | None, list[str]] = {}
    for name in sorted(names):
        by_part.setdefault(part_of(name), []).append(name)
    for part, same in by_part.items():
        if part is not None and len(same) > 1:
            raise InputError(
                f"{folder}: expected one folder of {part}, found {', '.join(same)}. Put them into one, or take the "
                "others away."
            )


def _refuse_parts(folder: Path, train: list[tuple[str, str | int]]) -> None:
    """Raises `InputError` where what would be the classes are the parts of the data."""
    labels = sorted({str(label) for _, label in train})
    alike = [label for label in labels if _part_like(label)]
    # One class of vehicles may be called train; none has a test and a train beside it.
    both = {part_of(label) for label in labels if label.isalpha() and part_of(label)}
    if TRAIN in {_part_like(label) for label in alike} and alike == labels:
        if any(path.split("/")[-2] == label and _part_like(label) == TRAIN for path, label in train):
            raise InputError(
                f"{folder}: expected a folder for each class, found pictures in {', '.join(labels)} themselves. Sort "
                "them into train/<class>/ (and test/<class>/); a table of their labels is not read."
            )
    elif not (TRAIN in both and len(both) > 1):
        return
    raise InputError(
        f"{folder}: expected a folder for each class, found {', '.join(alike)} in their place. Call the parts train, "
        "val and test, and point --data-dir at the folder that they are in."
    )


def _refuse_parts_below(folder: Path, inside: Iterable[tuple[str, ...]], depth: int) -> None:
    """Raises `InputError` where the parts of the data lie in what would be a class.

    Args:
      folder: of the data.
      inside: of each picture the names of the folders that it is in, and its own.
      depth: where in these its class would stand.
    """
    lower = [(parts, place) for parts in inside for place in range(depth + 1, len(parts) - 1)]
    lower = {(parts[:place], part) for parts, place in lower if (part := part_of(parts[place]))}
    if TRAIN in (said := {part for _, part in lower}) and len(said) > 1:
        above = min(above for above, part in lower if part == TRAIN)
        raise InputError(
            f"{folder}: expected a folder for each class, found the parts train and test below {'/'.join(above)}. "
            f"Point --data-dir at {folder.joinpath(*above)}, or sort the pictures into train/<class>/ and "
            "test/<class>/."
        )


def _part_like(label: str) -> str | None:
    """Returns which part the name of a folder says, or begins like: train, test1, train_images, TrainData, trainset."""
    # A number behind the word makes it another: test1.
    words = re.findall("[a-z]+", label.lower())
    begun = (part for word in words for beginning, part in _BEGINNINGS if re.fullmatch(beginning + _ENDING, word))
    return part_of(" ".join(words)) or next(begun, None)


def refuse_unread(files: Iterable[Path]) -> None:
    """Raises `InputError` where there are pictures of a format that is not read."""
    if unread := [path for path in files if path.suffix.lower() in _UNREAD]:
        raise InputError(
            f"{unread[0]}: expected {', '.join(SUFFIXES)}, found {len(unread):,} of a format that is not read. Convert "
            "them, or take them away."
        )


def _depth(inside: list[tuple[str, ...]], depth: int, is_around: Callable[[str], bool]) -> int:
    """Returns the depth, from `depth` on, at which folders of classes or parts begin: below those around all of it."""
    while (
        inside
        and all(len(parts) > depth + 2 for parts in inside)
        and len({parts[depth] for parts in inside}) == 1
        and is_around(inside[0][depth])
    ):
        depth += 1
    return depth


def _depth_of_parts(inside: list[tuple[str, ...]]) -> int | None:
    """Returns the depth at which, below the folders around all, lie training and another part; None if they do not.

    Those around them may have such a word in their own names: train_test_split, training_data.
    """
    # What the first and the last in order begin with alike, all between them do.
    ends = [function((parts[:-1] for parts in inside), default=()) for function in (min, max)]
    depth = len([*itertools.takewhile(lambda names: names[0] == names[1], zip(*ends, strict=False))])
    found = [(part_of(parts[depth]), len(parts)) for parts in inside if len(parts) > depth + 1]
    named = {part for part, _ in found if part is not None}
    is_there = TRAIN in named and len(named) > 1 and all(length > depth + 2 for part, length in found if part)
    return depth if is_there else None


def _order(listed: tuple[str, str | int]) -> tuple:
    path, label = listed
    return natural(Path(path).stem), natural(str(label)), path


def _begins_as_picture(path: Path) -> bool:
    """Whether a file whose name does not say so is a picture."""
    if path.suffix:
        return False
    try:
        with path.open("rb") as stream:
            return is_picture(stream.read(MAGIC_BYTES))
    except OSError:
        return False


def _open(found: Found) -> Contents:
    notes = ()
    if found.passed_over:
        count, first = len(found.passed_over), found.passed_over[0].name
        notes = (f"{count:,} {'file' if count == 1 else 'files'} passed over, no {found.expected} ({first})",)
    return Contents(parts=picture_parts(found.parts, functools.partial(_pictures, found.folder)), notes=notes)


def _pictures(folder: Path, listed: list[tuple[str, str | int]]) -> Iterator[Picture]:
    for name, label in listed:
        path = folder / name
        encoded, fault = b"", ""
        try:
            encoded = path.read_bytes()
        except OSError as error:
            fault = f"it cannot be read: {error.strerror}"
        yield Picture(path, None, encoded, label, fault)


register(
    Kind(
        name="class folders",
        expects="pictures in a folder a class (train/<class>/*, or <class>/*)",
        find=find,
        open=_open,
    )
)
