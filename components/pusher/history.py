"""What happened in a serving folder, read from the folder alone: pushes, rollbacks, and which model is which.

A version with files of its own is a push; a link is a rollback, or, marked by how it is written, a push of a model
that was there. Models are told apart by their content: the same weights exported twice are one model.

Synopsis:

    shown = acts(base)                        # oldest first
    shown[-1].number, shown[-1].content       # what is served
    taken_back(shown)                         # contents that a rollback took back, and nobody asked for since
"""

import dataclasses
import hashlib
import os
from pathlib import Path

from models.card import read_digest

# A push that brings an earlier version back makes a link as a rollback does; it is told from one by how it is written.
PUSHED_AGAIN = "./"
# TensorFlow's own digests of the other files, and a random number.
_FINGERPRINT = "fingerprint.pb"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Act:
    """One push or rollback.

    Attributes:
      number: the version that a model server sees.
      files: the version whose files it shows.
      content: of the model.
      is_rollback: whether a rollback published it.
    """

    number: int
    files: int
    content: str
    is_rollback: bool


def versions(base: Path) -> dict[int, int]:
    """Returns the versions that a model server sees, oldest first, each with the one whose files it shows.

    A published version shows its own files, a rollback those of an earlier one.
    """
    if not base.is_dir():
        return {}
    numbers = sorted(int(path.name) for path in base.iterdir() if path.name.isdecimal() and path.is_dir())
    return {number: int((base / str(number)).resolve().name) for number in numbers}


def served_version(base: Path) -> int | None:
    """Returns the version that a model server serves, None where there is none."""
    return max(versions(base), default=None)


def acts(base: Path) -> list[Act]:
    """Returns what happened in a serving folder, oldest first; the last is served."""
    shown = versions(base)
    contents = {files: content_digest(base / str(files)) for files in dict.fromkeys(shown.values())}
    return [
        Act(number=number, files=files, content=contents[files], is_rollback=is_rollback(base / str(number)))
        for number, files in shown.items()
    ]


def rollbacks(base: Path) -> dict[int, int]:
    """Returns the versions that a rollback published, each with the one whose files it shows."""
    return {number: files for number, files in versions(base).items() if is_rollback(base / str(number))}


def is_rollback(path: Path) -> bool:
    """Says whether a rollback published the version at `path`."""
    # Path.readlink would leave the mark out.
    return path.is_symlink() and not os.readlink(path).startswith(PUSHED_AGAIN)  # noqa: PTH115


def in_order_of_pushes(shown: list[Act]) -> list[str]:
    """Returns the contents of the models, what was pushed last at the end; a rollback changes no order."""
    order: list[str] = []
    for act in shown:
        if act.content not in order or not act.is_rollback:
            order = [*(other for other in order if other != act.content), act.content]
    return order


def push_order(version: str | None, number: int) -> tuple[int, int]:
    """Returns by what PushedModels of one serving folder are sorted, the one that is served last: version, then id.

    A rollback is recorded later than it happened, maybe behind the push that followed on it. What was not published has
    no version.
    """
    return int(version or 0), number


def taken_back(shown: list[Act]) -> dict[str, int]:
    """Returns the contents that a rollback took back, each with the version that the rollback published.

    Going back to a model takes back whatever was pushed after it. Who rolls forward to one of these, or publishes it by
    name, wants it again.
    """
    found: dict[str, int] = {}
    for position, act in enumerate(shown):
        found.pop(act.content, None)
        if act.is_rollback:
            order = in_order_of_pushes(shown[:position])
            later = order[order.index(act.content) + 1 :] if act.content in order else []
            found |= {content: act.number for content in later if content not in found}
    return found


def content_digest(folder: Path) -> str:
    """Returns by what a model is told from others: its card's digest, else that over its files."""
    told = read_digest(folder)
    if told is not None:
        return told
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _FINGERPRINT):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()
