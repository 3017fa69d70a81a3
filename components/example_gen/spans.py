"""Data that arrive in spans: a pattern of folders or files, each of which is a data set, such as a day's images.

As TFX has them: {SPAN} is a number, or {YYYY}, {MM} and {DD} make a date, whose number is that of the days since 1970;
{VERSION} tells a corrected span from the one before, which it replaces. A number needs no width, and may have one.

Synopsis:

    (folder / "span-7").mkdir()
    for span in SpanPattern(str(folder / "span-{SPAN}")).found(): print(span.name, span.number, span.folder)
    SpanPattern("incoming/{YYYY}-{MM}-{DD}").number("2026-11-28")      # 20785
"""

import dataclasses
import datetime
import os
import re
from collections.abc import Iterator
from pathlib import Path

from components.errors import InputError

_NUMBER, _DATE = ("SPAN",), ("YYYY", "MM", "DD")
_VERSION = "VERSION"
_DIGITS = {"YYYY": "4", "MM": "2", "DD": "2"}
_PLACE = re.compile(r"\{([^{}:]*)(?::(\d+))?\}")
_KNOWN = "{SPAN}, or {YYYY}, {MM} and {DD}, and {VERSION}"
_EPOCH = datetime.date(1970, 1, 1)
_TOLD = 5
# Digits of a number that ML Metadata can hold.
_WIDEST = 18
# Why the gate lets a span pass whatever is found.
BY_NAME, BEFORE = "by name", "before"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
    """One span, and how a run takes it up.

    Attributes:
      name: as people call it: "12", or "2026-11-28".
      number: by which spans are ordered: the same, or days since 1970-01-01.
      version: of several of one number the highest counts; 0 where the pattern has none.
      pattern: that it was found by.
      signature: of the names, sizes and times of its files, by which an unchanged one is known without reading it.
      form: digest of the settings and the code by which it becomes examples.
      judged: digest of what it is judged by beside its images.
      admitted: why the gate lets it pass whatever is found: `BY_NAME`, `BEFORE` (it passed in an earlier form), or "".
      changes: how often it was let in before, where that was with other content in its place, or in another form, at
        least once: what comes back is made anew, so that it counts as the latest.
    """

    name: str
    number: int
    version: int = 0
    pattern: str
    signature: str = ""
    form: str = ""
    judged: str = ""
    admitted: str = ""
    changes: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """A span in the file system: the folder, or the one file, that it is."""

    name: str
    number: int
    version: int
    folder: Path


