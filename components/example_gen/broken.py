"""Pictures that are broken: where they lie, in words, and how many may be left out.

Synopsis:

    broken = Broken(2)
    broken.add(path, None, "it is cut short")
    str(broken)                                     # "... (it is cut short)"
    where("all.parquet", 5)                         # "all.parquet, image 5"
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from components.errors import InputError

_NAMED = 3


class Broken:
    """Counts the broken pictures of a data set, of which a stated number may be left out."""

    def __init__(self, allowed: float, leave_out: str = "--set broken_images=NUMBER") -> None:
        """`leave_out` is what a person can give to have so many left out."""
        self._allowed, self._leave_out = allowed, leave_out
        self._found: list[str] = []

    @property
    def all_left_out(self) -> bool:
        """Whether any number may be left out."""
        return self._allowed == math.inf

    def add_rest(self, error: InputError) -> None:
        """Takes note of a file that is damaged from somewhere on, and cannot be read further.

        Raises:
          InputError: what is broken is not all left out; how many images are lost, nobody knows.
        """
        if not self.all_left_out:
            raise error
        self._found.append(str(error).rstrip("."))

    def add(self, file: Path | str, position: int | None, reason: object) -> None:
        """Takes note of one, by where it lies; see `where`.

        Raises:
          InputError: it is one too many.
        """
        told = f"{where(file, position)} ({str(reason).rstrip('.')})"
        self._found.append(told)
        if len(self._found) > self._allowed:
            expected = (
                f"at most {self._allowed:,} broken pictures, found one more" if self._allowed else "no broken picture"
            )
            raise InputError(
                f"{told}: expected {expected}. Replace or delete it, or leave such out with {self._leave_out}."
            )

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __str__(self) -> str:
        return ", ".join(self._found[:_NAMED]) + (", ..." if len(self._found) > _NAMED else "")


def where(file: Path | str, position: int | None) -> str:
    """Names an image by its file and, where that holds several, its position in it, from 0."""
    return printable(file) if position is None else f"{printable(file)}, image {position:,}"


def printable(path: Path | str) -> str:
    """Returns a path as text on one line, also one whose name is in no encoding: caf\\xe9.png."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(letter if ord(letter) >= ord(" ") else repr(letter)[1:-1] for letter in text)
