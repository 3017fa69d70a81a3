"""Has TensorBoard find the logs of each training under the id of its run, by links to the artifacts that hold them.

TensorBoard follows a link to a folder, its profiler only links to files. So there is a link to the folder while a
training writes, and a folder of links to the files once it has ended.

Synopsis:

    show_folder(folder / "tensorboard" / run_id, log_dir)      # as the training begins
    show_files(folder / "tensorboard" / run_id, log_dir)       # when it has ended
    remove_dead(folder / "tensorboard")                        # what leads to logs that are gone
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def show_folder(place: Path, logs: Path) -> None:
    """Makes `place` a link to the folder `logs`."""
    with _told(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        remove_dead(place.parent)
        _remove(place)
        _link(place, logs)


def show_files(place: Path, logs: Path) -> None:
    """Makes `place` a folder of links to the files below `logs`."""
    with _told(place):
        partial = place.with_name(f".{place.name}.partial")
        _remove(partial)
        partial.mkdir(parents=True)
        for file in sorted(path for path in logs.rglob("*") if path.is_file()):
            link = partial / file.relative_to(logs)
            link.parent.mkdir(parents=True, exist_ok=True)
            _link(link, file)
        _remove(place)
        partial.rename(place)


def remove_dead(folder: Path) -> None:
    """Removes from `folder` what was made here and leads to nothing any more."""
    for place in folder.glob("*"):
        links = [place] if place.is_symlink() else [path for path in place.rglob("*") if not path.is_dir()]
        if links and all(path.is_symlink() and not path.exists() for path in links):
            _remove(place)


def _link(link: Path, target: Path) -> None:
    # Relative: an output root may be moved.
    link.symlink_to(os.path.relpath(target, link.parent))


def _remove(place: Path) -> None:
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place)


@contextlib.contextmanager
def _told(place: Path) -> Iterator[None]:
    """On a file system without links the logs are found in the artifact alone, and no training fails for it."""
    try:
        yield
    except OSError as error:
        logging.warning("%s: no links to TensorBoard's logs (%s)", place, error.strerror)
