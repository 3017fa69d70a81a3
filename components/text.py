"""Reads the text files of a user, whatever wrote them: Windows line ends, UTF-16, a mark at the beginning.

Synopsis:

    Path("classes.txt").write_bytes("犬".encode("utf-16"))
    read_text(Path("classes.txt"))                            # ("犬", "")
"""

import codecs
from pathlib import Path

from components.errors import InputError

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_text(path: Path) -> tuple[str, str]:
    """Returns the text of a file in UTF-8, UTF-16 or, if it is neither, Windows-1252, and a note of the latter.

    Raises:
      InputError: it cannot be read, or begins as UTF-8 or UTF-16 and is none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return _lines(content.decode(encoding)), ""
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise InputError(
                f"{path}: expected text, found {error.reason} at byte {error.start}. Save it as UTF-8."
            ) from None
    return _lines(content.decode("cp1252", "replace")), f"{path.name} is not in UTF-8 and was read as Windows-1252"


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
