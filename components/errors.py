"""Failures that are the user's to mend, each with the exit status that `local_runner.py` ends with.

Synopsis:

    with disk_told():                               # a command: what the disk refuses is a line, and no traceback
        print("the work")
    first_line(ValueError("no such thing"))         # "no such thing"
"""

import contextlib
import errno
import os
from collections.abc import Iterator

_FULL, _DENIED = (errno.ENOSPC, errno.EDQUOT), (errno.EACCES, errno.EPERM, errno.EROFS)


class PipelineError(Exception):
    """A failure told in one line: what, where, expected against found, what to do."""

    exit_status = 1


class InputError(PipelineError):
    """The data or the settings cannot be used."""

    exit_status = 2


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text in which something stands; there is none: the name of its class."""
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)


def refused_by_disk(error: BaseException) -> str:
    """Returns the line for a failure that is the disk's, full or not to be read or written; "" for any other.

    TensorFlow tells a full disk as text.
    """
    number, where = getattr(error, "errno", None), getattr(error, "filename", None)
    for full in map(os.strerror, _FULL):
        if (number is not None and os.strerror(number) == full) or full in str(error):
            told = f"{where}: cannot be written" if where else "something could not be written"
            return f"{told} ({full}). Free some space, and run again."
    if number in _DENIED and where is not None:
        return f"{where}: cannot be read or written ({os.strerror(number)}). Mend its permissions, and run again."
    return ""


@contextlib.contextmanager
def disk_told() -> Iterator[None]:
    """Has what the disk refuses, wherever in a command, end it as other bad input does.

    Raises:
      InputError: in the place of such an OSError.
    """
    try:
        yield
    except OSError as error:
        if line := refused_by_disk(error):
            raise InputError(line) from error
        raise


def folder_unseen(place: object) -> InputError:
    """Returns the error for a host where a file that the run has made is not to be found."""
    return InputError(
        f"{place}: expected what the run has put there, found nothing. Each host has to see the output root under the "
        "same path (docs/scaling.md)."
    )


class DataRefused(PipelineError):
    """The data gate found anomalies."""

    exit_status = 3


class ModelRefused(PipelineError):
    """A model cannot be served."""

    exit_status = 4


class BusyError(InputError):
    """Another run, or another program, uses what this one needs; later it may be free. EX_TEMPFAIL of sysexits.h."""

    exit_status = 75