@dataclasses.dataclass(frozen=True)
class SpanPattern:
    """A pattern of spans.

    Attributes:
      text: as it was given.

    Raises:
      InputError: it is none.
    """

    text: str

    def __post_init__(self) -> None:
        places = [match[1] for match in _PLACE.finditer(self.text)]
        told = f"--data-dir {self.text}: expected {_KNOWN}"
        if unknown := [place for place in places if place not in (*_NUMBER, *_DATE, _VERSION)]:
            raise InputError(f"{told}, found {{{unknown[0]}}}. Write the placeholders like this.")
        if twice := [place for place in places if places.count(place) > 1]:
            raise InputError(f"{told}, each once, found {{{twice[0]}}} again. Leave one out.")
        if odd := [match[2] for match in _PLACE.finditer(self.text) if match[2] and not 0 < int(match[2]) <= _WIDEST]:
            raise InputError(f"{told}, of a width from 1 to {_WIDEST}, found {odd[0]}. Write it so, or without.")
        if set(places) - {_VERSION} not in (set(_NUMBER), set(_DATE)):
            found = " and ".join(f"{{{place}}}" for place in places) or "none"
            raise InputError(f"{told}, found {found}. Name a number or a whole date.")

    @classmethod
    def of(cls, path: Path | None) -> "SpanPattern | None":
        """Returns the pattern that a setting is, None where it is the path of one data set."""
        # That of pathlib raises where it may not look.
        if path is None or not _PLACE.search(str(path)) or os.path.exists(path):  # noqa: PTH110
            return None
        # What is known of the spans must not depend on the folder that a run is started in.
        return cls(os.path.abspath(path))  # noqa: PTH100 - not where links lead

    @property
    def root(self) -> Path:
        """The folder below which all spans lie."""
        parts = Path(self.text).parts
        return Path(*parts[: next(number for number, part in enumerate(parts) if _PLACE.search(part))])

    @property
    def is_of_dates(self) -> bool:
        """Whether a span is a date, else it is a number."""
        return "{SPAN" not in self.text

    def number(self, name: str) -> int:
        """Returns the number of the span that a person names: a number, or a date like 2026-11-28.

        Raises:
          InputError: it names none.
        """
        try:
            if self.is_of_dates:
                return (datetime.date.fromisoformat(name) - _EPOCH).days
            if name.isdecimal():
                return int(name)
        except ValueError:
            pass
        wanted = "a date such as 2026-11-28" if self.is_of_dates else "a number"
        raise InputError(f"span {name}: expected {wanted}, as the spans of {self.text} are named. Name it so.")

    def name(self, number: int) -> str:
        """Returns what people call the span of a number."""
        return (_EPOCH + datetime.timedelta(days=number)).isoformat() if self.is_of_dates else str(number)

    def found(self) -> list[Found]:
        """Returns the spans that are there, by their numbers, of each the highest version; errors as of `versions`."""
        latest = {span.number: span for _, span in sorted(self.versions().items())}
        return list(latest.values())

    def versions(self) -> dict[tuple[int, int], Found]:
        """Returns all versions of the spans that are there, by number and version.

        Raises:
          InputError: a folder cannot be read, or two are the same span.
        """
        seen: dict[tuple[int, int], Found] = {}
        for path, values in _matches(self.root, _steps(self.text, self.root), {}):
            span = self._span(path, values)
            if span is None:
                continue
            if max(span.number, span.version) >= 10**_WIDEST:
                raise InputError(f"{path}: expected a number of up to {_WIDEST} digits, found more. Rename it.")
            if (other := seen.get((span.number, span.version))) is not None:
                raise InputError(
                    f"{path}: expected one folder for span {span.name}, found {other.folder} too. Rename one."
                )
            seen[span.number, span.version] = span
        return seen

    def nothing_found(self) -> str:
        """Returns in words what is there instead of spans."""
        try:
            names = sorted(path.name for path in self.root.iterdir() if not path.name.startswith("."))
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            return f"found no such folder {self.root}" if missing else f"found {self.root}: {error.strerror}"
        told = ", ".join(names[:_TOLD]) + (", ..." if len(names) > _TOLD else "")
        return f"found {told or 'nothing'} in {self.root}"

    def _span(self, path: Path, values: dict[str, str]) -> Found | None:
        version = int(values.get(_VERSION, 0))
        if not self.is_of_dates:
            number = int(values["SPAN"])
            return Found(name=str(number), number=number, version=version, folder=path)
        try:
            date = datetime.date(*(int(values[name]) for name in _DATE))
        except ValueError:
            return None
        return Found(name=date.isoformat(), number=(date - _EPOCH).days, version=version, folder=path)


def _steps(text: str, root: Path) -> list[str]:
    """Returns the parts of a pattern below its root; TFX's `/*` behind them says that a span is a folder."""
    parts = list(Path(text).parts[len(root.parts) :])
    return parts[:-1] if parts[-1] == "*" else parts


def _matches(folder: Path, steps: list[str], values: dict[str, str]) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yields each path below `folder` that the steps lead to, and what stands in the place of the placeholders."""
    if not steps:
        yield folder, values
        return
    expression = re.compile(_expression(steps[0]))
    try:
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}). Mend its permissions.") from None
    for path in entries:
        if match := expression.fullmatch(path.name):
            yield from _matches(path, steps[1:], {**values, **match.groupdict()})


def _expression(step: str) -> str:
    """Returns the regular expression of one part of a pattern."""
    found, end = "", 0
    for place in _PLACE.finditer(step):
        width = place[2] or _DIGITS.get(place[1])
        found += re.escape(step[end : place.start()]) + f"(?P<{place[1]}>[0-9]{f'{{{width}}}' if width else '+'})"
        end = place.end()
    return found + re.escape(step[end:])
