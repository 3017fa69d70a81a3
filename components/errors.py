"""Failures that are the user's to mend, each with the exit status that `local_runner.py` ends with."""


class PipelineError(Exception):
    """A failure told in one line: what, where, expected against found, what to do."""

    exit_status = 1


class InputError(PipelineError):
    """The data or the settings cannot be used."""

    exit_status = 2


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text in which something stands; there is none: the name of its class."""
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)


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
