"""The folder that a model server watches: one numbered folder a version, the highest number is served.

A version appears under its number in one rename and is complete by then; what is not complete has a name that begins
with a dot, which model servers pass over. A rollback publishes an earlier version again, as a link under the next
number: nothing is copied, and nothing disappears under a server that is just loading it. The link `served` leads to the
version with the highest number, for those who want a path that stays.

Nothing is pushed twice: a model whose content is served is left as it is, one that is there becomes served again by a
link, and one that a rollback took back comes again only when a person asks for it. Whoever writes reads under the lock.

Synopsis:

    version = publish(saved_model, base, keep=5)      # base/1795464417/saved_model.pb
    rollback(base)                                    # base/1795464502 -> 1795460011, the version before
    versions(base)                                    # {..., 1795464417: 1795464417, 1795464502: 1795460011}
"""

import contextlib
import dataclasses
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from components.errors import InputError
from components.pusher.history import (
    PUSHED_AGAIN,
    acts,
    content_digest,
    in_order_of_pushes,
    served_version,
    taken_back,
    versions,
)
from components.pusher.outcomes import PUSHED, SERVED_AGAIN, SERVED_ALREADY, TAKEN_BACK
from models.card import read_card
from models.host import flush, take_lock

SERVED = "served"
_LOCK, _PARTIAL = ".lock", ".partial-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Offer:
    """What came of offering a model: the version that holds it, and a word of `components.pusher.outcomes`."""

    version: int
    outcome: str


def superseded(model: Path, base: Path) -> int | None:
    """Returns the version that was pushed after the content of `model`; None if that was the last, or never pushed.

    A rollback does not count: what a person took back is not to come again by itself.
    """
    if not base.is_dir():
        return None
    shown, content = acts(base), content_digest(model)
    pushed = [act for act in shown if not act.is_rollback]
    if not pushed or content not in {act.content for act in shown}:
        return None
    return pushed[-1].number if pushed[-1].content != content else None


def publish(model: Path, base: Path, *, keep: int | None, card: dict | None = None) -> int:
    """Has a model served, because a person asks for it or nothing speaks against it, and returns its version.

    Args and errors as those of `offer`.
    """
    return offer(model, base, keep=keep, card=card, asked=True).version


def offer(
    model: Path,
    base: Path,
    *,
    keep: int | None,
    card: dict | None = None,
    may_grow: bool = False,
    asked: bool = False,
) -> Offer:
    """Has a model served unless a rollback took it back.

    It is copied into the folder as the newest version; if its content is there, that version is served, again if need
    be.

    Args:
      model: folder of a SavedModel.
      base: what the model server watches; made if need be.
      keep: how many models stay, this one included; None: all.
      card: what the model says of itself, if it may not replace one that answers about something else.
      may_grow: whether it may know further classes behind those of the served model.
      asked: whether a person asks for this model, a rollback notwithstanding.

    Raises:
      InputError: the folder cannot be written to, the disk is full, or the served model answers about something else;
        what is served is as it was.
    """
    try:
        base.mkdir(parents=True, exist_ok=True)
        with _locked(base):
            if card is not None:
                check_replaces(card, base, may_grow=may_grow)
            shown, content = acts(base), content_digest(model)
            same = max((act.files for act in shown if act.content == content), default=None)
            if same is not None and shown[-1].content == content:
                # A kill between the two leaves the link behind.
                _show_served(base)
                return Offer(version=shown[-1].number, outcome=SERVED_ALREADY)
            if same is not None and not asked and content in taken_back(shown):
                return Offer(version=same, outcome=TAKEN_BACK)
            version = _next_version(base)
            if same is None:
                _copy(model, base, version)
            else:
                _link(base, version, f"{PUSHED_AGAIN}{same}")
            try:
                _show_served(base)
                _prune(base, keep)
            except OSError as error:
                # The model is served by now; what could not be done is done the next time.
                logging.getLogger("progress").warning("%s: old versions stay (%s)", base, error.strerror)
        return Offer(version=version, outcome=PUSHED if same is None else SERVED_AGAIN)
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{base}: the model cannot be published there ({reason}). Free some space or mend its permissions, and run "
            "again; what is served is as it was."
        ) from error


