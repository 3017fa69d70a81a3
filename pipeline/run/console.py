"""What a person, or a machine, sees while a run goes on; everything else goes to the run's log file.

TensorFlow, Beam and their C++ parts write to the file descriptors 1 and 2 directly, so those are redirected to the log
and the console keeps a copy of the terminal for itself. On a terminal progress is a line that changes; elsewhere a line
that stays, now and then. As "json" each line is one event: `time`, `event` ("line", "start", "progress", "warning",
"end", "error", "result") and what belongs to it. A failure goes to stderr, in either format, and into the log.

Synopsis:

    with Console(log_path) as console:
        console.end("Trainer", "ran", 81.2)
"""

import contextlib
import datetime
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TextIO

FORMATS = ("text", "json")
_WIDTH = 20
# Between two lines of progress where there is no terminal.
_QUIET_SECONDS = 15.0


def event_line(event: str, **fields: object) -> str:
    """Returns an event as the line that a machine reads."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "event": event, **fields})


def legible() -> None:
    """Has standard output print as escapes what its encoding lacks, as one that a locale chose may.

    What was closed before this process began leads nowhere from here on: else what it opens next is taken for that.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, os.fdopen(number, mode))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a line, to standard output by default, as long as somebody takes it; what is said then ends nothing.

    A pipe's reader may be gone (`| head`), a terminal closed, or the disk full that the output goes to.
    """
    stream = stream or sys.stdout
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except OSError:
        _drop(stream)


def _drop(stream: TextIO) -> None:
    """Has a stream write to nowhere, also what it holds and Python would flush at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Console:
    """Prints one line a node; within `with`, all other output goes to a file."""

    def __init__(self, log_path: Path, log_format: str = "text") -> None:
        self._log_path, self._as_json = log_path, log_format == "json"
        self._node, self._told = "", time.monotonic()

    def __enter__(self) -> "Console":
        # A letter that the locale's encoding lacks is told as an escape, and is no error.
        legibly = {"buffering": 1, "errors": "backslashreplace"}
        encoding = getattr(sys.stdout, "encoding", None)
        self._terminal: TextIO = os.fdopen(os.dup(1), "w", encoding=encoding, **legibly)
        self._errors: TextIO = os.fdopen(os.dup(2), "w", encoding=encoding, **legibly)
        self._live = self._terminal.isatty() and not self._as_json
        self._stack = contextlib.ExitStack()
        log = self._stack.enter_context(self._log_path.open("a", encoding="utf-8", **legibly))
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            saved = os.dup(descriptor)
            os.dup2(log.fileno(), descriptor)
            self._stack.callback(_restore, stream, saved, descriptor)
        self._handlers(log)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._write("\r\x1b[K")
        self._stack.close()
        self._terminal.close()
        self._errors.close()

    def line(self, text: str) -> None:
        """Prints a line that stays."""
        self._emit("line", text, text=text)

    def error(self, text: str) -> None:
        """Tells of a failure, a line or more: to stderr, as what fails before a run, and into the log."""
        logging.getLogger("console").error("%s", text)
        if self._as_json:
            self._emit("error", "", node=self._node, text=text)
        elif self._live:
            self._transient("")
        self._put(self._errors, text + "\n")

    def start(self, node: str) -> None:
        """Tells that a node starts, on a terminal or to a machine: elsewhere its last line is enough."""
        self._node, self._told = node, time.monotonic()
        self._transient(f"{node:<{_WIDTH}} ...")
        if self._as_json:
            self._emit("start", "", node=node)

    def end(self, node: str, state: str, seconds: float, detail: str = "") -> None:
        """Tells how a node ended."""
        told = f"{node:<{_WIDTH}} {state:<7} {seconds:7.1f} s  {detail}".rstrip()
        self._emit("end", told, node=node, state=state, seconds=seconds, detail=detail)

    def result(self, **fields: object) -> None:
        """Tells a machine how the run ended; people have read it by now."""
        if self._as_json:
            self._emit("result", "", **fields)

    def _emit(self, event: str, line: str, **fields: object) -> None:
        self._write(
            ("\r\x1b[K" if self._live else "") + (event_line(event, **fields) if self._as_json else line) + "\n"
        )

    def _transient(self, text: str) -> None:
        if self._live:
            self._write("\r\x1b[K" + text[: max(1, self._width() - 1)])

    def _width(self) -> int:
        try:
            # 0 is what a terminal says that does not know.
            return os.get_terminal_size(self._terminal.fileno()).columns or 80
        except OSError:
            return 80

    def _write(self, text: str) -> None:
        self._put(self._terminal, text)

    def _put(self, stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            # As in `say`; the log has it all.
            _drop(stream)
            self._live = self._live and stream is not self._terminal

    def _handlers(self, log: TextIO) -> None:
        """Sends every logger to the file and the logger "progress" to the terminal as well."""
        to_file = logging.StreamHandler(log)
        to_file.setLevel(logging.INFO)
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        previous, level = root.handlers[:], root.level
        root.handlers = [to_file]
        root.setLevel(logging.INFO)
        # One line for every annotation that Beam does not know, 40 at each start.
        logging.getLogger("apache_beam.typehints").setLevel(logging.WARNING)
        logging.captureWarnings(True)
        to_terminal = _Progress(self)
        logger = logging.getLogger("progress")
        # What passes within seconds is for the eyes only.
        logger.setLevel(logging.DEBUG)
        logger.addHandler(to_terminal)
        self._stack.callback(logger.setLevel, logging.NOTSET)
        self._stack.callback(logger.removeHandler, to_terminal)
        self._stack.callback(logging.captureWarnings, False)
        self._stack.callback(setattr, root, "handlers", previous)
        self._stack.callback(root.setLevel, level)

    def progress(self, message: str, *, lasting: bool) -> None:
        """Shows how far the running node is; without a terminal only what is `lasting`, and that now and then."""
        if self._live:
            self._transient(f"{self._node:<{_WIDTH}} {message}")
        elif lasting and (self._as_json or time.monotonic() - self._told > _QUIET_SECONDS):
            self._told = time.monotonic()
            self._emit("progress", f"{self._node:<{_WIDTH}} {message}", node=self._node, text=message)

    def warn(self, message: str) -> None:
        """Prints a warning."""
        self._emit("warning", message, node=self._node, text=message)


class _Progress(logging.Handler):
    """Shows progress while it lasts; a warning stays."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.DEBUG)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self._console.warn(record.getMessage())
        else:
            self._console.progress(record.getMessage(), lasting=record.levelno >= logging.INFO)


def _restore(stream: TextIO, saved: int, descriptor: int) -> None:
    stream.flush()
    os.dup2(saved, descriptor)
    os.close(saved)