def check_replaces(card: dict, base: Path, *, may_grow: bool = False) -> None:
    """Refuses to publish a model over one that answers about other classes or images of another shape.

    Args:
      card: what the model says of itself, as `models.card.read_card` gives it.
      base: what the model server watches.
      may_grow: whether it may know further classes behind those of the served model.

    Raises:
      InputError: that is so; nothing was published.
    """
    served = served_version(base)
    theirs = None if served is None else read_card(base / str(served))
    for name, told in (("image_shape", "images of shape"), ("class_names", "the classes")):
        ours = list(card[name])
        if theirs and may_grow and name == "class_names":
            ours = ours[: len(theirs[name])]
        if theirs and ours != theirs[name]:
            raise InputError(
                f"{base}: version {served}, which is served there, answers about {told} "
                f"{', '.join(map(str, theirs[name]))}; this model about {', '.join(map(str, card[name]))}. Run the "
                "pipeline on the data set under a name of its own, with --name, or publish over it with --set "
                "replace_other_classes=true."
            )


def nothing_served(base: Path) -> InputError:
    """Returns what to say where no version is; a smoke run, for one, publishes beside it."""
    others = sorted(folder.name for folder in base.parent.glob("*") if folder.is_dir() and versions(folder))
    told = f"; there are {', '.join(others)}. Name one with --model." if others else ". Run the pipeline first."
    return InputError(f"{base}: expected served versions, found none{told}")


def rollback(base: Path, version: int | None = None) -> tuple[int, int, int]:
    """Serves an earlier version again.

    Args:
      base: what the model server watches.
      version: the one to serve; None for the one before what is served now.

    Returns:
      The version that was served, the one that is served now, and the number under which it is.

    Raises:
      InputError: there is no such version; nothing changed.
    """
    if not base.is_dir():
        raise nothing_served(base)
    try:
        with _locked(base):
            shown = acts(base)
            if not shown:
                raise nothing_served(base)
            served = shown[-1]
            found = ", ".join(map(str, sorted({act.files for act in shown})))
            if version is None:
                order = in_order_of_pushes(shown)
                position = order.index(served.content)
                if position == 0:
                    raise InputError(f"{base}: expected a model before {served.files}, which is served; found {found}.")
                wanted = max(act.files for act in shown if act.content == order[position - 1])
            else:
                wanted = next((act.files for act in shown if act.number == version), None)
            if wanted is None:
                raise InputError(f"{base}: expected one of the versions {found}; version {version} is not there.")
            number = _next_version(base)
            _link(base, number, str(wanted))
            _show_served(base)
    except OSError as error:
        raise InputError(
            f"{base}: cannot be written ({error.strerror}). Free some space or mend its permissions, and repeat."
        ) from error
    return served.files, wanted, number


def _copy(model: Path, base: Path, version: int) -> None:
    partial = base / f"{_PARTIAL}{version}"
    try:
        shutil.copytree(model, partial)
        for path in (*partial.rglob("*"), partial):
            flush(path)
        partial.rename(base / str(version))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    flush(base)


def _link(base: Path, version: int | str, target: str) -> None:
    """Makes a link of that name in one step, in the place of one that is there."""
    partial = base / f"{_PARTIAL}{version}"
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(base / str(version))
    flush(base)


def _show_served(base: Path) -> None:
    _link(base, SERVED, str(served_version(base)))


def _next_version(base: Path) -> int:
    """Returns a number above all others, and removes what an interrupted publication left; needs the lock."""
    for leftover in base.glob(f"{_PARTIAL}*"):
        _remove(leftover)
    # Two within a second still get two numbers.
    return max([int(time.time()), *(number + 1 for number in versions(base))])


def _prune(base: Path, keep: int | None) -> None:
    """Removes the models that were not served for longest, with the links to them, so that `keep` models stay."""
    shown = acts(base)
    kept = list(dict.fromkeys(act.content for act in reversed(shown)))[:keep]
    for act in shown:
        if act.content not in kept:
            gone = base / f"{_PARTIAL}{act.number}"
            (base / str(act.number)).rename(gone)
            _remove(gone)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


@contextlib.contextmanager
def _locked(base: Path) -> Iterator[None]:
    """Keeps other writers out; who only looks needs no lock."""
    with (base / _LOCK).open("w") as lock:
        take_lock(lock.fileno(), wait=True)
        yield
